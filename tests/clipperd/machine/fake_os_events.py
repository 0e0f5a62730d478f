"""A machine whose notices a test makes."""

from __future__ import annotations

import asyncio

from clipperd.machine.os_events import Notify


class FakeOsEvents:
    """A source that tells when it is told to."""

    def __init__(self) -> None:
        self._tell: Notify | None = None
        self.opened = asyncio.Event()

    def open(self, tell: Notify) -> None:
        self._tell = tell
        self.opened.set()

    def close(self) -> None:
        self._tell = None
        self.opened.clear()

    def happen(self) -> None:
        """Something happens."""
        if self._tell is not None:
            self._tell()
