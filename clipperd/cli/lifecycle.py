"""``run start stop restart``: the daemon's life, seen from a terminal."""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from clipperd.cli import exits
from clipperd.cli.console import FLAGS, Console
from clipperd.cli.verbs import Verbs, add_settings
from clipperd.process.errors import AlreadyRunning, DaemonDown, DaemonStartFailed, DaemonUntrusted

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from clipperd.settings.locations import Locations

_LOOK_S = 0.02
_READY_S = 20.0
_STOP_S = 10.0  # the daemon itself needs two seconds at most
_KILL_S = 5.0


VERBS = ("run", "start", "stop", "restart")


def declare(verbs: Verbs) -> None:
    """Add the verbs of this family."""
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
        "stop the daemon; what waits is kept",
        ["clipperd stop", "clipperd stop --when-idle"],
    ).add_argument("--when-idle", action="store_true", help="first deliver what is under way")
    restart_parser = verbs.add(
        "restart",
        restart,
        "stop the daemon and run it in the background again",
        ["clipperd restart"],
        prints_data=True,
    )
    add_settings(restart_parser)


def run(args: Namespace, console: Console) -> int:
    """Be the daemon until asked to stop."""
    settings = console.settings(args)
    _refuse_second(console.places(args))  # the lock itself cannot name the first one's address
    os.umask(0o077)  # SQLite makes its files with the umask; nothing here is for other users
    from clipperd.process import loading

    with loading.lean():
        from clipperd.daemon import process

    return int(process.main(settings))


def start(args: Namespace, console: Console) -> int:
    """Start a daemon of its own session and wait until it has proven itself."""
    import subprocess

    from clipperd.settings.locations import secure

    console.settings(args)  # a fault in the settings is best told here
    places = console.places(args)
    secure(places)
    _refuse_second(places)
    with places.output_file.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603  # our own program
            _command(args),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(console.env),
            **_detached(),
        )
    url = _wait_ready(console, args, child, places.output_file)
    child.returncode = 0  # it lives on; Popen must not complain that nobody waited for it
    if args.json:
        console.emit({"url": url, "pid": child.pid})
    else:
        console.say(f"clipperd is running: {url} (process {child.pid}).")
    return exits.OK


def stop(args: Namespace, console: Console) -> int:
    """Ask the daemon to end; by signal when its API does not answer."""
    from clipperd.process import lock

    places = console.places(args)
    pid = lock.holder(places.lock_file)
    if pid is None:
        console.say("clipperd is not running.")
        return exits.OK
    when = "idle" if getattr(args, "when_idle", False) else "now"
    try:
        console.client(args).shutdown(when)
        gone = _wait_gone(places.lock_file, None if when == "idle" else _STOP_S)
    except (DaemonDown, DaemonUntrusted):
        gone = False
    if not gone and lock.holder(places.lock_file) == pid:
        # The lock is held by this pid at this moment, so it is no stranger with a reused number.
        os.kill(pid, signal.SIGTERM)
        gone = _wait_gone(places.lock_file, _KILL_S)
    if not gone:
        console.warn(f"clipperd: process {pid} does not stop. Its clips are safe on disk.")
        console.warn(f"  End it by force with: kill -9 {pid}")
        return exits.FAILED
    console.say("clipperd has stopped. Clips that wait are kept.")
    return exits.OK


def restart(args: Namespace, console: Console) -> int:
    """Stop what runs, if anything does, and start again."""
    quiet = Console(
        out=console.err,
        err=console.err,
        stdin=console.stdin,
        stdin_is_terminal=console.stdin_is_terminal,
        env=console.env,
        browse=console.browse,
    )
    code = stop(args, quiet)
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
    return [sys.executable, "-m", "clipperd", "run", *flags]


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

    for _ in until(_READY_S):
        code = child.poll()
        if code is not None:
            raise DaemonStartFailed(
                f"clipperd ended at its start (exit {code}). {_last_words(output, code)}".strip(),
                hint=f"Run it in the foreground to see more: clipperd run   ({output})",
                params={"exit": code},
            )
        found = answers_of(console.client(args))
        if found is not None and found.pid == child.pid:
            return found.url
        pause(_LOOK_S)
    raise DaemonStartFailed(
        f"clipperd (process {child.pid}) is not ready after {_READY_S:.0f} seconds.",
        hint=f"Its log: {console.places(args).log_file}",
    )


def _wait_gone(lock_file: Path, patience_s: float | None) -> bool:
    from clipperd.client import pause, until
    from clipperd.process import lock

    for _ in until(patience_s):
        if lock.holder(lock_file) is None:
            return True
        pause(_LOOK_S)
    return False


def _last_words(output: Path, code: int) -> str:
    lines = [line for line in output.read_text("utf-8", "replace").splitlines() if line.strip()]
    told = [line.removeprefix("clipperd: ") for line in lines if line.startswith("clipperd: ")]
    # On a full disk there was no room for words.
    unsaid = "Is the disk full?" if code == exits.DATABASE else ""
    return (told or lines or [unsaid])[-1].strip()
