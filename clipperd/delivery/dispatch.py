"""Decide which lane moves when: a loop that owns the tasks it starts.

It does not poll. A new clip, a finished step, a deadline or a change of the session wakes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from clipperd.clock import Clock
from clipperd.delivery import eta
from clipperd.delivery.ports import Dependencies, Failure, StepResult, Timeouts
from clipperd.delivery.throttle import Throttle
from clipperd.delivery.worker import Worker
from clipperd.outbox import actions, lanes, requests
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import LaneKey
from clipperd.storage.database import STORE_ERRORS

_log = logging.getLogger(__name__)

_CRASH_WAIT = 30.0  # seconds; pause of a lane after an unexpected exception
_STORE_WAIT = 5.0  # seconds; pause after the store refused a read or a write
_LONGEST_NAP = 60.0  # seconds; timers stop while the machine sleeps, the boot clock does not


class Dispatcher:
    """Runs lanes in parallel, each page one request at a time."""

    def __init__(
        self,
        worker: Worker,
        outbox: Outbox,
        clock: Clock,
        throttle: Throttle,
        timeouts: Timeouts,
        deps: Dependencies,
    ) -> None:
        """:meth:`run` does the work."""
        self._worker = worker
        self._outbox = outbox
        self._clock = clock
        self._throttle = throttle
        self._timeouts = timeouts
        self._deps = deps
        self._lanes: dict[LaneKey, int] = {}
        self._busy: dict[LaneKey, asyncio.Task[StepResult]] = {}
        self._locks: dict[LaneKey, tuple[int, asyncio.Lock]] = {}
        self._poked: set[LaneKey] = set()
        self._wake = asyncio.Event()
        self._reload = True
        self._times_changed = True
        self._next_due: float | None = None
        self._paused: tuple[bool, float | None] = (False, None)
        self._stopping = False

    def poke(self, *which: LaneKey, priority: int = 1) -> None:
        """Wake for these lanes; without any, for every lane."""
        for lane in which:
            self._poked.add(lane)
            self._lanes[lane] = min(priority, self._lanes.get(lane, priority))
        if not which:
            self._reload = self._times_changed = True
        self._wake.set()

    def hurry(self) -> None:
        """Forget all backoffs and look at every lane: the user asked, or the network is back."""
        self._throttle.free_all()
        self.poke()

    def free(self, *which: LaneKey) -> None:
        """Make these lanes due immediately: the user acted on them."""
        for lane in which:
            self._throttle.free_lane(lane)
        self._times_changed = True  # the action may have changed a time
        self.poke(*which, priority=0)

    def active_user(self) -> str | None:
        """Return the account whose clips may be sent now."""
        return self._deps.active_user()

    def eta_s(self, loads: Mapping[LaneKey, int]) -> float | None:
        """Return the estimated seconds until ``loads`` (requests per lane) are sent.

        None if it cannot be estimated.
        """
        now, places = self._clock.boot(), self._timeouts.max_lanes
        return eta.seconds_left(loads, self._throttle, now=now, begins=now, places=places)

    @property
    def is_offline(self) -> bool:
        """Return whether every lane waits because the broker could not be reached."""
        return self._throttle.offline_until > self._clock.boot()

    @property
    def is_busy(self) -> bool:
        """Return whether a step is running."""
        return bool(self._busy)

    @property
    def last_failure(self) -> Failure | None:
        """The newest failed attempt since the last success."""
        return self._worker.last_failure

    async def at_rest(self) -> None:
        """Return once no step is running."""
        while self._busy:
            await asyncio.wait(self._busy.values(), return_when=asyncio.FIRST_COMPLETED)

    async def run(self) -> None:
        """Recover from a crash, then serve until canceled; then stop within two seconds.

        Retries a store that fails for a while (a full disk); sends nothing before the recovery is
        committed.
        """
        recovered = False
        try:
            while True:
                self._wake.clear()
                try:
                    if not recovered:
                        await self._outbox.write(requests.recover)
                        recovered = True
                    wait = await self._start_due()
                except STORE_ERRORS as error:
                    _log.error("could not read or write the outbox", exc_info=error)
                    self._reload = self._times_changed = True
                    wait = _STORE_WAIT
                await self._sleep(wait)
        finally:
            self._stopping = True
            await self._stop()

    async def _start_due(self) -> float | None:
        """Start every lane that may start; return the seconds until the next deadline, or None."""
        now = self._clock.now()
        held, until = await self._release_due(now)
        await self._refresh_lanes()
        waits = [] if self._next_due is None else [max(0.05, self._next_due - now)]
        if held:
            waits += [] if until is None else [max(0.05, until - now)]
            return min(waits, default=None)
        boot = self._clock.boot()
        for lane, priority in sorted(self._lanes.items(), key=lambda item: item[1]):
            if lane in self._busy or lane in self._locks:
                continue
            at = self._throttle.due(lane, urgent=priority == 0)
            if at > boot:
                waits.append(at - boot)
            elif self._has_slot(priority):
                self._start(lane, boot)
        return min(waits, default=None)

    async def _release_due(self, now: float) -> tuple[bool, float | None]:
        """Release deliveries that are due; return whether the queue is paused, and until when.

        Asks the store only if a time may have changed or come, not for every new clip.
        """
        if self._times_changed or (self._next_due is not None and self._next_due <= now):
            self._times_changed = False
            due, self._next_due = await self._outbox.write(actions.release_due, now)
            if due:
                self.poke(*due)
            self._paused = await self._outbox.read(actions.paused)
        held, until = self._paused
        if held and until is not None and until <= now:
            await self._outbox.write(actions.resume)
            self._paused = (False, None)
        return self._paused

    def _has_slot(self, priority: int) -> bool:
        """Return whether a slot is free; one is reserved for priority 0: the user waits for it."""
        places = self._timeouts.max_lanes if priority == 0 else max(1, self._timeouts.max_lanes - 1)
        return len(self._busy) < places

    async def _refresh_lanes(self) -> None:
        """Refresh the list of lanes."""
        user = self._deps.active_user()
        if user is None:
            self._lanes.clear()
            self._poked.clear()
            return
        if self._reload:
            self._reload = False
            found = await self._outbox.read(lanes.open_lanes, user)
            known = dict(found)
            kept = self._lanes  # keep their order: the first one is next
            self._lanes = {k: p for k, p in kept.items() if k in known or k in self._poked}
            self._lanes |= known
        for lane in [lane for lane in self._lanes if lane[0] != user]:
            del self._lanes[lane]

    def _start(self, lane: LaneKey, boot: float) -> None:
        self._throttle.begin(
            lane, boot, urgent=self._is_urgent(lane)
        )  # before the other lanes are compared
        task = asyncio.get_running_loop().create_task(self._run_lane(lane))
        self._busy[lane] = task
        task.add_done_callback(partial(self._ended, lane))

    async def _run_lane(self, lane: LaneKey) -> StepResult:
        """Step a lane until it must yield, wait or has nothing to do."""
        while True:
            self._poked.discard(lane)
            urgent = self._is_urgent(lane)
            try:
                after = await self._worker.step(lane)
            finally:
                self._throttle.end(lane)
            if urgent:  # the next clip of the page may be less urgent
                self._reload = True
                return after
            held = self._paused[0] or self._stopping or lane in self._locks
            if after is not StepResult.AGAIN or held:
                return after
            if self._deps.active_user() != lane[0]:
                return StepResult.LATER
            boot = self._clock.boot()
            if self._throttle.due(lane, urgent=self._is_urgent(lane)) > boot or self._must_yield(
                lane
            ):
                return StepResult.AGAIN
            self._throttle.begin(lane, boot, urgent=self._is_urgent(lane))

    def _is_urgent(self, lane: LaneKey) -> bool:
        """Return whether the user waits for the lane's next clip."""
        return self._lanes.get(lane, 1) == 0

    def _must_yield(self, lane: LaneKey) -> bool:
        """Return whether another lane that is at least as urgent is due and waits for a slot."""
        mine, boot = self._lanes.get(lane, 1), self._clock.boot()
        if self._has_slot(mine):
            return False
        return any(
            priority <= mine
            and other not in self._busy
            and other not in self._locks
            and self._throttle.due(other, urgent=priority == 0) <= boot
            for other, priority in self._lanes.items()
        )

    def _ended(self, lane: LaneKey, task: asyncio.Task[StepResult]) -> None:
        self._busy.pop(lane, None)
        self._throttle.end(lane)
        self._wake.set()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("the step of a lane failed", exc_info=error)
            store_fails = isinstance(error, STORE_ERRORS)
            wait = _STORE_WAIT if store_fails else _CRASH_WAIT
            self._throttle.hold_lane(lane, self._clock.boot() + wait)
            return
        after = task.result()
        if after is StepResult.MOVED:
            self._reload = True
        if after is StepResult.AGAIN and lane in self._lanes:  # to the end of the queue of lanes
            self._lanes[lane] = self._lanes.pop(lane)
        if after in (StepResult.NOTHING, StepResult.MOVED) and lane not in self._poked:
            self._lanes.pop(lane, None)

    async def _sleep(self, wait: float | None) -> None:
        if wait is None:
            await self._wake.wait()
            return
        nap = asyncio.ensure_future(self._clock.sleep(min(wait, _LONGEST_NAP)))
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({nap, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (nap, woken):
                task.cancel()
            await asyncio.gather(nap, woken, return_exceptions=True)

    async def _stop(self) -> None:
        """Cancel the running steps; their request rows are replayed after the next start."""
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def exclusive(self, lane: LaneKey) -> AsyncIterator[None]:
        """Hold a page's lane for a write that does not come from the queue."""
        holders, turn = self._locks.get(lane, (0, asyncio.Lock()))
        self._locks[lane] = (holders + 1, turn)
        try:
            running = self._busy.get(lane)
            if running is not None:
                with contextlib.suppress(Exception):
                    await asyncio.shield(running)
            async with turn:
                yield
        finally:
            holders, turn = self._locks.pop(lane)
            if holders > 1:
                self._locks[lane] = (holders - 1, turn)
            self.poke(lane)
