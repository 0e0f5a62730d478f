"""Chooses the OS event sources: timerfd and netlink on Linux, none elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from clipperd.machine.os_events import Notify, OsEvents

_log = logging.getLogger(__name__)


class EventSources:
    """Sources as one; those that the system does not offer are left out."""

    def __init__(self, *kinds: Callable[[], OsEvents]) -> None:
        """Each of ``kinds`` makes a source, when all are opened and not before."""
        self._kinds = kinds
        self._open: list[OsEvents] = []

    def open(self, tell: Notify) -> None:
        """Open what can be opened."""
        for kind in self._kinds:
            try:
                source = kind()
                source.open(tell)
            except OSError as error:  # a sandbox may forbid it; then results and timers tell
                _log.info("%s cannot be had", kind.__name__, exc_info=error)
            else:
                self._open.append(source)

    def close(self) -> None:
        """Close all."""
        opened, self._open = self._open, []
        for source in opened:
            source.close()


def of_this_system() -> OsEvents:
    """Clock and network on Linux; elsewhere nothing is told, and results and timers have to do."""
    return EventSources(_clock, _network) if sys.platform == "linux" else EventSources()


def _clock() -> OsEvents:
    from clipperd.machine.timerfd import ClockEvents

    return ClockEvents()


def _network() -> OsEvents:
    from clipperd.machine.netlink import NetworkEvents

    return NetworkEvents()
