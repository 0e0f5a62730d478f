"""Seeded fault schedules: no clip is lost, doubled, misplaced or overtaken.

The faults are those of a bad day: cut connections before and after the write, missing answers,
writes applied late, refusals, crashes of the daemon between any two steps, and people who edit the
same pages. A failing seed replays exactly.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from clipperd.model import Position
from tests.clipperd.delivery.rig import Rig
from tests.clipperd.memory_notion import BOT, MemoryNotion
from tests.clocks import SkippingClock

FAULTS = (
    ("429", 0.03),
    ("connect", 0.02),
    ("lost_before", 0.02),
    ("lost_after", 0.02),
    ("unknown_absent", 0.02),
    ("unknown_applied", 0.02),
    ("silent_applied", 0.01),
    ("late", 0.02),
)


def schedule(rng: random.Random) -> MemoryNotion:
    clock = SkippingClock()
    world = MemoryNotion(clock)

    def fault(method: str, path: str) -> str | None:
        if method == "GET":
            return "connect" if rng.random() < 0.01 else None
        draw = rng.random()
        for kind, share in FAULTS:
            if draw < share:
                return kind
            draw -= share
        return None

    world.fault = fault
    return world


class Day:
    """One seeded run: clips into the end and a section of several pages, while things break."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = schedule(self.rng)
        self.rig = Rig(folder, self.world, self.world.clock, seed)
        self.pages: list[tuple[str, str]] = []
        for number in range(3):
            page = self.world.add_page(f"P{number}")
            heading = self.world.add(page, "heading_2", "Inbox")
            self.world.add(page, text="old")
            self.world.add(page, "heading_2", "Later")
            self.pages.append((page, heading))
        self.sent: dict[tuple[str, str], list[tuple[str, str]]] = {}

    async def clip(self, number: int) -> None:
        page, heading = self.rng.choice(self.pages)
        inside = self.rng.random() < 0.5
        place = Position("end_of_section", heading_id=heading) if inside else Position()
        line = self.sent.setdefault((page, place.type), [])
        text = line[-1][1] if line and self.rng.random() < 0.1 else f"c{number}"
        view = await self.rig.clip(page, text, position=place)
        line.append((view.id, text))

    def person(self) -> None:
        """Somebody types into a page, not into the blocks of a clip."""
        page, _ = self.rng.choice(self.pages)
        after = self.rng.choice(self.world.children[page][:2])
        self.world.add(page, text="typed", after=after)

    async def run(self, clips: int) -> None:
        for number in range(clips):
            await self.clip(number)
            if self.rng.random() < 0.5:
                await self.rig.step(self.rng.choice(self.pages)[0])
            if self.rng.random() < 0.05:
                self.person()
            if self.rng.random() < 0.03:
                await self.rig.crash()
            self.rig.clock.advance(self.rng.random() * 20)
        await self.rig.drain()

    async def verdict(self) -> tuple[int, int]:
        """Check every page; return how many deliveries were left to a person, of how many."""
        asked = total = 0
        for page, _ in self.pages:
            children = self.world.children[page]
            later = next(
                at for at, child in enumerate(children) if self.world.texts_of(child) == "Later"
            )
            for kind, found in (
                ("end_of_section", children[:later]),
                ("end", children[later:]),
            ):
                line = self.sent.get((page, kind), [])
                expected = []
                for clip_id, text in line:
                    state = await self.state(clip_id)
                    total += 1
                    if state == "needs_attention":
                        asked += 1
                    else:
                        assert state == "delivered"
                        expected.append(text)
                ours = [
                    self.world.texts_of(child)
                    for child in found
                    if self.world.blocks[child]["created_by"]["id"] == BOT
                ]
                if asked == 0:
                    assert ours == expected
                else:
                    assert _is_subsequence(expected, ours)
        return asked, total

    async def state(self, clip_id: str) -> str:
        from clipperd.outbox import views
        from tests.clipperd.delivery.rig import USER

        view = await self.rig.outbox.read(lambda c: views.get(c, USER, clip_id))
        return view.state


def _is_subsequence(wanted: list[str], given: list[str]) -> bool:
    remaining = iter(given)
    return all(item in remaining for item in wanted)


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_is_lost_doubled_misplaced_or_overtaken(tmp_path: Path, seed: int) -> None:
    day = Day(tmp_path, seed)
    try:
        await day.run(60)
        asked, total = await day.verdict()
        assert asked <= total * 0.05
    finally:
        day.rig.close()
