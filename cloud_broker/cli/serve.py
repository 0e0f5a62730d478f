"""Implements ``cloud-broker run``: start the broker, serve until a signal, drain."""

from __future__ import annotations

import argparse
import asyncio
import signal

from aiohttp import web

from cloud_broker.app import INBOUND, create_app
from cloud_broker.cli.configuration import add_config, settings_of
from cloud_broker.clock import SystemClock
from cloud_broker.errors import PortTaken
from cloud_broker.monitoring.logs import set_up
from cloud_broker.settings.config import Settings
from cloud_broker.settings.table import SETTINGS
from cloud_broker.storage.opening import open_database
from cloud_broker.transport import AiohttpTransport
from cloud_broker.web.inbound import IDLE_S
from cloud_broker.web.keys import CLOCK, DRAIN

OPEN_FILES = 8_192  # inbound connections, connections to Notion, the database, and a reserve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_config(parser)
    parser.epilog = f"example:\n  cloud-broker run --config broker.toml\n\n{_settings_help()}"


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then let running requests finish.

    Raises DatabaseFailed, KeysRefused or PortTaken.
    """
    asyncio.run(_run(settings_of(args)))
    return 0


async def _run(settings: Settings) -> None:
    set_up(settings.log_level)
    _allow_open_files()
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
        handler_cancellation=True,  # only reads: see web/completion.py
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
                hint="Set another BROKER_PORT; 0 lets the system choose.",
            ) from error
        port = server.sockets[0].getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(f"Broker at http://{host}:{port}", flush=True)
        await stop.wait()
        app[DRAIN].begin()
        await app[CLOCK].sleep(settings.announce_s)
        server.close()
    finally:
        await runner.cleanup()


def _allow_open_files() -> None:
    """Raise the limit of open files, often 1,024: a call takes an inbound and an outbound one."""
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _settings_help() -> str:
    lines = ["settings (environment; the same in lower case without BROKER_ in the file):"]
    for setting in SETTINGS:
        default = "required" if setting.required else f"default: {setting.default or 'none'}"
        lines.append(f"  {setting.name}\n      {setting.help} ({default})")
    return "\n".join(lines)
