"""Outlines and positions on a real file and a small Notion, with a writer acting as delivery."""

from __future__ import annotations

from pathlib import Path

from clipperd.daemon.schema import CACHE_STEPS
from clipperd.model import InsertionPoint, Position
from clipperd.outline.outlines import Outlines
from clipperd.outline.positions import PositionResolver
from clipperd.storage.disposable import open_cache
from tests.clipperd.memory_notion import SCOPE, Heard, MemoryNotion
from tests.clocks import SkippingClock


class OutlineStage:
    """The parts that a test of outlines and positions uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SkippingClock()
        self.notion = MemoryNotion(self.clock)
        self.heard = Heard()
        self.page = self.notion.add_page("Journal")
        self.start()

    def start(self) -> None:
        self.cache = open_cache(self.folder / "cache.db", CACHE_STEPS)
        self.outlines = Outlines(self.cache, self.notion, self.clock, self.heard)
        self.places = PositionResolver(self.outlines, self.notion, self.cache, self.clock)

    async def close(self) -> None:
        await self.outlines.close()
        self.cache.close()

    async def restart(self) -> None:
        await self.close()
        self.start()

    def build(self, *lines: str) -> dict[str, str]:
        """Put blocks on the page: ``## text`` is a heading, ``>## text`` a toggle heading."""
        ids = {}
        for line in lines:
            ids[line.lstrip("#> ")] = self.write(line)
        return ids

    def write(self, line: str, after: str | None = None, parent: str | None = None) -> str:
        text = line.lstrip("#> ")
        level = line.split(" ", maxsplit=1)[0].count("#")
        kind = f"heading_{level}" if level else "paragraph"
        toggle = line.startswith(">")
        parent = parent or self.page
        return self.notion.add(parent, kind, text, after=after, toggleable=toggle)

    def texts(self, parent: str | None = None) -> list[str]:
        """Return the texts of a parent's children at Notion."""
        return self.notion.texts(parent or self.page)

    def text(self, block_id: str) -> str:
        """Return the text of one block at Notion."""
        return self.notion.texts_of(block_id)

    async def breathe(self) -> None:
        """Let background work run for many iterations of the loop and of the file."""
        for _ in range(30):
            await self.cache.read(lambda c: None)
            await self.cache.write(lambda c: None)

    async def resolve(self, position: Position) -> InsertionPoint:
        return await self.places.resolve(SCOPE, self.page, position)

    async def clip(self, position: Position, *lines: str) -> InsertionPoint:
        """Resolve, write and confirm one clip of several blocks, as delivery does."""
        place = await self.resolve(position)
        await self.append(place, *lines)
        return place

    async def append(self, place: InsertionPoint, *lines: str) -> list[str]:
        siblings = self.notion.children[place.parent_id]
        after = place.after
        if after is None and place.edge == "start":
            first = self.write(lines[0], parent=place.parent_id)
            siblings.insert(0, siblings.pop())
            created = [first]
        else:
            created = [self.write(lines[0], after=after, parent=place.parent_id)]
        for line in lines[1:]:
            created.append(self.write(line, after=created[-1], parent=place.parent_id))
        blocks = [self.notion.blocks[i] for i in created]
        await self.places.record_append(SCOPE, self.page, place, created, created[-1], blocks)
        return created


def end_of(heading_id: str) -> Position:
    return Position("end_of_section", heading_id=heading_id)


def after(heading_id: str) -> Position:
    return Position("after_heading", heading_id=heading_id)


async def known(world: OutlineStage, *lines: str) -> dict[str, str]:
    """Create a page with a stored outline that was read long ago."""
    ids = world.build(*lines)
    world.clock.advance(600)
    await world.outlines.get(SCOPE, world.page)
    world.clock.advance(600)
    world.notion.take_calls()
    return ids
