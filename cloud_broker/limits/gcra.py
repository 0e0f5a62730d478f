"""Computes rate limits (pure, in whole microseconds).

There are two kinds of rule. A *window* admits at most ``limit`` starts in any span of its length;
it keeps a log of start times, because a fixed window, or a bucket with a burst of ``limit``, would
admit twice as many. A *bucket* is GCRA: ``rate`` on average, ``burst`` together
(https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm).

Each rule returns its earliest start. The caller takes the latest of them, so it decides several
rules together and spends nothing unless all agree. A start in the future is a reservation: later
requests queue after it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import cached_property

from msgspec import Struct

MICRO = 1_000_000


def to_us(seconds: float) -> int:
    """Convert seconds to whole microseconds."""
    return round(seconds * MICRO)


class Window(Struct, frozen=True, dict=True):
    """At most ``limit`` (>= 1) starts in any ``span_s`` seconds."""

    limit: int
    span_s: float = 60.0

    @cached_property
    def span_us(self) -> int:
        """The span in microseconds."""
        return to_us(self.span_s)


class Bucket(Struct, frozen=True, dict=True):
    """``rate`` starts a second on average, at most ``burst`` (>= 1) together."""

    rate: float
    burst: int

    @cached_property
    def interval_us(self) -> int:
        """Microseconds from one start to the next at the average rate."""
        return max(1, round(MICRO / self.rate))


Rule = Window | Bucket


def window_start(starts: Sequence[int], rule: Window, now: int) -> int:
    """Return the earliest start >= ``now``, given the sorted ``starts`` of the last span.

    Starts may lie in the future (reservations). The result comes before a reservation only when
    no span around it would then contain too many starts.
    """
    if len(starts) < rule.limit:
        return now
    return max(now, starts[-rule.limit] + rule.span_us)


def window_spend(starts: list[int], rule: Window, start: int) -> None:
    """Record ``start`` and forget the starts that no later span can contain."""
    insort(starts, start)
    del starts[: max(0, len(starts) - rule.limit)]


def window_left(starts: Sequence[int], rule: Window, now: int) -> tuple[int, int]:
    """Return how many starts are left now, and the microseconds until one more is."""
    first = bisect_left(starts, now - rule.span_us + 1)
    used = len(starts) - first
    reset = starts[first] + rule.span_us - now if used else 0
    return max(0, rule.limit - used), max(0, reset)


def bucket_start(full_at: int, rule: Bucket, now: int) -> int:
    """Return the earliest start >= ``now``; ``full_at`` is when the bucket has refilled."""
    return max(now, full_at - (rule.burst - 1) * rule.interval_us)


def bucket_spend(full_at: int, rule: Bucket, start: int) -> int:
    """Return the new ``full_at`` after a start at ``start``."""
    return max(full_at, start) + rule.interval_us


def bucket_left(full_at: int, rule: Bucket, now: int) -> tuple[int, int]:
    """Return how many starts are left now, and the microseconds until one more is."""
    missing = max(0, full_at - now)
    used = -(-missing // rule.interval_us)
    left = max(0, rule.burst - used)
    return left, missing - (used - 1) * rule.interval_us if used else 0
