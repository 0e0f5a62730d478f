"""Rows that were read a moment ago, so that a busy caller's are not read again for each call.

What this broker changes, it drops at once; what another one changes shows here after FRESH_S at
most, counted from before the reading. Nothing is kept of a reading during which something was
dropped: it may have seen the state before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from cloud_broker.clock import Clock

FRESH_S = 5.0  # a revocation is effective within this time on every instance
K = TypeVar("K")
V = TypeVar("V")


class Mark(NamedTuple):
    """The moment before a reading, and how often something had been dropped until then."""

    at: float
    drops: int


class TtlCache(Generic[K, V]):
    """At most ``size`` values by key; the oldest make room."""

    def __init__(self, clock: Clock, *, size: int) -> None:
        """Nothing yet."""
        self._clock = clock
        self._size = size
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._drops = 0

    def get(self, key: K) -> V | None:
        """The value, if it is fresh."""
        found = self._kept.get(key)
        if found is None or self._clock.monotonic() >= found[1]:
            return None
        return found[0]

    def __len__(self) -> int:
        """How many are kept, fresh or not."""
        return len(self._kept)

    def mark(self) -> Mark:
        """Take this before reading what is to be kept."""
        return Mark(self._clock.monotonic(), self._drops)

    def keep(self, key: K, value: V, since: Mark) -> None:
        """Keep what was read after ``since``, and let go of all that is no longer fresh."""
        if since.drops != self._drops:
            return
        self._kept[key] = (value, since.at + FRESH_S)
        self._kept.move_to_end(key)
        now = self._clock.monotonic()
        for old, (_, until) in list(islice(self._kept.items(), 2)):  # two a call: it cannot grow
            if until <= now or len(self._kept) > self._size:
                del self._kept[old]

    def drop(self, key: K) -> None:
        """Forget one key: what it stands for changes."""
        self._drops += 1
        self._kept.pop(key, None)

    def drop_where(self, matches: Callable[[V], bool]) -> None:
        """Forget every value that ``matches``."""
        self._drops += 1
        for key in [key for key, (value, _) in self._kept.items() if matches(value)]:
            del self._kept[key]
