"""The wake-up between instances: "the log has grown". What it grew by is read from the database."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Notifier(Protocol):
    """A hint that may be lost: whoever waits looks by itself now and then where that matters."""

    def notify(self) -> None:
        """Say that the log has grown; the row is committed."""

    async def wait(self) -> None:
        """Return once somebody said so since the last return."""


class LocalNotifier:
    """Among the parts of one process."""

    def __init__(self) -> None:
        """Nothing said yet."""
        self._said = asyncio.Event()

    def notify(self) -> None:
        """Say so."""
        self._said.set()

    async def wait(self) -> None:
        """Wait for it."""
        await self._said.wait()
        self._said.clear()
