"""The world's clock: a real clock that a test may shift or stop."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from cloud_broker.clock import Clock

MINUTE_S = 60


class ShiftingClock:
    """Wall time of the sandbox: the given clock plus an offset, or standing still."""

    def __init__(self, clock: Clock) -> None:
        """Start in step with ``clock``."""
        self._clock = clock
        self._offset_s = 0.0
        self._stopped_at: float | None = None

    def now(self) -> float:
        """Seconds since the epoch, as the sandbox believes."""
        if self._stopped_at is not None:
            return self._stopped_at
        return self._clock.now() + self._offset_s

    def monotonic(self) -> float:
        """The given clock's monotonic time; shifting does not touch it."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait by the given clock; shifting does not shorten it."""
        await self._clock.sleep(seconds)

    @property
    def offset_s(self) -> float:
        """How far the sandbox is ahead of the given clock, seconds."""
        return self.now() - self._clock.now()

    @property
    def stopped(self) -> bool:
        """Whether time stands still."""
        return self._stopped_at is not None

    def shift(self, offset_s: float) -> None:
        """Run ``offset_s`` seconds ahead of the given clock."""
        self._offset_s = offset_s
        self._stopped_at = None

    def set(self, now: float) -> None:
        """Continue from ``now`` (stopped stays stopped)."""
        if self._stopped_at is not None:
            self._stopped_at = now
        else:
            self._offset_s = now - self._clock.now()

    def stop(self) -> None:
        """Stand still at the present moment."""
        self._stopped_at = self.now()

    def start(self) -> None:
        """Run on from where it stood."""
        if self._stopped_at is not None:
            self._offset_s = self._stopped_at - self._clock.now()
            self._stopped_at = None


def minute(seconds: float) -> str:
    """Render a time as Notion shows it: rounded down to the minute, ``…:32:00.000Z``."""
    return _minute(int(seconds // MINUTE_S))


@lru_cache(maxsize=1024)
def _minute(number: int) -> str:
    """Every block that is shown has two of them, and most of a page the same ones."""
    return datetime.fromtimestamp(number * MINUTE_S, UTC).strftime("%Y-%m-%dT%H:%M:00.000Z")


def http_date(seconds: float) -> str:
    """Render a time for the Date header."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
