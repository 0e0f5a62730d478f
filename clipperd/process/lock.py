"""Ensures one daemon per home, by an OS file lock.

The kernel releases the lock when its process ends, even by SIGKILL. The file's text, the pid,
only serves error messages.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

from clipperd.process.errors import AlreadyRunning

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_PAUSE = threading.Event()  # never set: its wait is a short pause
_PAUSE_S = 0.005  # between two attempts
_TRIES = 5  # another process may hold the lock for a moment in ``holder``


class InstanceLock:
    """The acquired lock; call ``release`` at a clean exit."""

    def __init__(self, handle: int) -> None:
        """Take over ``handle``, the file descriptor that holds the lock."""
        self._handle: int | None = handle

    def release(self) -> None:
        """Release the lock. Keeps the file: otherwise two starts could lock two different files."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def acquire(path: Path) -> InstanceLock:
    """Take the lock at ``path`` for this process. Raises AlreadyRunning with the holder's pid."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if not any(_take(handle) or _PAUSE.wait(_PAUSE_S) for _ in range(_TRIES)):
        os.close(handle)
        raise AlreadyRunning(_sentence(_pid(path)), params={"pid": _pid(path)})
    with contextlib.suppress(OSError):  # a full disk: the lock works without the text
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    return InstanceLock(handle)


def holder(path: Path) -> int | None:
    """Return the pid of the running daemon of this home, or None when there is none.

    It takes the lock for a moment, so call it only if the API does not answer.
    """
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        return None if _take(handle) else _pid(path)
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            # Lock a byte far beyond the text: Windows locks prevent reads, and the pid must stay
            # readable.
            os.lseek(handle, 0x7FFF_0000, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _pid(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _sentence(pid: int | None) -> str:
    who = f"process {pid}" if pid else "another process"
    return f"clipperd is already running here ({who})."
