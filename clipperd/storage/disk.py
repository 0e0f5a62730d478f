"""Syncs files to disk, and translates disk errors into StorageFull with a hint for the user.

The disk may be full, read-only or failing, or another program may lock the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from clipperd.errors import StorageFull

if TYPE_CHECKING:  # the CLI reports disk errors without loading it
    import sqlite3

_SAFE = "Your queued clips are safe."
_RESUMES = "clipperd then continues automatically."
_FULL = ("The disk is full.", f"Free some space; {_RESUMES}")
_READ_ONLY = (
    "clipperd cannot write to its folder.",
    f"Make the disk and the folder writable; {_RESUMES}",
)
_FAILING = (
    "The disk is full, or it is failing.",
    f"Free some space, or check the disk; {_RESUMES}",
)
_UNFIT = (
    "This file system cannot hold the queue: it cannot share memory between connections, or"
    " cannot lock.",
    "Choose a folder on a local disk with --home or CLIPPERD_HOME",
)
_HELD = ("Another program has locked clipperd's file.", f"Close that program; {_RESUMES}")

# https://www.sqlite.org/rescode.html; the names of extended codes begin with the primary one.
_SQLITE_ERRORS = {
    "SQLITE_FULL": _FULL,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_CANTOPEN": _READ_ONLY,
    "SQLITE_IOERR_SHMSIZE": _FULL,
    "SQLITE_IOERR_SHM": _UNFIT,  # SHMOPEN, SHMMAP, SHMLOCK
    "SQLITE_IOERR_LOCK": _UNFIT,
    "SQLITE_IOERR_RDLOCK": _UNFIT,
    "SQLITE_NOLFS": _UNFIT,
    "SQLITE_PROTOCOL": _UNFIT,
    "SQLITE_IOERR": _FAILING,
    "SQLITE_BUSY": _HELD,
    "SQLITE_LOCKED": _HELD,
}
_OS_ERRORS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EIO: _FAILING,
}


def translate(error: sqlite3.Error) -> BaseException:
    """Return StorageFull for a disk error; return any other error unchanged.

    A file that ends too early (``IOERR_SHORT_READ``) is damaged, which is not a disk error.
    """
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_IOERR_SHORT_READ":
        return error
    for prefix, sentences in _SQLITE_ERRORS.items():
        if name.startswith(prefix):
            return _storage_full(sentences, name, error)
    return error


def translate_os_error(error: OSError) -> StorageFull | None:
    """Return StorageFull for a disk error of the OS; None for any other error."""
    sentences = _OS_ERRORS.get(error.errno or 0)
    if sentences is None:
        return None
    return _storage_full(sentences, errno.errorcode[error.errno or 0], error)


def _storage_full(sentences: tuple[str, str], name: str, cause: Exception) -> StorageFull:
    problem, hint = sentences
    full = StorageFull(f"{problem} {_SAFE}", hint=hint, params={"cause": name})
    full.__cause__ = cause
    return full


def unfit_file_system() -> StorageFull:
    """Return the error of a file system on which SQLite cannot keep a write-ahead log."""
    return StorageFull(_UNFIT[0], hint=_UNFIT[1], params={"cause": "SQLITE_NOLFS"})


def sync_file(path: Path) -> None:
    """Sync a file's content to disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Sync a folder's entries to disk; does nothing where the OS cannot open folders (Windows)."""
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
