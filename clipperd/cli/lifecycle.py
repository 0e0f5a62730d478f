"""``run``, ``start``, ``stop``, ``restart``: runs and stops the daemon."""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from clipperd.cli import exits
from clipperd.cli.console import FLAGS, Console
from clipperd.cli.verbs import Verbs, add_settings
from clipperd.process import interpreter
from clipperd.process.errors import AlreadyRunning, DaemonDown, DaemonStartFailed, DaemonUntrusted

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from clipperd.settings.locations import Locations

_POLL_S = 0.02  # seconds between looks at the starting or stopping daemon
_READY_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 10.0  # the daemon stops within two seconds
_SIGTERM_TIMEOUT_S = 5.0


VERBS = ("run", "start", "stop", "restart")


def declare(verbs: Verbs) -> None:
    """Declare ``run``, ``start``, ``stop`` and ``restart``."""
    run_parser = verbs.add(
        "run",
        run,
        "run the daemon in the foreground",
        ["clipperd run", "CLIPPERD_SECRETS=memory clipperd --home /tmp/try run --log-level debug"],
    )
    add_settings(run_parser)
    start_parser = verbs.add(
        "start",
        start,
        "run the daemon in the background",
        ["clipperd start", "clipperd start --port 51234"],
        prints_data=True,
    )
    add_settings(start_parser)
    verbs.add(
        "stop",
        stop,
        "stop the daemon; waiting clips are kept",
        ["clipperd stop", "clipperd stop --when-idle"],
        prints_data=True,
    ).add_argument(
        "--when-idle", action="store_true", help="finish the deliveries in progress first"
    )
    restart_parser = verbs.add(
        "restart",
        restart,
        "stop the daemon, then run it in the background",
        ["clipperd restart"],
        prints_data=True,
    )
    add_settings(restart_parser)


def run(args: Namespace, console: Console) -> int:
    """Run the daemon in this process until it is stopped."""
    settings = console.settings(args)
    _refuse_second(console.places(args))  # the lock's own error cannot name the address
    os.umask(0o077)  # SQLite creates files with the umask; other users may read none
    from clipperd.process import loading

    with loading.lean():
        from clipperd.daemon import process

    return int(process.main(settings))


def start(args: Namespace, console: Console) -> int:
    """Start a detached daemon and wait until it has proven its identity."""
    url, pid = launch(args, console)
    if args.json:
        console.emit({"url": url, "pid": pid})
    else:
        console.say(f"clipperd is running: {url} (process {pid}).")
    return exits.OK


def launch(args: Namespace, console: Console) -> tuple[str, int]:
    """Start a detached daemon; return its address and process. Raises AlreadyRunning."""
    import subprocess

    from clipperd.settings.locations import secure

    console.settings(args)  # report invalid settings here, not in the log
    places = console.places(args)
    secure(places)
    _refuse_second(places)
    with places.output_file.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603  # our own program
            _command(args),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=interpreter.environment(dict(console.env)),
            **_detached(),
        )
    url = _wait_ready(console, args, child, places.output_file)
    child.returncode = 0  # it keeps running; Popen must not warn that it was not awaited
    return url, child.pid


def stop(args: Namespace, console: Console) -> int:
    """Ask the daemon to stop, by signal if its API does not answer."""
    from clipperd.process import lock

    places = console.places(args)
    pid = lock.holder(places.lock_file)
    if pid is None:
        console.report(args, {"stopped": False}, "clipperd is not running.")
        return exits.OK
    when = "idle" if getattr(args, "when_idle", False) else "now"
    try:
        console.client(args).shutdown(when)
        stopped = _wait_stopped(places.lock_file, None if when == "idle" else _STOP_TIMEOUT_S)
    except (DaemonDown, DaemonUntrusted):
        stopped = False
    if not stopped and lock.holder(places.lock_file) == pid:
        # This pid holds the lock now, so it is not another process with a reused pid.
        os.kill(pid, signal.SIGTERM)
        stopped = _wait_stopped(places.lock_file, _SIGTERM_TIMEOUT_S)
    if not stopped:
        console.warn(f"clipperd: process {pid} does not stop. Your clips are safe on disk.")
        console.warn(f"  Kill it with: kill -9 {pid}")
        return exits.FAILED
    text = "clipperd has stopped. Your waiting clips are kept."
    console.report(args, {"stopped": True, "pid": pid}, text)
    return exits.OK


def restart(args: Namespace, console: Console) -> int:
    """Stop the daemon if it runs, then start it."""
    quiet = Console(
        out=console.err,
        err=console.err,
        stdin=console.stdin,
        stdin_is_terminal=console.stdin_is_terminal,
        env=console.env,
        browse=console.browse,
    )
    code = stop(Namespace(**{**vars(args), "json": False}), quiet)
    return start(args, console) if code == exits.OK else code


def _refuse_second(places: Locations) -> None:
    from clipperd.process import endpoint, lock

    pid = lock.holder(places.lock_file)
    if pid is None:
        return
    found = endpoint.read(places.endpoint_file)
    where = f" at {found.url}" if found is not None and found.pid == pid else ""
    raise AlreadyRunning(
        f"clipperd is already running{where} (process {pid}).",
        hint="See it with: clipperd status",
        params={"pid": pid},
    )


def _command(args: Namespace) -> list[str]:
    given = [(f, getattr(args, f, None)) for f in FLAGS]
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given if value is not None]
    if getattr(sys, "frozen", False):
        return [sys.executable, "run", *flags]
    return interpreter.command("clipperd", "run", *flags)


def _detached() -> dict[str, Any]:
    if sys.platform == "win32":
        import subprocess

        return {
            "creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP,
        }
    return {"start_new_session": True}


def _wait_ready(
    console: Console, args: Namespace, child: subprocess.Popen[bytes], output: Path
) -> str:
    from clipperd.client import answers_of, pause, until

    for _ in until(_READY_TIMEOUT_S):
        code = child.poll()
        if code is not None:
            raise DaemonStartFailed(
                f"The daemon failed to start (exit {code}). {_last_error(output, code)}".strip(),
                hint=f"Run it in the foreground to see the error: clipperd run   (or see {output})",
                params={"exit": code},
            )
        found = answers_of(console.client(args))
        if found is not None and found.pid == child.pid:
            return found.url
        pause(_POLL_S)
    raise DaemonStartFailed(
        f"clipperd (process {child.pid}) is not ready after {_READY_TIMEOUT_S:.0f} seconds.",
        hint=f"See its log: {console.places(args).log_file}",
    )


def _wait_stopped(lock_file: Path, patience_s: float | None) -> bool:
    from clipperd.client import pause, until
    from clipperd.process import lock

    for _ in until(patience_s):
        if lock.holder(lock_file) is None:
            return True
        pause(_POLL_S)
    return False


def _last_error(output: Path, code: int) -> str:
    lines = [line for line in output.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("clipperd: ") for line in lines if line.startswith("clipperd: ")]
    # On a full disk the daemon cannot write its error.
    guess = "Is the disk full?" if code == exits.DATABASE else ""
    return (errors or lines or [guess])[-1].strip()
