"""``demo``: the whole path on this machine, without a Notion account."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from clipperd.cli import exits
from clipperd.cli.console import Console
from clipperd.cli.verbs import Verbs

if TYPE_CHECKING:
    from clipperd.cli.demo.notion import Notion
    from clipperd.cli.demo.processes import Stage

_INDEXED_S = 30.0
_LOOK_S = 0.1


VERBS = ("demo",)


def declare(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add(
        "demo",
        _run_verb,
        "try it all on this machine, without a Notion account",
        ["clipperd demo", "clipperd demo --once"],
    )
    parser.add_argument("--once", action="store_true", help="exit at the end; 0 only if all held")


def run(args: Namespace) -> int:
    """Play the demo; return 0 only if each step was proven on the page (``args.once`` exits)."""
    import tempfile
    from pathlib import Path

    from clipperd.cli.demo.processes import Interruption, Stage
    from clipperd.cli.demo.web import DemoFailed
    from clipperd.errors import ClipperdError
    from clipperd.process.errors import ApiError

    interruption = Interruption()
    interruption.listen()
    with tempfile.TemporaryDirectory(prefix="clipperd-demo-", ignore_cleanup_errors=True) as name:
        stage = Stage(Path(name), os.environ, interruption)
        try:
            return _play(stage, once=bool(args.once))
        except (DemoFailed, ClipperdError, ApiError, OSError) as error:
            print(f"The demo could not go on: {error}", file=sys.stderr, flush=True)
            return exits.FAILED
        except KeyboardInterrupt:
            _say("\nStopping all three programs.")
            return exits.INTERRUPTED if args.once else exits.OK
        finally:
            interruption.ignore()
            stage.close()


def _run_verb(args: Namespace, _console: Console) -> int:
    return run(args)


def _play(stage: Stage, *, once: bool) -> int:
    from clipperd.cli.demo.notion import Notion
    from clipperd.cli.demo.steps import PAGE, Steps

    stage.open_sandbox()
    notion = Notion(stage.sandbox_url)
    page_id = notion.page_id(PAGE)
    _say(f"Open this page and watch:  {notion.address(page_id)}")
    _say("(It is a stand-in for Notion on this machine; nothing leaves it.)\n")
    stage.open_broker()
    stage.open_daemon()
    _sign_in(stage)
    steps = Steps(stage, notion, page_id, _say)
    story = (steps.file_to_section, steps.offline_and_killed, steps.failed_but_applied, steps.undo)
    proven = [step() for step in story]
    _say("")
    if all(proven):
        _say("All four steps were proven on the page.")
    else:
        failed = ", ".join(str(n) for n, held in enumerate(proven, 1) if not held)
        _say(f"NOT proven: step {failed}. The logs are in {stage.folder} while this runs.")
    if not once:
        _stay(stage, notion, page_id)
    return exits.OK if all(proven) else exits.FAILED


def _sign_in(stage: Stage) -> None:
    from clipperd.cli.demo.web import DemoFailed, sign_in
    from clipperd.client import pause, until

    begun = stage.client.login("sign_in")
    sign_in(begun["login_url"])
    for _ in until(_INDEXED_S):
        session = stage.client.session()
        if session["state"] == "signed_in":
            break
        pause(_LOOK_S)
    else:
        raise DemoFailed("The sign-in did not arrive at the daemon.")
    # The first reading of the page list is over before calls are counted.
    for _ in until(_INDEXED_S):
        if (stage.client.pages(view="recent", limit=1).get("index") or {}).get("complete"):
            break
        pause(_LOOK_S)
    else:
        raise DemoFailed("The page list was not read in time.")
    user = session.get("user") or {}
    _say(f"Signed in through OAuth as {user.get('email') or user.get('name')}.\n")


def _stay(stage: Stage, notion: Notion, page_id: str) -> None:
    import shlex
    import threading

    _say("\nTry it by hand, in another terminal:\n")
    for name, value in stage.daemon_env.items():
        _say(f"  export {name}={shlex.quote(value)}")
    command = f"{shlex.quote(sys.executable)} -m clipperd"
    _say(f"  {command} status")
    _say(f"  echo 'Hello from a terminal' | {command} clip --page {page_id} --end-of Books --wait")
    _say(f"  {command} queue list --all")
    _say(f"\nand watch {notion.address(page_id)}")
    _say("Ctrl-C stops everything and removes the folder.")
    threading.Event().wait()


def _say(text: str) -> None:
    print(text, flush=True)
