"""Index, outline and places against the sandbox Notion, which enforces what Notion enforces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from clipperd.cache.cache import open_cache
from clipperd.db import Database
from clipperd.errors import PlaceGone
from clipperd.model import Place, Position, Scope
from clipperd.outline.outlines import Outlines
from clipperd.outline.places import Places
from clipperd.pages.pages import Pages
from clipperd.pages.schema import PAGE_STEPS
from clipperd.transport import Reply
from cloud_broker.sandbox import seed
from tests.clipperd.fake_notion import Heard
from tests.cloud_broker.sandbox.stage import Stage, StageClock, paragraph, staged

SCOPE = Scope(seed.MIRA, seed.WORKSPACE)


class Bridge:
    """Straight to the sandbox, as the broker would pass it on."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def send(
        self,
        scope: Scope,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        key: str | None = None,
        version: str | None = None,
    ) -> Reply:
        words = "&".join(f"{name}={value}" for name, value in (query or {}).items())
        more = {"Content_Type": "application/json"} if body else {}
        response = await self._stage.raw(method, f"{path}?{words}" if words else path, body, **more)
        got = await response.json()
        date = parsedate_to_datetime(response.headers["Date"]).timestamp()
        return Reply(response.status, got, code=got.get("code"), date=date)


class BootClock:
    """The stage's clock as the daemon reads it."""

    def __init__(self, clock: StageClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now()

    def boot(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        self._clock.advance(seconds)


class Sandboxed:
    """The parts under test, on the sandbox."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        clock, notion = BootClock(stage.clock), Bridge(stage)
        self.cache = open_cache(folder / "cache.db")
        self.outbox = Database.open(
            folder / "outbox.db", name="outbox", steps=PAGE_STEPS, synchronous="FULL"
        )
        self.pages = Pages(self.cache, self.outbox, notion, clock, Heard())
        self.outlines = Outlines(self.cache, notion, clock, Heard())
        self.places = Places(self.outlines, notion, self.cache, clock)

    async def clip(self, page_id: str, position: Position, *texts: str) -> Place:
        place = await self.places.resolve(SCOPE, page_id, position)
        blocks = [paragraph(text) for text in texts]
        where: dict[str, Any] = {"type": place.edge}
        if place.after is not None:
            where = {"type": "after_block", "after_block": {"id": place.after}}
        got = await self.stage.append(place.parent_id, *blocks, position=where)
        ids = [block["id"] for block in got[: len(blocks)]]
        await self.places.wrote(SCOPE, page_id, place, ids, ids[-1], blocks)
        return place

    async def close(self) -> None:
        await self.pages.close()
        await self.outlines.close()
        self.cache.close()
        self.outbox.close()


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Sandboxed]:
    async with staged() as stage:
        made = Sandboxed(stage, tmp_path)
        yield made
        await made.close()


async def a_page(on: Sandboxed) -> tuple[str, dict[str, str]]:
    """The empty page with two sections, long settled and its outline known."""
    heading = {"rich_text": [{"text": {"content": "Inbox"}}]}
    below = {"rich_text": [{"text": {"content": "Later"}}]}
    blocks = await on.stage.append(
        seed.EMPTY_PAGE,
        {"type": "heading_2", "heading_2": heading},
        paragraph("milk"),
        {"type": "heading_2", "heading_2": below},
    )
    on.stage.clock.advance(600)
    outline = await on.outlines.get(SCOPE, seed.EMPTY_PAGE)
    assert [h.text for h in outline.headings] == ["Inbox", "Later"]
    inbox, milk, later = (block["id"] for block in blocks)
    return seed.EMPTY_PAGE, {"Inbox": inbox, "milk": milk, "Later": later}


async def test_the_whole_workspace_is_indexed_and_refreshed_by_one_call(on: Sandboxed) -> None:
    await on.pages.refresh(SCOPE)
    assert on.stage.total() == 1
    await on.pages.refresh(SCOPE)
    assert on.stage.total() == 2
    titles = [entry.title for entry in (await on.pages.list(SCOPE, "all", limit=100)).items]
    assert "Reading list" in titles
    assert "Team space" not in titles
    assert (await on.pages.data_source(SCOPE, seed.DATA_SOURCE))["properties"]
    assert on.stage.total() == 2


async def test_a_rows_path_goes_through_its_database(on: Sandboxed) -> None:
    await on.pages.refresh(SCOPE)
    row = await on.pages.get(SCOPE, seed.row_id(0), "verified")
    assert seed.DATA_SOURCE in [crumb.id for crumb in row.path]


async def test_clips_go_to_the_end_of_their_section(on: Sandboxed) -> None:
    page, ids = await a_page(on)
    position = Position("end_of_section", heading_id=ids["Inbox"])
    assert (await on.clip(page, position, "one", "two")).reads == 1
    assert (await on.clip(page, position, "three")).reads == 0
    on.stage.clock.advance(60)
    assert (await on.clip(page, position, "four")).reads == 1
    wanted = ["Inbox", "milk", "one", "two", "three", "four", "Later"]
    assert await on.stage.texts(page) == wanted


async def test_a_deleted_heading_is_noticed(on: Sandboxed) -> None:
    page, ids = await a_page(on)
    await on.stage.ask("DELETE", f"blocks/{ids['Inbox']}")
    with pytest.raises(PlaceGone) as caught:
        await on.places.resolve(SCOPE, page, Position("end_of_section", heading_id=ids["Inbox"]))
    assert caught.value.reason == "heading_gone"


async def test_a_trashed_page_is_told_apart_from_a_lost_one(on: Sandboxed) -> None:
    page, ids = await a_page(on)
    await on.stage.ask("PATCH", f"pages/{page}", {"in_trash": True})
    with pytest.raises(PlaceGone) as caught:
        await on.places.resolve(SCOPE, page, Position("end_of_section", heading_id=ids["Inbox"]))
    assert caught.value.reason == "page_trashed"


async def test_a_long_page_is_outlined(on: Sandboxed) -> None:
    outline = await on.outlines.get(SCOPE, seed.LONG_PAGE)
    assert outline.total_blocks == 450
    assert outline.notion_calls == on.stage.total() >= 6
    on.stage.clock.advance(60)
    assert (await on.outlines.get(SCOPE, seed.LONG_PAGE)).notion_calls == 1
