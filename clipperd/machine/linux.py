"""Chooses the OS event sources: timerfd and netlink on Linux, none elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from clipperd.machine.os_events import Notify, OsEvents

_log = logging.getLogger(__name__)


class EventSources:
    """Combines event sources; skips those that the system does not offer."""

    def __init__(self, *factories: Callable[[], OsEvents]) -> None:
        """Each factory makes a source when :meth:`open` is called."""
        self._factories = factories
        self._open: list[OsEvents] = []

    def open(self, notify: Notify) -> None:
        """Open every available source."""
        for factory in self._factories:
            try:
                source = factory()
                source.open(notify)
            except OSError as error:  # a sandbox may forbid it; timers and failed requests remain
                _log.info("%s is not available", factory.__name__, exc_info=error)
            else:
                self._open.append(source)

    def close(self) -> None:
        """Close every source."""
        opened, self._open = self._open, []
        for source in opened:
            source.close()


def system_events() -> OsEvents:
    """Return clock and network events on Linux; elsewhere no events, so timers must suffice."""
    return EventSources(_clock, _network) if sys.platform == "linux" else EventSources()


def folder_events(folder: Path) -> OsEvents:
    """Return events of deleted, moved and replaced files on Linux; elsewhere none."""

    def watch() -> OsEvents:
        from clipperd.machine.inotify import FolderEvents

        return FolderEvents(folder)

    return EventSources(watch) if sys.platform == "linux" else EventSources()


def _clock() -> OsEvents:
    from clipperd.machine.timerfd import ClockEvents

    return ClockEvents()


def _network() -> OsEvents:
    from clipperd.machine.netlink import NetworkEvents

    return NetworkEvents()
