"""Reads clocks and sleeps; every other module takes a ``Clock`` as an argument."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for deadlines, and waiting."""

    def now(self) -> float:
        """Return the wall clock, seconds since the epoch (UTC). May jump either way."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of monotonic time; immediately when not positive."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Return the wall clock, seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return the monotonic clock, seconds."""
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


async def within(clock: Clock, seconds: float, event: Coroutine[Any, Any, object]) -> bool:
    """Wait for ``event`` at most ``seconds``; return whether it came."""
    waiting, sleeping = asyncio.ensure_future(event), asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.done()
    finally:
        waiting.cancel()
        sleeping.cancel()
