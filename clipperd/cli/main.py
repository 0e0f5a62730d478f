"""Runs ``clipperd``: parses the command line, runs one verb, reports errors."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

from clipperd import __version__
from clipperd.cli import account, clip, config, exits, lifecycle, pages, queue, status
from clipperd.cli.console import Console
from clipperd.cli.demo import command
from clipperd.cli.exits import UsageError
from clipperd.cli.verbs import Verbs, add_home
from clipperd.errors import ClipperdError
from clipperd.process.errors import ApiError
from clipperd.process.interpreter import open_missing_streams
from clipperd.storage.disk import translate_os_error

_ABOUT = "Clip into Notion, online or offline. clipperd delivers each clip exactly once."
_EXAMPLES = """examples:
  clipperd start                                    run in the background
  clipperd login                                    sign in through your browser
  clipperd clip --page "Reading list" notes.md      clip a file to the end of a page
  clipperd queue                                    list waiting clips and the reasons
  clipperd demo                                     try clipperd without a Notion account
"""
_GROUPS: tuple[tuple[Sequence[str], Callable[[Verbs], None]], ...] = (
    (lifecycle.VERBS, lifecycle.declare),
    (account.VERBS, account.declare),
    (clip.VERBS, clip.declare),
    (pages.VERBS, pages.declare),
    (queue.VERBS, queue.declare),
    (status.VERBS, status.declare),
    (config.VERBS, config.declare),
    (command.VERBS, command.declare),
)
"""The verbs in the order of the help, each group with the function that declares it."""

_SIGN_IN = "Sign in with: clipperd login"
_HINTS = {"not_signed_in": _SIGN_IN, "reauth_required": _SIGN_IN}
"""Hints by error code that replace the daemon's, which are for every client."""


def main(argv: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Run one command and return its exit code. ``console``: the terminal by default."""
    open_missing_streams()
    console = console or _real_console()
    try:
        words = _with_json_last(sys.argv[1:] if argv is None else argv)
        args = parser(_verb(words)).parse_args(words)
    except SystemExit as stop:  # argparse has printed the help, the version or an error
        return int(stop.code or 0)
    try:
        return int(args.run(args, console))
    except UsageError as error:
        return _fail(console, args, exits.USAGE, "usage", str(error), error.hint)
    except ApiError as error:
        code = exits.CONFIGURATION if error.code == "broker_not_configured" else exits.FAILED
        return _fail(console, args, code, error.code, error.detail, error.hint)
    except ClipperdError as error:
        return _fail(console, args, exits.code_for(error), error.code, error.detail, error.hint)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:  # a subclass of OSError
        # The reader (head, less) has closed the pipe; keep Python from reporting it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
    except OSError as error:
        full = translate_os_error(error)
        if full is None:
            raise
        return _fail(console, args, exits.code_for(full), full.code, full.detail, full.hint)


def parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; for a known ``verb`` only of its group, which is ten times faster."""
    top = argparse.ArgumentParser(
        prog="clipperd",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"clipperd {__version__}")
    add_home(top, default=None)
    inner = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    verbs = Verbs(inner, "clipperd")
    is_known = any(verb in names for names, _ in _GROUPS)
    for names, declare in _GROUPS:
        if verb in names or not is_known:
            declare(verbs)
    return top


def _verb(words: Sequence[str]) -> str | None:
    """Return the first word that is neither an option nor the value of ``--home``."""
    rest = iter(words)
    for word in rest:
        if word == "--home":
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return None


def _with_json_last(words: Sequence[str]) -> Sequence[str]:
    """Move ``--json`` from before the verb to the end, where the verbs declare it."""
    verb = _verb(words)
    start = [] if verb is None else list(words[: list(words).index(verb)])
    if "--json" not in start:
        return words
    return [*(word for word in start if word != "--json"), *words[len(start) :], "--json"]


def _fail(
    console: Console,
    args: argparse.Namespace,
    code: int,
    error_code: str,
    sentence: str,
    hint: str | None,
) -> int:
    hint = _HINTS.get(error_code, hint)
    if getattr(args, "json", False):
        problem = {"code": error_code, "detail": sentence, "hint": hint}
        console.warn(json.dumps({"error": problem}, ensure_ascii=False))
        return code
    console.warn(f"clipperd: {sentence}")
    if hint:
        console.warn(f"  {hint}")
    return code


def _real_console() -> Console:
    from clipperd.cli.browser import browse

    for stream in (sys.stdout, sys.stderr):
        # Print a substitute for a character that the terminal or pipe cannot encode.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    return Console(
        out=sys.stdout,
        err=sys.stderr,
        stdin=sys.stdin.buffer,
        stdin_is_terminal=sys.stdin.isatty(),
        env=os.environ,
        browse=browse,
    )
