"""What one broker remembers of the shared windows, for when the shared memory is gone.

Of each key: how many starts Redis last counted, and when; and this broker's own starts, by number.
With both, a Redis that has forgotten everything is told again, and a broker without Redis knows
how much of a limit was spent. Times in microseconds on the caller's steady clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from cloud_broker.limits.gcra import Window

MAX_KEYS = 100_000
KEPT = (
    1_000  # own starts of a key; of more (limits raised for a load test) only the number is known
)


class View(Struct, frozen=True):
    """``used`` starts of a window were counted at ``at``, in the shared memory ``epoch``."""

    used: int
    at: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Own:
    """A start of this broker's, by a number that no other of its starts has."""

    at: int
    number: int


UNSEEN = View(0, 0, "")


def _starts() -> deque[Own]:
    return deque(maxlen=KEPT)


@dataclass(slots=True)
class _Memory:
    rule: Window
    view: View = UNSEEN
    told: deque[Own] = field(default_factory=_starts)  # known to the shared memory of the view
    untold: deque[Own] = field(default_factory=_starts)
    until: int = 0  # from when on no window can see any of it

    def forget(self, now: int) -> None:
        """Drop the starts that have left the window."""
        for starts in (self.told, self.untold):
            while starts and starts[0].at <= now - self.rule.span_us:
                starts.popleft()


class UsageSnapshot:
    """Keys with what is known of them, for as long as a window may see it.

    Beyond a cap those go that were not looked at for longest.
    """

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._keys: OrderedDict[str, _Memory] = OrderedDict()
        self._number = 0

    def number(self) -> int:
        """A number for a start."""
        self._number += 1
        return self._number

    def saw(self, key: str, rule: Window, view: View, started: Own | None) -> None:
        """Redis has counted, with everything that this broker had not told it, and ``started``."""
        memory = self._at(key, rule, view.at if started is None else started.at, view.at)
        memory.told.extend(memory.untold)
        memory.untold.clear()
        if started is not None:
            memory.told.append(started)
        memory.view = view

    def reminded(self, key: str, rule: Window, now: int, epoch: str) -> None:
        """The shared memory ``epoch`` has been told all of the key."""
        memory = self._at(key, rule, now, now)
        memory.view = View(memory.view.used + len(memory.untold), memory.view.at, epoch)
        memory.told.extend(memory.untold)
        memory.untold.clear()

    def admitted(self, key: str, rule: Window, start: int) -> None:
        """Note a start that was admitted without Redis."""
        self._at(key, rule, start, start).untold.append(Own(start, self.number()))

    def view(self, key: str) -> View:
        """The last count."""
        memory = self._keys.get(key)
        return UNSEEN if memory is None else memory.view

    def told(self, key: str, now: int) -> Sequence[Own]:
        """The own starts within the window that were counted in the view."""
        memory = self._known(key, now)
        return () if memory is None else memory.told

    def untold(self, key: str, now: int) -> Sequence[Own]:
        """The own starts within the window that Redis has not been told."""
        memory = self._known(key, now)
        return () if memory is None else memory.untold

    def to_tell(self, epoch: str, now: int) -> list[tuple[str, Window]]:
        """The keys of which the shared memory ``epoch`` does not know all that is known here."""
        return [
            (key, memory.rule)
            for key, memory in self._keys.items()
            if memory.until > now and (memory.untold or memory.view.epoch not in ("", epoch))
        ]

    def share(self, key: str, rule: Window, now: int, brokers: int) -> tuple[int, int]:
        """This broker's share of the window without Redis: how many starts, from which moment.

        What was left at the last count is divided among all; once the starts counted then have
        left the window, the whole limit is. At least one each: at most ``brokers`` over it.
        """
        view = self.view(key)
        end = view.at + rule.span_us
        if view.used and now < end:
            left = max(0, rule.limit - view.used) // brokers
            return (left, now) if left else (max(1, rule.limit // brokers), end)
        return max(1, rule.limit // brokers), now

    def _known(self, key: str, now: int) -> _Memory | None:
        memory = self._keys.get(key)
        if memory is not None:
            memory.forget(now)
        return memory

    def _at(self, key: str, rule: Window, last: int, now: int) -> _Memory:
        """The memory of a key that is used now; its last start is at ``last``."""
        memory = self._keys.setdefault(key, _Memory(rule))
        memory.rule = rule
        memory.forget(now)
        memory.until = max(memory.until, last + rule.span_us)
        self._keys.move_to_end(key)
        for _ in range(2):  # so that what is over goes as fast as keys can come
            oldest = next(iter(self._keys))
            if len(self._keys) > MAX_KEYS or self._keys[oldest].until <= now:
                del self._keys[oldest]
        return memory
