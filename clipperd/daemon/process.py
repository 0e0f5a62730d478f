"""Runs the daemon as a process: lock, crash file, logs, port, signals, exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from clipperd.clock import Clock, SystemClock, rfc3339
from clipperd.daemon.api import Api
from clipperd.daemon.assembly import assemble
from clipperd.daemon.background import VITAL, Background
from clipperd.daemon.home_guard import HomeGuard
from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.daemon.system import System
from clipperd.errors import ClipperdError, SchemaTooNew, StorageFull
from clipperd.outbox.repair import repair_outbox
from clipperd.process import crash, endpoint, lock, logs
from clipperd.process.errors import PortTaken
from clipperd.settings.config import Settings
from clipperd.settings.locations import Locations, locate, secure
from clipperd.settings.private_file import write_private
from clipperd.storage.backup import Backups
from clipperd.storage.database import Database
from clipperd.storage.disk import translate_os_error
from clipperd.storage.disposable import Cache, open_cache
from clipperd.storage.recovery import Recovery, RepairResult
from clipperd.web.access import Access
from clipperd.web.app import ROUTES, Listening, create_app, listening

_log = logging.getLogger(__name__)

_FAULT = "clipperd met an internal error and has stopped. Your queued clips are kept."


def main(settings: Settings) -> int:
    """Run until stopped; return the exit code of docs/cli.md: 0, 1 fault, 5 database, 6 port.

    Raises ConfigInvalid, AlreadyRunning and SecretsUnusable, which the command line turns into
    exit codes 4, 3 and 7.
    """
    locations = locate(settings.home)
    secure(locations)
    os.chdir(locations.data_dir)  # the folder where the user typed can be unmounted or deleted
    with contextlib.ExitStack() as stack:
        try:
            instance_lock = lock.acquire(locations.lock_file)
            stack.callback(instance_lock.release)
            crash_file = crash.begin(locations.logs_dir, locations.log_file, SystemClock().now())
            stack.callback(crash_file.close)
            journal = logs.start(
                settings.log_level, locations.log_file, screen=logs.screen_if_terminal()
            )
            stack.callback(journal.close)
        except OSError as error:
            return _exit_for(error)
        return _run(settings, locations, journal, crash_file, instance_lock)


def _run(
    settings: Settings,
    locations: Locations,
    journal: logs.Logs,
    crash_file: crash.CrashFile,
    instance_lock: lock.InstanceLock,
) -> int:
    """Run the event loop and turn its errors into a message and an exit code."""
    threading.excepthook = _on_thread_error
    try:
        if asyncio.run(_serve(settings, locations, journal, crash_file, instance_lock)):
            return _fatal(_FAULT, f"See {crash_file.path} for details.", 1)
    except SchemaTooNew as error:
        return _fatal(error.detail, error.hint, 5)
    except StorageFull as error:
        return _exit_for_full_disk(error)
    except sqlite3.Error as error:
        hint = f"clipperd did not change the file. See {locations.log_file} for details."
        return _fatal(f"The database cannot be opened: {error}", hint, 5)
    except OSError as error:
        return _exit_for(error)
    except ClipperdError:
        raise
    except Exception as error:  # Python would print its message, which may quote a clip
        crash_file.write("the daemon", error)
        return _fatal(_FAULT, f"See {crash_file.path} for details.", 1)
    return 0


def _exit_for(error: OSError) -> int:
    full = translate_os_error(error)
    if full is not None:
        return _exit_for_full_disk(full)
    about = f" ({error.filename})" if error.filename else ""
    return _fatal(f"clipperd does not start: {error.strerror}{about}.", None, 1)


def _exit_for_full_disk(error: StorageFull) -> int:
    hint = error.hint.partition(";")[0] if error.hint else "Free some disk space"
    return _fatal(f"clipperd does not start. {error.detail}", f"{hint}, then start it again.", 5)


def _fatal(detail: str, hint: str | None, code: int) -> int:
    if _log.hasHandlers():
        _log.critical(detail)
    with contextlib.suppress(OSError):  # stderr may be a file on the full disk
        os.write(2, f"clipperd: {detail}\n{hint + chr(10) if hint else ''}".encode())
    return code


async def _serve(
    settings: Settings,
    locations: Locations,
    journal: logs.Logs,
    crash_file: crash.CrashFile,
    instance_lock: lock.InstanceLock,
) -> bool:
    """Serve until stopped. Return whether a fault of a vital task was the reason."""
    asyncio.get_running_loop().set_exception_handler(_on_loop_error)
    system = System.real()
    token = endpoint.owner_token(locations.token_file, system.new_token)
    for secret in (token, settings.secrets_passphrase or ""):  # it ignores an empty one
        journal.redactor.add(secret)
    with _databases(locations, system.clock) as (outbox, cache):
        daemon = await assemble(settings, locations, outbox, cache, system)
        access = Access(
            token,
            instance_id=uuid.uuid4().hex,
            tokens=daemon.tokens,
            clock=system.clock,
            allowed_origins=settings.allowed_origins,
        )
        app = create_app(
            routes=ROUTES,
            access=access,
            clock=system.clock,
            new_id=system.new_id,
        )
        api = Api(daemon, app)
        failed: list[str] = []

        def on_death(name: str, error: BaseException) -> None:
            crash_file.write(f"the task {name}", error)
            if name == VITAL:
                failed.append(name)
                api.stop.set()

        daemon.background.on_death = on_death
        if settings.secrets == "file":
            await daemon.session.secrets.open()  # report a wrong passphrase at the start
        await daemon.session.open()
        try:
            async with _listen(app, settings.port, locations.port_file) as address:
                daemon.port.number = address.port
                published = endpoint.Endpoint(
                    url=address.url,
                    port=address.port,
                    pid=os.getpid(),
                    started_at=rfc3339(system.clock.now()),
                    instance_id=access.instance_id,
                    token=token,
                )
                files = locations.endpoint_file, published
                guard = HomeGuard(instance_lock, *files, (outbox, cache))
                daemon.health.prepare = guard.check
                async with guard.watching(system.home_events(locations.data_dir)):
                    await _work(daemon.background, api.stop, *files)
        finally:
            await api.close()
            await daemon.close()
        return bool(failed)


def _on_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log without the error's message, which asyncio would log and which may quote a clip."""
    _log.error("unhandled error in the event loop", exc_info=context.get("exception"))


def _on_thread_error(args: threading.ExceptHookArgs) -> None:
    _log.error("unhandled error in a thread", exc_info=args.exc_value)


@contextlib.contextmanager
def _databases(locations: Locations, clock: Clock) -> Iterator[tuple[Database, Cache]]:
    with contextlib.ExitStack() as stack:
        outbox = _recovery(locations, clock).open(clock.now())
        stack.callback(outbox.close)
        cache = open_cache(locations.cache, CACHE_STEPS)
        stack.callback(cache.close)
        yield outbox, cache


def _recovery(locations: Locations, clock: Clock) -> Recovery:
    def repair(connection: sqlite3.Connection, outdated: bool, copy: Path | None) -> RepairResult:
        return repair_outbox(
            connection,
            outdated=outdated,
            copy=copy,
            now=clock.now(),
            new_id=lambda: uuid.uuid4().hex,
        )

    return Recovery(
        locations.outbox,
        name="outbox",
        steps=STEPS,
        backups=Backups(locations.outbox, locations.backups),
        quarantine=locations.quarantine,
        repair=repair,
    )


async def _work(
    background: Background, stop: asyncio.Event, file: Path, published: endpoint.Endpoint
) -> None:
    """Publish the endpoint and run the tasks until a signal or a client sets ``stop``."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no handlers on the loop
            loop.add_signal_handler(number, stop.set)
    endpoint.write(file, published)
    try:
        async with background.running():
            _log.info("ready", extra={"port": published.port})
            await stop.wait()
    finally:
        endpoint.remove(file, published.instance_id)


@contextlib.asynccontextmanager
async def _listen(app: web.Application, wanted: int, port_file: Path) -> AsyncIterator[Listening]:
    """Listen on the port of the settings; without one, on the port last used or any free one."""
    for port in (wanted,) if wanted else (_last_port(port_file), 0):
        stack = contextlib.AsyncExitStack()
        try:
            address = await stack.enter_async_context(listening(app, port=port))
        except OSError as error:
            if port == wanted:  # the setting, or 0: the system's own choice
                raise PortTaken(
                    f"The local API cannot be opened at port {port}: {error.strerror}.",
                    hint="Choose another one with --port or CLIPPERD_PORT.",
                ) from error
            continue
        async with stack:
            if address.port != _last_port(port_file):
                write_private(port_file, str(address.port), durable=False)
            yield address
            return


def _last_port(port_file: Path) -> int:
    try:
        return int(port_file.read_text("ascii"))
    except (OSError, ValueError):
        return 0
