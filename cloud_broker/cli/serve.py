"""``cloud-broker run`` and ``migrate``: open the adapters, start, wait for a signal, drain."""

from __future__ import annotations

import asyncio
import signal

from aiohttp import web

from cloud_broker.app import INBOUND, create_app
from cloud_broker.clock import SystemClock
from cloud_broker.errors import PortTaken
from cloud_broker.logs import set_up
from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import to_ms
from cloud_broker.storage.migrations import check, migrate
from cloud_broker.storage.opening import open_database
from cloud_broker.transport import AiohttpTransport
from cloud_broker.web.inbound import IDLE_S
from cloud_broker.web.keys import DRAIN


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then let what is under way finish.

    Raises DatabaseFailed, KeysRefused or PortTaken.
    """
    set_up(settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    database = await open_database(
        settings.database_url.reveal(), connections=settings.database_connections
    )
    try:
        async with AiohttpTransport() as transport:
            app = create_app(settings, database=database, transport=transport, clock=SystemClock())
            await _serve(app, settings, stop)
    finally:
        await database.close()


async def _serve(app: web.Application, settings: Settings, stop: asyncio.Event) -> None:
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=IDLE_S,
        shutdown_timeout=settings.drain_s,
        handler_cancellation=True,  # see web/completion.py: of reads only
    )
    await runner.setup()
    try:
        assert runner.server is not None
        factory = app[INBOUND].factory(runner.server)
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(factory, settings.host, settings.port)
        except OSError as error:
            raise PortTaken(
                f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}).",
                hint="Choose another BROKER_PORT; 0 lets the system choose.",
            ) from error
        port = server.sockets[0].getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(f"Broker at http://{host}:{port}", flush=True)
        await stop.wait()
        app[DRAIN].begin()
        server.close()
    finally:
        await runner.cleanup()


async def migrate_only(settings: Settings, *, check_only: bool) -> str:
    """Migrate, or only check; return a sentence. Raises DatabaseFailed."""
    database = await open_database(
        settings.database_url.reveal(), connections=settings.database_connections
    )
    try:
        if check_only:
            await check(database)
            return "The database is up to date."
        applied = await migrate(database, now=to_ms(SystemClock().now()))
        return f"{applied} migrations applied." if applied else "The database is up to date."
    finally:
        await database.close()
