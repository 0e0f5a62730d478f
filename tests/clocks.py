"""Clocks that tests move: ManualClock by hand, SkippingClock by each sleep."""

from __future__ import annotations

import asyncio
import heapq
import itertools

import clipperd.clock
import cloud_broker.clock


class ManualClock:
    """Stands still until :meth:`advance`, which wakes the sleepers that are due, in order."""

    def __init__(self, now: float = 1_800_000_000.0, *, shortest_s: float = 0.0) -> None:
        """``now``: epoch seconds. A sleep of ``shortest_s`` or less returns immediately."""
        self.wall = now
        self.passed = 1000.0
        self.slept: list[float] = []
        self.slept_on = asyncio.Event()  # set by the first sleep that waits
        self._shortest_s = shortest_s
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.wall

    def boot(self) -> float:
        return self.passed

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds <= self._shortest_s:
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self.passed + seconds, next(self._order), future))
        self.slept_on.set()
        await future

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds
        while self._waiting and self._waiting[0][0] <= self.passed:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    @property
    def sleepers(self) -> int:
        return sum(not future.done() for _, _, future in self._waiting)


class SkippingClock:
    """Moves by each sleep, so that code that waits runs through without waiting."""

    def __init__(self, now: float = 1_790_000_010.0) -> None:
        """``now``: epoch seconds."""
        self._now = now
        self._boot = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self._now

    def boot(self) -> float:
        return self._boot

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._boot += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock alone to another time."""
        self._now += seconds


_daemon: tuple[clipperd.clock.Clock, ...] = (ManualClock(), SkippingClock())
_broker: cloud_broker.clock.Clock = ManualClock()
