"""The page index, outlines and positions on the sandbox, with a writer that acts as delivery."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse

from clipperd.broker.reply import Reply
from clipperd.daemon.schema import CACHE_STEPS
from clipperd.model import InsertionPoint, Position, Scope
from clipperd.notion.port import Call
from clipperd.outline.outlines import Outlines
from clipperd.outline.positions import PositionResolver
from clipperd.pages.pages import Pages
from clipperd.pages.schema import PAGE_STEPS
from clipperd.storage.database import Database
from clipperd.storage.disposable import open_cache
from cloud_broker.sandbox import seed
from cloud_broker.sandbox.control.bodies import EditBody, PageBody
from cloud_broker.sandbox.control.edits import edit, make_page
from cloud_broker.sandbox.model import Block, Node
from cloud_broker.sandbox.outline import block_of
from tests.clipperd.memory_notion import Heard
from tests.clocks import ManualClock
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage, paragraph, staged

SCOPE = Scope(seed.MIRA, seed.WORKSPACE)


class Bridge:
    """Sends requests to the sandbox directly, in place of the broker."""

    def __init__(self, stage: SandboxStage) -> None:
        self._stage = stage
        self.skew_s = 0.0  # how far the clock behind the answer's Date is ahead of Notion's
        self.asked: Callable[[], None] = lambda: None  # on the way there
        self.answered: Callable[[], None] = lambda: None  # after reading, before the Date

    async def send(self, scope: Scope, call: Call) -> Reply:
        method, path, query, body = call.method, call.path, call.query, call.body
        words = "&".join(f"{name}={value}" for name, value in (query or {}).items())
        more = {"Content_Type": "application/json"} if body else {}
        self.asked()
        response = await self._stage.raw(method, f"{path}?{words}" if words else path, body, **more)
        got = await response.json()
        before = self._stage.clock.now()
        self.answered()
        took = self._stage.clock.now() - before
        date = parsedate_to_datetime(response.headers["Date"]).timestamp() + took + self.skew_s
        return Reply(response.status, got, code=got.get("code"), date=float(int(date)))


class BootClock:
    """The stage's clock as the daemon reads it."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now()

    def boot(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        self._clock.advance(seconds)


class OutlineOnSandbox:
    """The parts under test, on the sandbox."""

    def __init__(self, stage: SandboxStage, folder: Path) -> None:
        self.stage = stage
        clock = BootClock(stage.clock)
        self.notion = notion = Bridge(stage)
        self.cache = open_cache(folder / "cache.db", CACHE_STEPS)
        self.outbox = Database.open(
            folder / "outbox.db", name="outbox", steps=PAGE_STEPS, synchronous="FULL"
        )
        self.pages = Pages(self.cache, self.outbox, notion, clock, Heard())
        self.outlines = Outlines(self.cache, notion, clock, Heard())
        self.places = PositionResolver(self.outlines, notion, self.cache, clock)

    async def clip(self, page_id: str, position: Position, *texts: str) -> InsertionPoint:
        """Resolve, append and confirm; after a refused position try once more, as delivery does."""
        blocks = [paragraph(text) for text in texts]
        place = await self.places.resolve(SCOPE, page_id, position)
        response = await self._append(place, blocks)
        if response.status in (400, 404):
            await self.places.record_refusal(SCOPE, page_id, place)
            place = await self.places.resolve(SCOPE, page_id, position)
            response = await self._append(place, blocks)
        got = await response.json()
        assert response.status == 200, got
        ids = [block["id"] for block in got["results"][: len(blocks)]]
        await self.places.record_append(SCOPE, page_id, place, ids, ids[-1], blocks)
        return place

    async def _append(self, place: InsertionPoint, blocks: list[Any]) -> ClientResponse:
        where: dict[str, Any] = {"type": place.edge}
        if place.after is not None:
            where = {"type": "after_block", "after_block": {"id": place.after}}
        body = {"children": blocks, "position": where}
        return await self.stage.raw("PATCH", f"blocks/{place.parent_id}/children", body)

    def page(self, outline: str) -> dict[str, str]:
        """Create a page as a user; return the ids of its blocks by text, its own as "page"."""
        made = make_page(self.stage.world, PageBody(title="Journal", outline=outline))
        return {"page": made.id, **self.blocks(made.id)}

    def person(self, op: str, **more: Any) -> str:
        """Make one edit as a user; return the id of its block."""
        return edit(self.stage.world, EditBody(op, **more)).id

    def turn(self, block_id: str, line: str) -> None:
        """Convert a block to ``line`` as a user; its children stay."""
        world = self.stage.world
        block = world.nodes[block_id]
        assert isinstance(block, Block)
        draft = block_of(line)
        block.type = draft.type
        world.update_block(block, draft.body, seed.MIRA)

    def lines(self, parent_id: str) -> list[str]:
        """Return the texts on the page below a parent, indented."""
        world = self.stage.world
        shown: list[str] = []
        for node in world.living(world.nodes[parent_id]):
            shown.append(_text(node))
            shown += ["  " + line for line in self.lines(node.id)]
        return shown

    def blocks(self, parent_id: str) -> dict[str, str]:
        """Return the ids of the blocks below a page or block by text."""
        world = self.stage.world
        named: dict[str, str] = {}
        for node in world.living(world.nodes[parent_id]):
            named[_text(node)] = node.id
            named.update(self.blocks(node.id))
        return named

    async def close(self) -> None:
        await self.pages.close()
        await self.outlines.close()
        self.cache.close()
        self.outbox.close()


@asynccontextmanager
async def sandboxed(folder: Path) -> AsyncIterator[OutlineOnSandbox]:
    """The parts under test on a sandbox of their own; files are in ``folder``."""
    async with staged() as stage:
        made = OutlineOnSandbox(stage, folder)
        try:
            yield made
        finally:
            await made.close()


def _text(node: Node) -> str:
    assert isinstance(node, Block)
    return "".join(run["text"]["content"] for run in node.body.get("rich_text", []))
