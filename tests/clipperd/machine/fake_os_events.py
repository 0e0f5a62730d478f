"""OS events that a test triggers."""

from __future__ import annotations

import asyncio

from clipperd.machine.os_events import Notify


class FakeOsEvents:
    """A source that notifies when the test says so."""

    def __init__(self) -> None:
        self._notify: Notify | None = None
        self.opened = asyncio.Event()

    def open(self, notify: Notify) -> None:
        self._notify = notify
        self.opened.set()

    def close(self) -> None:
        self._notify = None
        self.opened.clear()

    def happen(self) -> None:
        """Something happens."""
        if self._notify is not None:
            self._notify()
