"""Prepares the process: no import from the working folder, no missing standard stream.

It imports only modules that Python has loaded before (not pathlib, not ``__future__``): any other
could come from that folder.
"""

# ruff: noqa: PTH100, PTH109, PTH120
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


def open_missing_streams() -> None:
    """Replace each standard stream that is closed by an empty one, which takes its number."""
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(handle, True)
            setattr(sys, name, os.fdopen(handle, mode, encoding="utf-8"))
