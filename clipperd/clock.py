"""Reads the clock and sleeps; all other modules take a Clock as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for display, boot time for deadlines, and sleeping."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch (UTC). May jump either way."""

    def boot(self) -> float:
        """Seconds on a clock that never jumps and counts suspend where the OS can."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of boot time; immediately when not positive."""


class SystemClock:
    """Reads the clocks of the machine."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return time.time()

    def boot(self) -> float:
        """CLOCK_BOOTTIME on Linux, the monotonic clock elsewhere."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def slept(self) -> float:
        """Seconds that the machine was suspended since its start; 0 where the OS does not say."""
        return self.boot() - time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        import asyncio  # here, because loading it is a third of a command's start

        await asyncio.sleep(max(0.0, seconds))


def rfc3339(seconds: float) -> str:
    """Render epoch ``seconds`` as RFC 3339 in UTC with milliseconds: 2026-11-22T10:00:00.123Z."""
    stamp = datetime.fromtimestamp(seconds, UTC)
    return stamp.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def from_rfc3339(text: str) -> float:
    """Read an RFC 3339 time into epoch seconds. Raises ValueError on anything else."""
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError("a time needs its zone, for example 2026-11-22T10:00:00Z")
    try:
        return stamp.astimezone(UTC).timestamp()
    except OverflowError as error:
        raise ValueError("a time outside the years 1 to 9999 in UTC") from error
