"""Keeps one broker's knowledge of the shared windows, for the time when Redis is lost.

For each key: how many starts Redis counted last, and when; and this broker's own starts, each with
a number. With both, the broker restores a Redis that lost its memory, and without Redis it knows
how much of a limit is spent. Times are microseconds on the caller's monotonic clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from cloud_broker.limits.gcra import Window

MAX_KEYS = 100_000  # the least recently used key goes first
KEPT = 1_000  # own starts of a key; beyond it (raised limits of a load test) only their count


class SharedCount(Struct, frozen=True):
    """``used`` starts of a window at ``at``, as counted by Redis in its memory ``epoch``.

    The epoch changes when Redis loses its memory.
    """

    used: int
    at: int
    epoch: str


@dataclass(frozen=True, slots=True)
class OwnStart:
    """A start of this broker; ``number`` is unique among its starts."""

    at: int
    number: int


UNSEEN = SharedCount(0, 0, "")


def _starts() -> deque[OwnStart]:
    return deque(maxlen=KEPT)


@dataclass(slots=True)
class _KeyUsage:
    rule: Window
    shared: SharedCount = UNSEEN
    reported: deque[OwnStart] = field(default_factory=_starts)  # included in ``shared``
    unreported: deque[OwnStart] = field(default_factory=_starts)
    until: int = 0  # after this moment no window contains any of it

    def report_all(self) -> None:
        """Count the unreported starts as reported."""
        self.reported.extend(self.unreported)
        self.unreported.clear()

    def forget(self, now: int) -> None:
        """Drop the starts that have left the window."""
        for starts in (self.reported, self.unreported):
            while starts and starts[0].at <= now - self.rule.span_us:
                starts.popleft()


class UsageSnapshot:
    """The usage of each key, kept while a window can contain it, at most MAX_KEYS."""

    def __init__(self) -> None:
        """Start empty."""
        self._keys: OrderedDict[str, _KeyUsage] = OrderedDict()
        self._number = 0

    def number(self) -> int:
        """Return a new number for a start."""
        self._number += 1
        return self._number

    def record_count(
        self, key: str, rule: Window, shared: SharedCount, started: OwnStart | None
    ) -> None:
        """Store Redis's count, which includes every unreported start and ``started``."""
        usage = self._at(key, rule, shared.at if started is None else started.at, shared.at)
        usage.report_all()
        if started is not None:
            usage.reported.append(started)
        usage.shared = shared

    def mark_reported(self, key: str, rule: Window, now: int, epoch: str) -> None:
        """Note that Redis, in its memory ``epoch``, has been restored for this key."""
        usage = self._at(key, rule, now, now)
        used = usage.shared.used + len(usage.unreported)
        usage.shared = SharedCount(used, usage.shared.at, epoch)
        usage.report_all()

    def record_start(self, key: str, rule: Window, start: int) -> None:
        """Note a start that was admitted without Redis."""
        self._at(key, rule, start, start).unreported.append(OwnStart(start, self.number()))

    def shared(self, key: str) -> SharedCount:
        """Return Redis's last count of a key."""
        usage = self._keys.get(key)
        return UNSEEN if usage is None else usage.shared

    def reported(self, key: str, now: int) -> Sequence[OwnStart]:
        """Return the own starts within the window that Redis's last count includes."""
        usage = self._known(key, now)
        return () if usage is None else usage.reported

    def unreported(self, key: str, now: int) -> Sequence[OwnStart]:
        """Return the own starts within the window that Redis does not know."""
        usage = self._known(key, now)
        return () if usage is None else usage.unreported

    def to_report(self, epoch: str, now: int) -> list[tuple[str, Window]]:
        """Return the keys for which Redis, in its memory ``epoch``, lacks something."""
        return [
            (key, usage.rule)
            for key, usage in self._keys.items()
            if usage.until > now and (usage.unreported or usage.shared.epoch not in ("", epoch))
        ]

    def share(self, key: str, rule: Window, now: int, brokers: int) -> tuple[int, int]:
        """Return this broker's share of a window without Redis: starts, and from which moment.

        All brokers divide the starts that the last count left; after the counted starts have left
        the window, they divide the whole limit. Each may start at least one, so together they
        exceed the limit by at most ``brokers``.
        """
        shared = self.shared(key)
        end = shared.at + rule.span_us
        if shared.used and now < end:
            left = max(0, rule.limit - shared.used) // brokers
            return (left, now) if left else (max(1, rule.limit // brokers), end)
        return max(1, rule.limit // brokers), now

    def _known(self, key: str, now: int) -> _KeyUsage | None:
        usage = self._keys.get(key)
        if usage is not None:
            usage.forget(now)
        return usage

    def _at(self, key: str, rule: Window, last: int, now: int) -> _KeyUsage:
        """Return the usage of a key, now the most recently used; its last start is at ``last``."""
        usage = self._keys.setdefault(key, _KeyUsage(rule))
        usage.rule = rule
        usage.forget(now)
        usage.until = max(usage.until, last + rule.span_us)
        self._keys.move_to_end(key)
        for _ in range(2):  # two removals for each new key, so that the excess shrinks
            oldest = next(iter(self._keys))
            if len(self._keys) > MAX_KEYS or self._keys[oldest].until <= now:
                del self._keys[oldest]
        return usage
