"""Trouble with the disk in our own words: full, read-only, failing, or held by another program.

Whether SQLite or the system says so, the caller gets one error that tells what to do about it.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from clipperd.errors import StorageFull

if TYPE_CHECKING:  # the command line asks about files without it
    import sqlite3

_SAFE = "What is queued is safe."
_BY_ITSELF = "clipperd goes on by itself."
_FULL = ("The disk is full.", f"Free some space; {_BY_ITSELF}")
_READ_ONLY = (
    "clipperd's folder cannot be written to.",
    f"Make the disk and the folder writable; {_BY_ITSELF}",
)
_FAILING = (
    "The disk is full, or it is failing.",
    f"Free some space, or look after the disk; {_BY_ITSELF}",
)
_HELD = ("Another program holds clipperd's file.", f"Close that program; {_BY_ITSELF}")

# https://www.sqlite.org/rescode.html; the names of extended codes begin with the primary one.
_OF_SQLITE = {
    "SQLITE_FULL": _FULL,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_CANTOPEN": _READ_ONLY,
    "SQLITE_IOERR_SHMSIZE": _FULL,
    "SQLITE_IOERR": _FAILING,
    "SQLITE_BUSY": _HELD,
    "SQLITE_LOCKED": _HELD,
}
_OF_SYSTEM = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EIO: _FAILING,
}


def translate(error: sqlite3.Error) -> BaseException:
    """Say what is the disk's fault in our own words; leave every other error as it is.

    A file that ends too early (``IOERR_SHORT_READ``) is damaged, and so is not the disk's fault.
    """
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_IOERR_SHORT_READ":
        return error
    for prefix, said in _OF_SQLITE.items():
        if name.startswith(prefix):
            return _told(said, name, error)
    return error


def trouble(error: OSError) -> StorageFull | None:
    """The same for what the system refused; None where it is not the disk's fault."""
    said = _OF_SYSTEM.get(error.errno or 0)
    return None if said is None else _told(said, errno.errorcode[error.errno or 0], error)


def _told(said: tuple[str, str], name: str, cause: Exception) -> StorageFull:
    what, hint = said
    full = StorageFull(f"{what} {_SAFE}", hint=hint, params={"cause": name})
    full.__cause__ = cause
    return full
