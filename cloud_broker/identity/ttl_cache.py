"""Caches database rows for a few seconds, so that not every call reads them.

This broker drops changed rows immediately; changes of other brokers show after at most FRESH_S,
counted from before the read. A read during which rows were dropped is not cached: it may have
seen the old state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from cloud_broker.clock import Clock

FRESH_S = 5.0  # seconds; a revocation takes effect within this time on every instance
K = TypeVar("K")
V = TypeVar("V")


class ReadStart(NamedTuple):
    """The time before a read, and the number of drops until then."""

    at: float
    drops: int


class TtlCache(Generic[K, V]):
    """Holds at most ``size`` values by key; evicts the oldest."""

    def __init__(self, clock: Clock, *, size: int) -> None:
        self._clock = clock
        self._size = size
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._drops = 0

    def get(self, key: K) -> V | None:
        """Return the value if it is fresh."""
        found = self._kept.get(key)
        if found is None or self._clock.monotonic() >= found[1]:
            return None
        return found[0]

    def __len__(self) -> int:
        """Return the number of values, fresh or not."""
        return len(self._kept)

    def start_read(self) -> ReadStart:
        """Return the start of a read, for ``keep``."""
        return ReadStart(self._clock.monotonic(), self._drops)

    def keep(self, key: K, value: V, since: ReadStart) -> None:
        """Cache a value that was read after ``since``; evict up to two stale values."""
        if since.drops != self._drops:
            return
        self._kept[key] = (value, since.at + FRESH_S)
        self._kept.move_to_end(key)
        now = self._clock.monotonic()
        for old, (_, until) in list(
            islice(self._kept.items(), 2)
        ):  # two per call, so it cannot grow
            if until <= now or len(self._kept) > self._size:
                del self._kept[old]

    def drop(self, key: K) -> None:
        """Drop one key before or after its row changes."""
        self._drops += 1
        self._kept.pop(key, None)

    def drop_where(self, matches: Callable[[V], bool]) -> None:
        """Drop every value that ``matches``."""
        self._drops += 1
        for key in [key for key, (value, _) in self._kept.items() if matches(value)]:
            del self._kept[key]
