"""Prepares our Python processes: nothing is imported from the folder where a command was typed.

It imports only modules that Python has loaded before (not pathlib, not ``__future__``): any other
could come from that folder.
"""

# ruff: noqa: PTH100, PTH109, PTH117, PTH120
import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # in the order of their numbers


def leave_working_folder() -> None:
    """Remove the working folder, which ``python -m`` puts first, from the import path.

    Keeps a folder that holds this program itself: a checkout without an installation.
    """
    try:
        folder = os.getcwd()
    except OSError:  # deleted; then Python has not added it
        return
    if not sys.flags.safe_path and sys.path[:1] == [folder] and folder != _ROOT:
        del sys.path[0]


def command(module: str, *words: str) -> list[str]:
    """Return the command that runs one of our modules; run it in :func:`environment`."""
    return [sys.executable, "-P", "-m", module, *words]


def environment(env: dict[str, str]) -> dict[str, str]:
    """Return ``env`` without the empty and relative entries of PYTHONPATH.

    Adds the folder of this program if Python would no longer find it.
    """
    entries = [e for e in env.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(e)]
    library = os.path.dirname(os.__file__)
    before = sys.path[: sys.path.index(library)] if library in sys.path else []
    if _ROOT in before and _ROOT not in entries:
        entries.append(_ROOT)
    rest = {name: value for name, value in env.items() if name != "PYTHONPATH"}
    return rest | ({"PYTHONPATH": os.pathsep.join(entries)} if entries else {})


def open_missing_streams() -> None:
    """Replace each standard stream that is closed by an empty one.

    Its number is then taken: otherwise the next opened file would get it, and our messages.
    """
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(handle, True)
            setattr(sys, name, os.fdopen(handle, mode, encoding="utf-8"))
