"""Ensures one daemon per home, by an OS file lock.

The kernel releases the lock when its process ends, even by SIGKILL. The file's text, the pid,
only serves error messages.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from pathlib import Path

from clipperd.process.errors import AlreadyRunning
from clipperd.settings.errors import ConfigInvalid

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # EDEADLK: Windows
_PAUSE = threading.Event()  # never set: its wait is a short pause
_PAUSE_S = 0.005  # between two attempts
_TRIES = 5  # another process may hold the lock for a moment in ``holder``


class InstanceLock:
    """The acquired lock; call ``release`` at a clean exit."""

    def __init__(self, path: Path, handle: int, folder: int | None) -> None:
        """Take over the descriptors that hold the locks of the file and of its folder."""
        self._path = path
        self._handle: int | None = handle
        self._folder = folder

    def renew(self) -> None:
        """Lock the file of that name again if it was deleted or replaced.

        Meanwhile the lock of the folder keeps a second daemon away. Raises OSError.
        """
        if self._handle is None or _is_file_of(self._handle, self._path):
            return
        handle = _open(self._path)
        if not _take(handle):  # another process looks at it; the next call tries again
            os.close(handle)
            return
        _write_pid(handle)
        os.close(self._handle)
        self._handle = handle

    def release(self) -> None:
        """Release the lock. Keeps the file: otherwise two starts could lock two different files."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


def acquire(path: Path) -> InstanceLock:
    """Take the lock at ``path`` for this process. Raises AlreadyRunning with the holder's pid."""
    with contextlib.ExitStack() as stack:
        folder = _lock_folder(path)
        if folder is not None:
            stack.callback(os.close, folder)
        handle = _lock_file(path)
        stack.pop_all()
    _write_pid(handle)
    return InstanceLock(path, handle, folder)


def _lock_file(path: Path) -> int:
    handle = _open(path)
    try:
        is_ours = any(_take(handle) or _PAUSE.wait(_PAUSE_S) for _ in range(_TRIES))
    except OSError as error:
        os.close(handle)
        raise ConfigInvalid(
            f"The file system of {path.parent} cannot lock files ({error.strerror}), so clipperd"
            " cannot keep a second start away.",
            hint="Choose a folder on a local disk with --home or CLIPPERD_HOME.",
        ) from error
    if not is_ours:
        os.close(handle)
        raise AlreadyRunning(_sentence(_pid(path)), params={"pid": _pid(path)})
    return handle


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _write_pid(handle: int) -> None:
    with contextlib.suppress(OSError):  # a full disk: the lock works without the text
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())


def _lock_folder(path: Path) -> int | None:
    """Lock the folder too: its lock stays when the file is deleted. Raises AlreadyRunning.

    None on Windows, which keeps an open file, and on file systems that cannot lock a folder.
    """
    if sys.platform == "win32":
        return None
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        is_ours = any(_take(handle) or _PAUSE.wait(_PAUSE_S) for _ in range(_TRIES))
    except OSError:
        os.close(handle)
        return None
    if not is_ours:
        os.close(handle)
        raise AlreadyRunning(_sentence(_pid(path)), params={"pid": _pid(path)})
    return handle


def _is_file_of(handle: int, path: Path) -> bool:
    try:
        named, held = os.stat(path), os.fstat(handle)  # noqa: PTH116 (beside fstat)
    except OSError:
        return False
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


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
    except OSError:  # this file system cannot lock, so no daemon runs on it
        return None
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    """Return whether the lock was free. Raises OSError when the file system cannot lock."""
    try:
        if sys.platform == "win32":
            # Lock a byte far beyond the text: Windows locks prevent reads, and the pid must stay
            # readable.
            os.lseek(handle, 0x7FFF_0000, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _HELD:
            raise
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
