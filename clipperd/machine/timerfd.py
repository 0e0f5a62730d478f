"""Linux: reports that the wall clock was set or that the machine woke from suspend.

It uses a far-off timer with TFD_TIMER_CANCEL_ON_SET, which becomes readable when CLOCK_REALTIME
jumps (timerfd_create(2)); timekeeping_resume() makes every suspend such a jump.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import time

from clipperd.machine.os_events import Notify

_ABSTIME, _CANCEL_ON_SET = 1, 2  # /usr/include/x86_64-linux-gnu/sys/timerfd.h
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_FAR_S = 30 * 86400.0  # one wake-up a month; fits into 32-bit seconds


class _Moment(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Moment), ("value", _Moment))


class ClockEvents:
    """Notifies of clock changes and wake-ups, by ctypes: Python has timerfd only since 3.13."""

    def __init__(self, far_s: float = _FAR_S) -> None:
        """``far_s``: seconds after which the timer is set again, without a notification."""
        self._far_s = far_s
        self._handle: int | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)

    def open(self, notify: Notify) -> None:
        """See :class:`OsEvents`."""
        handle = self._checked(self._libc.timerfd_create(time.CLOCK_REALTIME, _NONBLOCK_CLOEXEC))
        try:
            self._arm(handle)
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
        try:
            os.read(self._handle, 8)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
            notify()
        if self._arm(self._handle):
            notify()

    def _arm(self, handle: int) -> bool:
        """Set the timer; return whether the clock was set since the last read.

        timerfd_settime(2) then reports ECANCELED, and sets the timer all the same.
        """
        at = time.clock_gettime(time.CLOCK_REALTIME) + self._far_s
        setting = _Setting(_Moment(0, 0), _Moment(int(at), int(at % 1 * 1e9)))
        flags = _ABSTIME | _CANCEL_ON_SET
        try:
            self._checked(self._libc.timerfd_settime(handle, flags, ctypes.byref(setting), None))
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
            return True
        return False

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
