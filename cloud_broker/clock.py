"""Time as an argument: the one module that reads a clock or sleeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for deadlines, and waiting."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch (UTC). May jump either way."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of monotonic time, at once when not positive."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """The monotonic clock, seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(0.0, seconds))


def rfc3339(seconds: float) -> str:
    """Render epoch ``seconds`` as RFC 3339 in UTC with milliseconds: 2026-11-22T10:00:00.123Z."""
    stamp = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return stamp.removesuffix("+00:00") + "Z"


def from_rfc3339(text: str) -> float:
    """Read an RFC 3339 time into epoch seconds. Raises ValueError on anything else."""
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError("a time needs its zone, for example 2026-11-22T10:00:00Z")
    return stamp.timestamp()


async def within(clock: Clock, seconds: float, coming: Coroutine[Any, Any, object]) -> bool:
    """Wait for what is ``coming``, so many ``seconds`` at most; say whether it came."""
    waiting, sleeping = asyncio.ensure_future(coming), asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.done()
    finally:
        waiting.cancel()
        sleeping.cancel()
