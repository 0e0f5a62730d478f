"""Hazards of the machines: kills, frozen brokers, sleep, wrong clocks, no network, full disks."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tests.chaos.sim.broker import Broker
from tests.chaos.sim.daemon import Daemon
from tests.chaos.sim.loop import Loop
from tests.chaos.sim.people import People
from tests.chaos.sim.trace import Trace
from tests.chaos.sim.weather import Weather

_DAY_S = 86_400.0
_EDITS = 150  # a night of edits would make the pages longer, and no worse


class Hazards:
    """Strikes until :meth:`over`; then everything runs, is connected, and has room."""

    def __init__(
        self,
        loop: Loop,
        daemons: list[Daemon],
        brokers: list[Broker],
        people: People,
        rng: random.Random,
        weather: Weather,
        trace: Trace,
    ) -> None:
        """``rng`` is its own."""
        self.struck: Counter[str] = Counter()
        self._loop = loop
        self._daemons = daemons
        self._brokers = brokers
        self._people = people
        self._rng = rng
        self._weather = weather
        self._trace = trace
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Let the day begin; everything has been started."""
        weather = self._weather
        for daemon in self._daemons:
            self._doom(daemon, weather.daemon_steps)
            self._repeat(weather.suspend_s, partial(self._sleep, daemon))
            self._repeat(weather.stop_s, partial(self._stop, daemon))
            self._repeat(weather.jump_s, partial(self._jump, daemon))
            self._repeat(weather.offline_s, partial(self._unplug, daemon))
            self._repeat(weather.full_s, partial(self._fill, daemon))
        for broker in self._brokers:
            self._doom(broker, weather.broker_steps)
            self._repeat(weather.broker_freeze_s, partial(self._freeze, broker))
        self._repeat(weather.person_s, self._work)

    async def over(self) -> None:
        """End every hazard and mend what it broke."""
        self._is_over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        computers: list[Daemon | Broker] = [*self._daemons, *self._brokers]
        for computer in computers:
            computer.machine.wake()
            computer.machine.process.dies_at = None
            if isinstance(computer, Daemon):
                await computer.ended()
            if not computer.machine.process.alive:
                computer.start()
        for daemon in self._daemons:
            daemon.line.is_offline = False
            daemon.full(on=False)
            await daemon.up()

    def _repeat(self, mean_s: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def strike() -> None:
            while True:
                await asyncio.sleep(self._weather.calm(self._rng, mean_s))
                await act()

        if mean_s:
            self._tasks.append(self._loop.create_task(strike()))

    def _strike(self, what: str, whom: str) -> None:
        self.struck[what] += 1
        self._trace.note(whom, what)

    def _doom(self, computer: Daemon | Broker, mean_steps: int) -> None:
        """Choose after how many callbacks this life ends (0: never); another one follows."""
        process = computer.machine.process
        if self._is_over:
            return
        if mean_steps:
            process.dies_at = process.steps + 1 + int(self._rng.expovariate(1.0 / mean_steps))

        def again() -> None:
            if not self._is_over:
                computer.start()
                self._doom(computer, mean_steps)

        def died() -> None:
            if not self._is_over:
                if process.steps == process.dies_at:
                    self._strike("killed", computer.machine.name)
                wait_s = self._rng.choice((0.1, 1.0, 5.0, 30.0, 300.0)) * self._rng.random()
                self._loop.call_later(wait_s, again, context=contextvars.Context())

        process.on_death.append(died)

    async def _sleep(self, daemon: Daemon) -> None:
        """The lid is closed for seconds or for a night; mostly the network has gone after it."""
        if not daemon.machine.process.runs:
            return
        self._strike("suspended", daemon.name)
        daemon.machine.suspend()
        if self._rng.random() < 0.7:
            daemon.line.cut()
        await asyncio.sleep(self._rng.choice((5.0, 40.0, 90.0, 3_600.0, 95_000.0)))
        self._trace.note(daemon.name, "wakes")
        daemon.machine.wake()

    async def _stop(self, daemon: Daemon) -> None:
        """A person or an update ends it politely; it is started again."""
        if daemon.machine.process.runs and daemon.parts is not None:
            self._strike("stopped", daemon.name)
            daemon.stop()

    async def _jump(self, daemon: Daemon) -> None:
        """The wall clock is set, by seconds or by a day, and some time later set right."""
        step_s = self._rng.choice((3.0, 300.0, 3_600.0, _DAY_S)) * self._rng.choice((-1.0, 1.0))
        self._strike("clock set", daemon.name)
        daemon.machine.ahead_s += step_s
        await asyncio.sleep(self._rng.uniform(1.0, 300.0))
        daemon.machine.ahead_s -= step_s

    async def _unplug(self, daemon: Daemon) -> None:
        self._strike("offline", daemon.name)
        daemon.line.is_offline = True
        if self._rng.random() < 0.8:
            daemon.line.cut()
        await asyncio.sleep(self._rng.choice((2.0, 30.0, 600.0)) * self._rng.random())
        daemon.line.is_offline = False

    async def _fill(self, daemon: Daemon) -> None:
        self._strike("disk full", daemon.name)
        daemon.full(on=True)
        await asyncio.sleep(self._rng.choice((2.0, 30.0, 200.0)) * self._rng.random())
        daemon.full(on=False)

    async def _freeze(self, broker: Broker) -> None:
        """It stands still past its fence or its lease, with clocks that go on or stand too."""
        if not broker.machine.process.runs:
            return
        self._strike("frozen", broker.machine.name)
        if self._rng.random() < 0.5:
            broker.machine.suspend()
        else:
            broker.machine.process.freeze()
        await asyncio.sleep(self._rng.choice((1.0, 12.0, 25.0, 80.0, 200.0)) * self._rng.random())
        self._trace.note(broker.machine.name, "goes on")
        broker.machine.wake()

    async def _work(self) -> None:
        if self.struck["edits"] < _EDITS:
            self.struck["edits"] += 1
            self._people.act()
