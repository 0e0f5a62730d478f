"""A computer in the simulation: its clocks and disk delays outlive the processes on it."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.sim.loop import Loop, Process

EPOCH = 1_600_000_000.0  # 2020-09-13: before any real file, whose age the daemon looks at


class Machine:
    """Has one process at a time, and the clocks of either package's ``Clock`` protocol."""

    def __init__(self, name: str, loop: Loop, rng: random.Random, started_at: float) -> None:
        """``started_at``: true time (epoch seconds) at the loop's second 0; ``rng`` is its own."""
        self.name = name
        self.loop = loop
        self.rng = rng
        self.ahead_s = 0.0
        self.process = Process(name, loop)
        self.process.state = "dead"
        self.lives = 0
        self._started_at = started_at
        self._slept_s = 0.0
        self._asleep_at = 0.0

    def boot_process(self) -> Process:
        """Begin a new life. The last one must have ended."""
        assert not self.process.alive
        self.lives += 1
        self.process = Process(f"{self.name}#{self.lives}", self.loop)
        return self.process

    def suspend(self) -> None:
        """The lid is closed."""
        self._asleep_at = self.loop.time()
        self.process.suspend()

    def wake(self) -> None:
        """The lid is opened, or the process goes on."""
        if self.process.state == "sleeps":
            self._slept_s += self.loop.time() - self._asleep_at
        self.process.wake()

    def now(self) -> float:
        """Wall clock; jumps by ``ahead_s``."""
        return self._started_at + self.loop.time() + self.ahead_s

    def boot(self) -> float:
        """The clock that goes on during sleep."""
        return self.loop.time()

    def monotonic(self) -> float:
        """The clock that stands still during sleep, as timers do."""
        return self.loop.time() - self._slept_s

    async def sleep(self, seconds: float) -> None:
        """Return after so much of the machine's waking time."""
        await asyncio.sleep(max(0.0, seconds))

    def disk_s(self) -> float:
        """How long the disk takes for a commit: mostly a millisecond, now and then a long one."""
        draw = self.rng.random()
        return 0.0005 + 0.004 * draw if draw < 0.99 else self.rng.uniform(0.1, 3.0)
