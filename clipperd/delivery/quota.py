"""Track the rest of one limit from its answers, minus the writes in flight. Pure.

A limit is a quota for any span of some seconds. Every counted write returns to the quota one span
later; only the moments of those returns are kept. A report of the limit (remaining writes, seconds
to the next) overrides the count: other programs of the same user share the limit, and a token
bucket refills sooner than a window.

Moments are seconds on the boot clock.
"""

from __future__ import annotations

from bisect import bisect_right, insort

import msgspec

GRACE_S = 0.75
"""Seconds; the last reserved write may be used when one more returns so soon."""

_KEPT = 20  # one in 20 writes is reserved for urgent ones
_KEPT_FROM = 6  # a smaller quota reserves nothing
_BURST = 5  # reserved after an urgent write: a clip to five pages is sent immediately ...
_BURST_OF = 4  # ... but at most a quarter of the quota
_SPREAD = 0.75  # of the even distance: it shapes the traffic but never limits it


class Quota(msgspec.Struct):
    """One limit: ``quota`` writes in any ``span_s`` seconds; ``back``: when each used one returns.

    ``last``: when a write that is not urgent was sent last. ``people``: until when the user, who
    has just waited for an urgent write, is expected to send more.
    """

    quota: int
    span_s: float
    back: list[float] = msgspec.field(default_factory=list)
    last: float = 0.0
    people: float = 0.0

    @property
    def kept(self) -> int:
        """Return the number of writes reserved for urgent ones."""
        return max(1, self.quota // _KEPT) if self.quota >= _KEPT_FROM else 0

    @property
    def burst(self) -> int:
        """Return the number reserved while the user is active.

        It is not larger all the time: a limit of 20 that should be used by 95% has one to spare.
        """
        return max(self.kept, min(_BURST, self.quota // _BURST_OF)) if self.kept else 0

    def begin(self, now: float, *, urgent: bool) -> None:
        """Note that a write begins."""
        if urgent:
            self.people = now + self.span_s
        else:
            self.last = now

    def spend(self, now: float) -> None:
        """Count a write; the server counted it now at the latest."""
        insort(self.back, now + self.span_s)

    def forget(self, now: float) -> None:
        """Drop the writes that have returned."""
        del self.back[: bisect_right(self.back, now)]

    def observe(self, left: int, reset_s: float, *, now: float, flying: int) -> None:
        """Adopt a report: ``left`` writes remain, and one more returns in ``reset_s`` seconds.

        The report may or may not include the ``flying`` other writes in flight. The return times of
        other programs' writes are unknown: the first is as reported, the rest are spread evenly.
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
        """Return when one more write may be sent beside ``flying``; infinite: after an answer.

        A write that is not urgent leaves the reserved share alone, unless it returns immediately;
        for one span after an urgent write that share is larger. Once half of the quota is used,
        writes are spread out: a burst must not leave a minute in which none returns.
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
        """Return when at most ``most`` of the used writes are still to return."""
        if most < 0:
            return float("inf")
        return 0.0 if most >= len(self.back) else self.back[-1 - most]
