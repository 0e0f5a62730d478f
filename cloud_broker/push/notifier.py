"""Wakes the readers of the push log when it has grown; they read the rows from the database."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Notifier(Protocol):
    """A hint that may be lost; readers also poll the log."""

    def notify(self) -> None:
        """Report that the log has grown. Call it after the commit."""

    async def wait(self) -> None:
        """Return when the log has grown since the last return."""


class LocalNotifier:
    """Wakes readers within one process."""

    def __init__(self) -> None:
        """Start without news."""
        self._has_grown = asyncio.Event()

    def notify(self) -> None:
        """Report that the log has grown."""
        self._has_grown.set()

    async def wait(self) -> None:
        """Wait until the log has grown."""
        await self._has_grown.wait()
        self._has_grown.clear()
