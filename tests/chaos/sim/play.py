"""Plays one day of clips and hazards, decided by its seed, and returns the verdict."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipperd.errors import ClipperdError
from cloud_broker.errors import DatabaseFailed
from tests.chaos.sim.app import App
from tests.chaos.sim.broker import Broker
from tests.chaos.sim.daemon import Daemon, Template
from tests.chaos.sim.disk import SharedRows
from tests.chaos.sim.feed import Feed
from tests.chaos.sim.hazards import Hazards
from tests.chaos.sim.line import Line
from tests.chaos.sim.loop import Loop, play
from tests.chaos.sim.machine import EPOCH, Machine
from tests.chaos.sim.notion import Notion
from tests.chaos.sim.people import People
from tests.chaos.sim.reckoning import reckon, reckon_new
from tests.chaos.sim.trace import Trace
from tests.chaos.sim.upstream import Upstream
from tests.chaos.sim.weather import Weather
from tests.chaos.verdict import Count

UNDER_WAY = ("queued", "sending", "retrying", "unconfirmed")
_DRAIN_S = 12 * 3600.0
_LATE_S = 200.0  # whatever is still on its way anywhere has arrived by then
_PAGES = 8


@dataclass
class Outcome:
    """What one run came to. ``unknown``: requests whose outcome was not known at first;
    ``asked``: those of them that were left to a person."""

    seed: int
    clips: int
    count: Count
    unknown: int
    asked: int
    digest: str
    hours: float
    steps: int
    struck: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> bool:
        """Whether a promise was broken."""
        return self.count.wrong or bool(self.errors)


def one_run(
    seed: int,
    clips: int,
    folder: Path,
    template: Template,
    show: Callable[[str], None] | None = None,
) -> Outcome:
    """Play the run of ``seed`` in ``folder``, which must not exist yet."""
    for name in ("A", "B"):
        template.copy(folder / name)
    gc.disable()  # what it finalizes, and when, must not be part of the run
    try:
        with _Errors() as errors:
            outcome: Outcome = play(
                lambda loop: Day(loop, seed, clips, folder, errors, show).play()
            )
        return outcome
    finally:
        gc.enable()
        gc.collect()


class Day:
    """Everything of one run."""

    def __init__(
        self,
        loop: Loop,
        seed: int,
        clips: int,
        folder: Path,
        errors: _Errors | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        self.errors = errors or _Errors()
        rng = random.Random(f"day {seed}")
        self.seed, self.clips, self.loop = seed, clips, loop
        self.weather = weather = Weather.draw(rng)
        self.trace = trace = Trace(loop, show)
        started_at = EPOCH + rng.uniform(0.0, 3600.0)

        def dice() -> random.Random:
            return random.Random(rng.random())

        def machine(name: str) -> Machine:
            return Machine(name, loop, dice(), started_at)

        there = machine("notion")
        there.ahead_s = weather.skew_s
        self.notion = Notion(there, trace, seed)
        self.notion.open_pages(_PAGES)
        self.upstream = Upstream(loop, self.notion, dice(), weather.notion, trace)
        self.rows = SharedRows(dice(), weather.storage)
        self.brokers = [
            Broker(
                machine(f"broker{number}"),
                self.notion,
                self.upstream,
                self.rows,
                trace,
                is_tight=weather.tight,
            )
            for number in range(weather.brokers)
        ]
        self.feed = Feed(loop, self.notion, dice()) if weather.push else None
        self.lines: list[Line] = []
        self.daemons: list[Daemon] = []
        for name in ("A", "B")[: weather.daemons]:
            line = Line(name, loop, self.brokers, self.feed, dice(), weather.line, trace)
            self.lines.append(line)
            self.daemons.append(Daemon(machine(name), line, folder / name, self.notion, trace))
        self.apps = [
            App(daemon, self.notion.pages, dice(), weather, trace, 1 + 10_000 * index)
            for index, daemon in enumerate(self.daemons)
        ]
        if len(self.apps) == 2:
            self.apps[0].other, self.apps[1].other = self.apps[1], self.apps[0]
        self.people = People(self.notion, dice(), trace)
        self.hazards = Hazards(
            loop, self.daemons, self.brokers, self.people, dice(), weather, trace
        )

    async def play(self) -> Outcome:
        self.trace.note("day", str(self.weather))
        for broker in self.brokers:
            broker.start()
        for daemon in self.daemons:
            daemon.start()
            await daemon.up()
            await daemon.sign_in()
        self.hazards.begin()
        share = self.clips // len(self.apps)
        await asyncio.gather(*(app.post(share) for app in self.apps))
        await self._calm()
        errors = await self._drain()
        count, sent = Count(), 0
        for daemon, app in zip(self.daemons, self.apps, strict=True):
            sent += app.accepted
            items = await app.sent()
            count.add(reckon(self.notion, daemon.name, self.people.deeds, items))
            views = await app.views_of_new()
            count.add(reckon_new(self.notion, daemon.name, app.new_pages, views))
        tallies = [daemon.tally() for daemon in self.daemons]
        machines = [each.machine for each in self.daemons] + [b.machine for b in self.brokers]
        steps = sum(machine.process.steps for machine in machines)
        for daemon in self.daemons:
            daemon.machine.process.kill()
        await self.rows.close()
        return Outcome(
            self.seed,
            sent,
            count,
            unknown=sum(unknown for unknown, _ in tallies),
            asked=sum(asked for _, asked in tallies),
            digest=self.trace.digest,
            hours=self.loop.time() / 3600.0,
            steps=steps,
            struck=self.hazards.struck,
            faults=Counter(self.upstream.faults)
            + sum((Counter(line.faults) for line in self.lines), Counter()),
            errors=errors + self.errors.found + [str(context) for context in self.loop.errors],
        )

    async def _calm(self) -> None:
        """All is well again."""
        await self.hazards.over()
        self.upstream.scale = 0.0
        for line in self.lines:
            line.scale = 0.0
        self.trace.note("day", "all is well again")

    async def _drain(self) -> list[str]:
        """Wait until nothing is under way. Returns what never came to rest."""
        end = self.loop.time() + _DRAIN_S
        while self.loop.time() < end:
            states = [await app.states() for app in self.apps]
            left = sum(each.get(name, 0) for each in states for name in UNDER_WAY)
            undoing = [await _undoing(daemon) for daemon in self.daemons]
            if not left and not any(undoing):
                await asyncio.sleep(_LATE_S)
                self.trace.note("day", f"at rest: {states}")
                return []
            await asyncio.sleep(10.0)
        return [f"does not come to rest: {[await app.states() for app in self.apps]}"]


async def _undoing(daemon: Daemon) -> bool:
    """Whether a clip is still to be taken back."""

    async def look(parts: Any) -> bool:
        return bool(
            await parts.clips._outbox.read(
                lambda c: c.execute(
                    "SELECT count(*) FROM delivery WHERE json_extract(undo, '$.state') = 'queued'"
                ).fetchone()[0]
            )
        )

    return await daemon.call(look)


class _Errors(logging.Handler):
    """What the programs log as an error and is none that the hazards explain."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def __enter__(self) -> _Errors:
        for name in ("clipperd", "cloud_broker", "asyncio"):
            logger = logging.getLogger(name)
            logger.addHandler(self)
            logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("clipperd", "cloud_broker", "asyncio"):
            logger = logging.getLogger(name)
            logger.removeHandler(self)
            logger.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (ClipperdError, DatabaseFailed)):
            return
        self.found.append(f"{record.name}: {record.getMessage()}: {error!r}")
