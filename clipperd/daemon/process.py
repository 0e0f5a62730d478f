"""The daemon as a process: one instance, its files, its signals, its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from clipperd.clock import Clock, SystemClock, rfc3339
from clipperd.daemon.api import Surface
from clipperd.daemon.assembly import Parts, assemble
from clipperd.daemon.background import VITAL
from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.daemon.system import System
from clipperd.errors import ClipperdError, SchemaTooNew, StorageFull
from clipperd.model import REASONS
from clipperd.outbox.repair import mend
from clipperd.process import crash, endpoint, lock, logs
from clipperd.settings.config import Settings
from clipperd.settings.locations import Locations, locate, secure
from clipperd.settings.private_file import write_private
from clipperd.storage.backup import Backups
from clipperd.storage.database import Database
from clipperd.storage.disk import trouble
from clipperd.storage.disposable import Cache, open_cache
from clipperd.storage.recovery import Mending, Recovery
from clipperd.web.app import ROUTES, Listening, create_app, listening
from clipperd.web.middleware.access import Access

_log = logging.getLogger(__name__)

_FAULT = "clipperd met an error of its own and has ended. Clips that wait are kept."


def main(settings: Settings) -> int:
    """Run until told to stop. Returns the exit code: 0, 1 a fault, 5 database, 6 port; docs/cli.md.

    Raises ConfigInvalid, AlreadyRunning and SecretsUnusable, which the command line turns into
    exit codes 4, 3 and 7.
    """
    places = locate(settings.home)
    secure(places)
    with contextlib.ExitStack() as stack:
        try:
            held = lock.acquire(places.lock_file)
            stack.callback(held.release)
            broken = crash.begin(places.logs_dir, places.log_file, SystemClock().now())
            stack.callback(broken.close)
            journal = logs.start(
                settings.log_level, places.log_file, screen=logs.screen_if_terminal()
            )
            stack.callback(journal.close)
        except OSError as error:
            return _refused(error)
        return _run(settings, places, journal, broken)


def _run(settings: Settings, places: Locations, journal: logs.Logs, broken: crash.CrashFile) -> int:
    try:
        threading.excepthook = _unhandled_in_a_thread
        if asyncio.run(_serve(settings, places, journal, broken)):
            return _fatal(_FAULT, f"{broken.path} tells more.", 1)
    except SchemaTooNew as error:
        return _fatal(error.detail, error.hint, 5)
    except StorageFull as error:
        return _no_room(error)
    except sqlite3.Error as error:
        hint = f"Its file is left as it is; {places.log_file} tells more."
        return _fatal(f"The database cannot be opened: {error}", hint, 5)
    except OSError as error:
        return _refused(error)
    except ClipperdError:
        raise
    except Exception as error:  # its text, which Python would print, may be a person's
        broken.write("the daemon", error)
        return _fatal(_FAULT, f"{broken.path} tells more.", 1)
    return 0


def _refused(error: OSError) -> int:
    full = trouble(error)
    if full is not None:
        return _no_room(full)
    return _fatal(f"The local API cannot be opened: {error.strerror}.", None, 6)


def _no_room(error: StorageFull) -> int:
    """Nothing was begun: there would be no place for a clip, nor for the file that tells of it."""
    hint = error.hint.partition(";")[0] if error.hint else "Make room"
    return _fatal(f"clipperd does not start. {error.detail}", f"{hint}, then start it again.", 5)


def _fatal(detail: str, hint: str | None, code: int) -> int:
    if _log.hasHandlers():
        _log.critical(detail)
    with contextlib.suppress(OSError):  # where the background's output goes may be full too
        os.write(2, f"clipperd: {detail}\n{hint + chr(10) if hint else ''}".encode())
    return code


async def _serve(
    settings: Settings, places: Locations, journal: logs.Logs, broken: crash.CrashFile
) -> bool:
    """Serve until told to stop. Returns whether it was a fault that told it."""
    asyncio.get_running_loop().set_exception_handler(_unhandled)
    clock = SystemClock()
    instance = uuid.uuid4().hex
    token = endpoint.owner_token(places.token_file, lambda: secrets.token_urlsafe(32))
    journal.redactor.add(token)
    with _databases(places, clock) as (outbox, cache):
        machine = System.real()
        parts = await assemble(settings, places, journal, outbox, cache, clock, os.environ, machine)
        access = Access(
            token,
            instance_id=instance,
            clients=parts.clients,
            clock=clock,
            allowed_origins=settings.allowed_origins,
        )
        app = create_app(
            routes=ROUTES,
            access=access,
            clock=clock,
            new_id=machine.new_id,
            reasons=REASONS,
        )
        surface = Surface(parts, app)
        surface.furnish()
        deaths: list[str] = []

        def died(name: str, error: BaseException) -> None:
            broken.write(f"the task {name}", error)
            if name == VITAL:
                deaths.append(name)
                surface.stop.set()

        parts.background.on_death = died
        cache.on_renewed = parts.background.refresh_index
        if settings.secrets == "file":
            await parts.secrets.open()  # a wrong passphrase is told at the start, not later
        await parts.session.open()
        try:
            async with _listen(app, settings.port, places.port_file) as address:
                parts.address.port = address.port
                mine = endpoint.Endpoint(
                    url=address.url,
                    port=address.port,
                    pid=os.getpid(),
                    started_at=rfc3339(clock.now()),
                    instance_id=instance,
                    token=token,
                )
                await _stay(parts, surface, places.endpoint_file, mine)
        finally:
            await surface.close()
            await parts.close()
        return bool(deaths)


def _unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """asyncio's own handler would log the error's text, which may be what a person wrote."""
    _log.error("nobody handled an error", exc_info=context.get("exception"))


def _unhandled_in_a_thread(args: threading.ExceptHookArgs) -> None:
    _log.error("nobody handled an error in a thread", exc_info=args.exc_value)


@contextlib.contextmanager
def _databases(places: Locations, clock: Clock) -> Iterator[tuple[Database, Cache]]:
    outbox = _opening(places, clock).open(clock.now())
    try:
        cache = open_cache(places.cache, CACHE_STEPS)
        try:
            yield outbox, cache
        finally:
            cache.close()
    finally:
        outbox.close()


def _opening(places: Locations, clock: Clock) -> Recovery:
    def repair(connection: sqlite3.Connection, outdated: bool, copy: Path | None) -> Mending:
        return mend(
            connection,
            outdated=outdated,
            copy=copy,
            now=clock.now(),
            new_id=lambda: uuid.uuid4().hex,
        )

    return Recovery(
        places.outbox,
        name="outbox",
        steps=STEPS,
        backups=Backups(places.outbox, places.backups),
        quarantine=places.quarantine,
        mend=repair,
    )


async def _stay(parts: Parts, surface: Surface, file: Path, mine: endpoint.Endpoint) -> None:
    """Be found, do the work, until a signal or a client says stop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no handlers on the loop
            loop.add_signal_handler(number, surface.stop.set)
    endpoint.write(file, mine)
    try:
        async with parts.background.running():
            _log.info("ready", extra={"port": mine.port})
            await surface.stop.wait()
    finally:
        endpoint.remove(file, mine.instance_id)


@contextlib.asynccontextmanager
async def _listen(app: web.Application, wanted: int, remembered: Path) -> AsyncIterator[Listening]:
    """Listen on the port of the settings, else on the one last used, else on any."""
    for port in (wanted,) if wanted else (_last_port(remembered), 0):
        stack = contextlib.AsyncExitStack()
        try:
            address = await stack.enter_async_context(listening(app, port=port))
        except OSError:
            if port == wanted:  # asked for, or the system's own choice
                raise
            continue
        async with stack:
            if address.port != _last_port(remembered):
                write_private(remembered, str(address.port), durable=False)
            yield address
            return


def _last_port(remembered: Path) -> int:
    try:
        return int(remembered.read_text("ascii"))
    except (OSError, ValueError):
        return 0
