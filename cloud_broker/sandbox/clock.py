"""Provides the sandbox's clock, which a test can shift or stop."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from cloud_broker.clock import Clock

MINUTE_S = 60


class ShiftingClock:
    """The given clock plus an offset; it can be stopped."""

    def __init__(self, clock: Clock) -> None:
        """Start with the time of ``clock``."""
        self._clock = clock
        self._offset_s = 0.0
        self._stopped_at: float | None = None

    def now(self) -> float:
        """Return the sandbox's time, seconds since the epoch."""
        if self._stopped_at is not None:
            return self._stopped_at
        return self._clock.now() + self._offset_s

    def monotonic(self) -> float:
        """Return the given clock's monotonic time, which a shift does not change."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the given clock; a shift does not shorten the sleep."""
        await self._clock.sleep(seconds)

    @property
    def offset_s(self) -> float:
        """The seconds that the sandbox is ahead of the given clock."""
        return self.now() - self._clock.now()

    @property
    def stopped(self) -> bool:
        """Whether the clock is stopped."""
        return self._stopped_at is not None

    def shift(self, offset_s: float) -> None:
        """Set the offset to the given clock, in seconds, and run."""
        self._offset_s = offset_s
        self._stopped_at = None

    def set(self, now: float) -> None:
        """Set the time to ``now``; a stopped clock stays stopped."""
        if self._stopped_at is not None:
            self._stopped_at = now
        else:
            self._offset_s = now - self._clock.now()

    def stop(self) -> None:
        """Stop at the current time."""
        self._stopped_at = self.now()

    def start(self) -> None:
        """Continue from the time of the stop."""
        if self._stopped_at is not None:
            self._offset_s = self._stopped_at - self._clock.now()
            self._stopped_at = None


def minute(seconds: float) -> str:
    """Render a time as Notion shows it: rounded down to the minute, ``…:32:00.000Z``."""
    return _minute(int(seconds // MINUTE_S))


@lru_cache(maxsize=1024)
def _minute(number: int) -> str:
    """Cached: every rendered block has two times, and most blocks of a page share them."""
    return datetime.fromtimestamp(number * MINUTE_S, UTC).strftime("%Y-%m-%dT%H:%M:00.000Z")


def http_date(seconds: float) -> str:
    """Render a time for the Date header."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
