"""Linux: reports that a file of a folder was deleted, moved or replaced (inotify(7))."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path

from clipperd.machine.os_events import Notify

_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
# <sys/inotify.h>: IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF, IN_ONLYDIR
_MASK = 0x40 | 0x80 | 0x200 | 0x400 | 0x800 | 0x0100_0000
_BYTES = 65536  # of one read


class FolderEvents:
    """Notifies of such changes, by ctypes; does not parse the events."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)

    def open(self, notify: Notify) -> None:
        """See :class:`OsEvents`."""
        handle = self._checked(self._libc.inotify_init1(_NONBLOCK_CLOEXEC))
        try:
            path = os.fsencode(self._folder)
            self._checked(self._libc.inotify_add_watch(handle, path, ctypes.c_uint32(_MASK)))
            asyncio.get_running_loop().add_reader(handle, self._ready, notify)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle

    def close(self) -> None:
        """See :class:`OsEvents`."""
        handle, self._handle = self._handle, None
        if handle is not None:
            asyncio.get_running_loop().remove_reader(handle)
            os.close(handle)

    def _ready(self, notify: Notify) -> None:
        assert self._handle is not None, "close() removes the reader with the handle"
        with contextlib.suppress(BlockingIOError):
            while os.read(self._handle, _BYTES):
                pass
        notify()

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
