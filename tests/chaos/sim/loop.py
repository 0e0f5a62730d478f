"""An event loop on virtual time that runs the callbacks of several machines in one order.

Time stands still while a callback is ready and jumps to the next timer otherwise. So hours pass in
moments, and the order depends on the program alone. Every callback belongs to the process in whose
context it was made: after a kill none of them runs, not even a ``finally``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Literal

PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("PROCESS", default=None)


class Stuck(Exception):
    """Nothing is ready and nothing will ever be."""


class Process:
    """One life of a program: what runs in its context can be killed, frozen or put to sleep."""

    def __init__(self, name: str, loop: Loop) -> None:
        """``name`` is for the trace."""
        self.name = name
        self.state: Literal["runs", "stands", "sleeps", "dead"] = "runs"
        self.steps = 0
        self.dies_at: int | None = None
        self.on_death: list[Callable[[], None]] = []
        self._loop = loop
        self._started: set[asyncio.Task[Any]] = set()  # the loop itself holds no task
        self._parked: list[asyncio.Handle] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._since = 0.0

    @property
    def alive(self) -> bool:
        """Whether it was not killed."""
        return self.state != "dead"

    @property
    def runs(self) -> bool:
        """Whether it is neither dead nor still."""
        return self.state == "runs"

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run ``work`` as this process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        task = self._loop.create_task(work, context=context)
        self._started.add(task)
        task.add_done_callback(self._ended)
        return task

    def kill(self) -> None:
        """kill -9: nothing of it runs again."""
        if self.state == "dead":
            return
        self.state = "dead"
        self._loop.keep_pending()
        self._parked.clear()
        self._timers.clear()
        for act in self.on_death:
            act()

    def freeze(self) -> None:
        """SIGSTOP: its timers go on, and what is due runs when it is let go."""
        assert self.state == "runs"
        self.state = "stands"

    def suspend(self) -> None:
        """The machine sleeps: the timers stand still with it."""
        assert self.state == "runs"
        self.state = "sleeps"
        self._since = self._loop.time()
        self._timers = self._loop.take_timers(self)

    def wake(self) -> None:
        """Let a process that stands or sleeps go on."""
        if self.state == "sleeps":
            self._loop.give_timers(self._timers, self._loop.time() - self._since)
            self._timers = []
        if self.state != "dead":
            self.state = "runs"
            self._loop.resume(self._parked)
            self._parked = []

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._started.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._loop.failure = task.exception()  # no program ends so: the simulation is wrong

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether the callback may run now; one of a still process is kept for later."""
        if self.state == "runs":
            self.steps += 1
            if self.steps != self.dies_at:
                return True
            self.kill()
        elif self.state != "dead":
            self._parked.append(handle)
        return False


class Loop(asyncio.BaseEventLoop):
    """Use :func:`play` to run one."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        """Begin at second 0."""
        super().__init__()
        self._now = 0.0
        self._held: list[asyncio.Task[Any]] = []
        self.failure: BaseException | None = None
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.errors.append(context))

    def time(self) -> float:
        """Seconds since the beginning."""
        return self._now

    def run_in_executor(  # type: ignore[override]  # nothing is awaited by name of its executor
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call ``func`` as a callback of its own: what is a thread elsewhere has its turn here."""
        future: asyncio.Future[Any] = self.create_future()

        def turn() -> None:
            if future.done():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_soon(turn)
        return future

    def keep_pending(self) -> None:
        """Hold every task under way, so that none is closed, and so runs on, before the end."""
        self._held.extend(asyncio.all_tasks(self))

    def bury(self) -> None:
        """Close the coroutines of those killed; what they do then concerns nobody any more."""
        left = dict.fromkeys([*self._held, *asyncio.all_tasks(self)])
        for task in left:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # killed, not lost
                coroutine = task.get_coro()
                with contextlib.suppress(BaseException):
                    coroutine.close()

    def take_timers(self, process: Process) -> list[asyncio.TimerHandle]:
        """Remove the timers of ``process`` and return them in the order of their time."""
        mine = [h for h in self._scheduled if _owner(h) is process and not h.cancelled()]
        taken = set(map(id, mine))
        self._scheduled = [h for h in self._scheduled if id(h) not in taken]
        heapq.heapify(self._scheduled)
        return sorted(mine, key=lambda handle: handle.when())

    def give_timers(self, timers: list[asyncio.TimerHandle], later_s: float) -> None:
        """Put timers back, ``later_s`` after the time they were set for."""
        for handle in timers:
            handle._when += later_s  # type: ignore[attr-defined]  # sleep is not in asyncio's model
            heapq.heappush(self._scheduled, handle)

    def resume(self, handles: list[asyncio.Handle]) -> None:
        """Run these callbacks next, in their order."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        """One round: what is due becomes ready, what was ready at its beginning runs."""
        scheduled, ready = self._scheduled, self._ready
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)
        if not ready:
            if not scheduled:
                raise Stuck
            self._now = max(self._now, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now:
            ready.append(heapq.heappop(scheduled))
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.cancelled():
                continue
            owner = _owner(handle)
            if owner is None or owner.admits(handle):
                handle._run()
        if self.failure is not None:
            raise self.failure

    def _process_events(self, event_list: object) -> None:
        """There are no files to watch."""

    def _write_to_self(self) -> None:
        """There is no other thread."""


def _owner(handle: asyncio.Handle) -> Process | None:
    context: contextvars.Context = handle._context  # type: ignore[attr-defined]  # every one has it
    return context.get(PROCESS)


def play(work: Callable[[Loop], Coroutine[Any, Any, Any]]) -> Any:
    """Run ``work`` on a loop of its own and return its result; nothing of it is left running."""
    loop = Loop()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        logging.disable()  # those that are buried complain of it
        loop.bury()
        logging.disable(logging.NOTSET)
        loop.close()
