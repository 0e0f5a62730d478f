"""What one broker remembers of the shared windows, for when the shared memory is gone.

Of each key: how many starts Redis last counted, and when; and the starts that this broker has
admitted since without Redis. With both, a Redis that has forgotten everything is told again, and
a broker without Redis knows how much of a limit was spent. Times in microseconds on the caller's
steady clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from cloud_broker.limits.arithmetic import Window

MAX_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class View:
    """``used`` starts of a window were counted at ``at``, in the shared memory ``epoch``."""

    used: int
    at: int
    epoch: str


UNSEEN = View(0, 0, "")


class Recollection:
    """Views and own starts by key; the keys not looked at for longest are dropped beyond a cap."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._views: OrderedDict[str, View] = OrderedDict()
        self._own: dict[str, list[int]] = {}

    def saw(self, key: str, view: View) -> None:
        """Redis has counted, and with it everything that this broker had not told it."""
        self._views[key] = view
        self._views.move_to_end(key)
        self._own.pop(key, None)
        if len(self._views) > MAX_KEYS:
            dropped, _ = self._views.popitem(last=False)
            self._own.pop(dropped, None)

    def view(self, key: str) -> View:
        """The last count."""
        return self._views.get(key, UNSEEN)

    def own(self, key: str, rule: Window, now: int) -> list[int]:
        """The starts within the window that Redis has not been told."""
        return [start for start in self._own.get(key, ()) if start > now - rule.span_us]

    def admitted(self, key: str, rule: Window, start: int) -> None:
        """Note a start that was admitted without Redis."""
        starts = self.own(key, rule, start)
        self._own[key] = [*starts, start]

    def sweep(self, now: int, span_us: int) -> None:
        """Forget what no window of ``span_us`` can see."""
        self._own = {key: starts for key, starts in self._own.items() if starts[-1] > now - span_us}

    def share(self, key: str, rule: Window, now: int, brokers: int) -> tuple[int, int]:
        """This broker's share of the window without Redis: how many starts, from which moment.

        What was left at the last count is divided among all; once the starts counted then have
        left the window, the whole limit is. At least one each: at most ``brokers`` over it.
        """
        view = self.view(key)
        end = view.at + rule.span_us
        if view.epoch and now < end:
            left = max(0, rule.limit - view.used) // brokers
            return (left, now) if left else (max(1, rule.limit // brokers), end)
        return max(1, rule.limit // brokers), now
