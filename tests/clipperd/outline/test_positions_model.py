"""After any edits by users between clips, a clip lands at the end of its section."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipperd.errors import PlaceGone
from clipperd.model import InsertionPoint, Position
from tests.clipperd.memory_notion import SCOPE
from tests.clipperd.outline.outline_stage import OutlineStage

START = ("# A", "a1", "## B", "b1", "### C", "## D", "d1", "# E", "e1")
PEOPLE = ("type", "head", "remove", "relevel", "move")
OURS = ("section", "after", "end", "start", "outline")
STEPS = st.tuples(
    st.sampled_from(PEOPLE + OURS * 2), st.integers(0, 999), st.integers(1, 3), st.floats(6, 90)
)


class Page:
    """A page that users and the daemon edit in turn, and its invariants."""

    def __init__(self, world: OutlineStage) -> None:
        self.world = world
        self.headings = [i for t, i in world.build(*START).items() if t.isupper()]
        self.number = 0

    def level(self, block_id: str) -> int:
        kind = str(self.world.notion.blocks[block_id]["type"])
        return int(kind[-1]) if kind.startswith("heading") else 0

    def section_end(self, heading_id: str) -> str | None:
        """Return the section end at Notion; None if the heading is gone."""
        siblings = self.world.notion.children[self.world.page]
        if heading_id not in siblings or not self.level(heading_id):
            return None
        end, level = heading_id, self.level(heading_id)
        for block_id in siblings[siblings.index(heading_id) + 1 :]:
            if 0 < self.level(block_id) <= level:
                break
            end = block_id
        return end

    def people(self, what: str, pick: int, level: int) -> None:
        notion, siblings = self.world.notion, self.world.notion.children[self.world.page]
        if not siblings:
            return
        block = siblings[pick % len(siblings)]
        match what:
            case "type":
                self.world.write("typed", after=block)
            case "head":
                self.world.write("#" * level + " New", after=block)
            case "remove":
                notion.remove(block)
            case "relevel":
                if self.level(block):
                    notion.change(block, f"heading_{level}", "Changed")
            case _:
                siblings.remove(block)
                siblings.insert((pick * 7) % (len(siblings) + 1), block)
                notion.edit(self.world.page)

    async def ours(self, what: str, pick: int) -> None:
        heading = self.headings[pick % len(self.headings)]
        if what == "outline":
            await self.world.outlines.get(SCOPE, self.world.page)
            return
        position = {
            "section": Position("end_of_section", heading_id=heading),
            "after": Position("after_heading", heading_id=heading),
            "end": Position("end"),
            "start": Position("start"),
        }[what]
        expected = self.section_end(heading)
        if what in ("section", "after") and expected is None:
            with pytest.raises(PlaceGone):
                await self.place(position)
            return
        place = await self.place(position)
        if what == "section":
            assert place.after == expected
            assert place.level == self.level(heading)
        if what == "after":
            assert place.after == heading
        self.number += 1
        await self.world.append(place, f"c{self.number}", "more")

    async def place(self, position: Position) -> InsertionPoint:
        """Resolve as delivery does: after Notion refuses the anchor, resolve again."""
        place = await self.world.resolve(position)
        if place.after and place.after not in self.world.notion.children[place.parent_id]:
            await self.world.places.record_refusal(SCOPE, self.world.page, place)
            place = await self.world.resolve(position)
        return place


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=14))
async def test_a_clip_lands_at_the_end_of_its_section(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int, float]]
) -> None:
    world = OutlineStage(tmp_path_factory.mktemp("world"))
    page = Page(world)
    try:
        for what, pick, level, wait_s in steps:
            if what in PEOPLE:
                page.people(what, pick, level)
                world.clock.advance(wait_s)  # longer than a section end stays fresh
            else:
                await page.ours(what, pick)
    finally:
        await world.close()
