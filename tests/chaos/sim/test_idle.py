"""An idle daemon stays asleep: counted as callbacks of its event loop on simulated time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

from tests.chaos.sim.daemon import Template
from tests.chaos.sim.feed import BEAT_S
from tests.chaos.sim.loop import Loop, play
from tests.chaos.sim.play import Day

HOUR_S = 3600.0
STEPS_A_BEAT = 4
"""Callbacks for one comment of the event stream: read the chunk, parse it, wait for the next."""


def a_quiet_day(loop: Loop, folder: Path) -> Day:
    """One daemon with the event stream up, and no fault."""
    days = (Day(loop, seed, 0, folder) for seed in itertools.count())
    day = next(day for day in days if day.feed is not None and len(day.daemons) == 1)
    day.upstream.scale = 0.0
    for line in day.lines:
        line.scale = 0.0
    return day


async def callbacks_in_an_idle_hour(loop: Loop, folder: Path) -> int:
    day = a_quiet_day(loop, folder)
    for broker in day.brokers:
        broker.start()
    (daemon,) = day.daemons
    process = daemon.start()
    await daemon.up()
    await daemon.sign_in()
    await asyncio.sleep(HOUR_S)  # the page index is complete, the stream is up
    before = process.steps
    await asyncio.sleep(HOUR_S)
    return process.steps - before


def test_an_idle_daemon_runs_only_for_the_comments_of_its_event_stream(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    Template(tmp_path / "template").copy(tmp_path / "A")
    steps: int = play(lambda loop: callbacks_in_an_idle_hour(loop, tmp_path))
    record_property("table: Callbacks of the event loop in an idle hour", steps)
    assert steps <= STEPS_A_BEAT * HOUR_S / BEAT_S
