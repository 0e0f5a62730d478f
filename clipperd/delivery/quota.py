"""What is left of one limit, by what its answers said of it, less what is on its way. Pure.

A limit is a quota for any span of some seconds. Every write that was counted comes back to the
quota one span after it; the moments at which that happens are all that is kept. What the limit's
own word (remaining, and seconds to the next) says otherwise is taken over: other programs of the
same person draw on it too, and a bucket refills sooner than a window.

Moments are seconds on the boot clock.
"""

from __future__ import annotations

from bisect import bisect_right, insort

import msgspec

GRACE_S = 0.75
"""The last write of the share kept for people may be used when one more comes back so soon."""

_KEPT = 20  # one of so many writes is kept for people who wait
_KEPT_FROM = 6  # a quota smaller than this has nothing to keep
_BURST = 5  # as many are kept while people are at it: a clip to five pages leaves at once ...
_BURST_OF = 4  # ... but never more than a quarter of the quota
_SPREAD = 0.75  # of the even distance: so that it shapes the traffic, but never limits it


class Quota(msgspec.Struct):
    """One limit: ``quota`` writes in any ``span_s`` seconds; when each of those used comes back.

    ``last``: when something that is not urgent left; ``people``: until when a person, who has
    just waited for one, is expected to want more.
    """

    quota: int
    span_s: float
    back: list[float] = msgspec.field(default_factory=list)
    last: float = 0.0
    people: float = 0.0

    @property
    def kept(self) -> int:
        """How many writes are kept for people who wait."""
        return max(1, self.quota // _KEPT) if self.quota >= _KEPT_FROM else 0

    @property
    def burst(self) -> int:
        """How many are kept while people are at it.

        No more all the time: a limit of 20 of which 95 in 100 are to be used has one to spare.
        """
        return max(self.kept, min(_BURST, self.quota // _BURST_OF)) if self.kept else 0

    def begin(self, now: float, *, urgent: bool) -> None:
        """A write begins."""
        if urgent:
            self.people = now + self.span_s
        else:
            self.last = now

    def spend(self, now: float) -> None:
        """A write was counted, at the latest now."""
        insort(self.back, now + self.span_s)

    def forget(self, now: float) -> None:
        """Drop what has come back."""
        del self.back[: bisect_right(self.back, now)]

    def observe(self, left: int, reset_s: float, *, now: float, flying: int) -> None:
        """The limit says how many are left, and in how many seconds one more comes back.

        It may or may not have counted the ``flying`` other writes that are on their way. Used by
        others: nobody tells when it comes back, so the first as told, the rest evenly.
        """
        self.forget(now)
        used = max(0, self.quota - left)
        distance = self.span_s / self.quota
        for number in range(used - len(self.back)):
            insort(self.back, now + reset_s + number * distance)
        del self.back[: max(0, len(self.back) - used - flying)]
        if self.back and reset_s > 0:
            insort(self.back, min(self.back.pop(0), now + reset_s))

    def opens(self, *, flying: int, urgent: bool) -> float:
        """The moment from which one more write may leave beside ``flying``; infinite: none may
        before one of those has been answered.

        What is not urgent leaves the kept share alone, unless that is made good at once; for one
        span after a person's write that share is larger. And once half of the quota is used it
        spreads: a burst must not leave a minute in which nothing comes back.
        """
        free = self.quota - flying
        at = self._when(free - 1)
        if urgent:
            return at
        alone = max(self.people, self._when(free - 1 - self.kept) - GRACE_S)
        at = max(at, min(alone, self._when(free - 1 - self.burst) - GRACE_S))
        left = free - len(self.back) + bisect_right(self.back, at)
        if left * 2 <= self.quota:
            at = max(at, self.last + _SPREAD * self.span_s / self.quota)
        return at

    def _when(self, most: int) -> float:
        """From when at most ``most`` of those used are still to come back."""
        if most < 0:
            return float("inf")
        return 0.0 if most >= len(self.back) else self.back[-1 - most]
