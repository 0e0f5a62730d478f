"""What the operating system tells unasked: one port, whatever it is that has happened."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Protocol

_log = logging.getLogger(__name__)

Tell = Callable[[], None]


class Notices(Protocol):
    """A source that wakes nobody until something happens, and then calls ``tell`` on the loop.

    It says only that it is time to look: the same thing may be told several times, and what was
    told may turn out to be nothing.
    """

    def open(self, tell: Tell) -> None:
        """Begin, on the running loop. Raises OSError where the system does not offer it."""

    def close(self) -> None:
        """Tell nothing more; closing again is fine."""


class Several:
    """Sources as one; those that the system does not offer are left out."""

    def __init__(self, *sources: Notices) -> None:
        """``sources`` are opened and closed together."""
        self._sources = sources

    def open(self, tell: Tell) -> None:
        """Open what can be opened."""
        for source in self._sources:
            try:
                source.open(tell)
            except OSError as error:  # a sandbox may forbid it; then results and timers tell
                _log.info("%s cannot be had", type(source).__name__, exc_info=error)

    def close(self) -> None:
        """Close all."""
        for source in self._sources:
            source.close()


def of_this_system() -> Notices:
    """Clock and network on Linux; elsewhere nothing is told, and results and timers have to do."""
    if sys.platform != "linux":
        return Several()
    from clipperd.machine.netlink import NetworkNotices
    from clipperd.machine.timerfd import ClockNotices

    return Several(ClockNotices(), NetworkNotices())
