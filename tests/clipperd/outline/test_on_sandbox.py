"""The page index, outlines and positions against the sandbox, which enforces Notion's rules."""

from __future__ import annotations

import pytest

from clipperd.errors import PlaceGone
from clipperd.model import Position
from cloud_broker.sandbox import seed
from tests.clipperd.outline.outline_on_sandbox import SCOPE, OutlineOnSandbox
from tests.cloud_broker.sandbox.sandbox_stage import paragraph


async def a_page(on: OutlineOnSandbox) -> tuple[str, dict[str, str]]:
    """Create a page with two empty sections and a stored outline, long after its last edit."""
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


async def test_the_whole_workspace_is_indexed_and_refreshed_by_one_call(
    on: OutlineOnSandbox,
) -> None:
    await on.pages.refresh(SCOPE)
    assert on.stage.total() == 1
    await on.pages.refresh(SCOPE)
    assert on.stage.total() == 2
    titles = [entry.title for entry in (await on.pages.list(SCOPE, "all", limit=100)).items]
    assert "Reading list" in titles
    assert "Team space" not in titles
    assert (await on.pages.data_source(SCOPE, seed.DATA_SOURCE))["properties"]
    assert on.stage.total() == 2


async def test_a_rows_path_goes_through_its_database(on: OutlineOnSandbox) -> None:
    await on.pages.refresh(SCOPE)
    row = await on.pages.get(SCOPE, seed.row_id(0), "verified")
    assert seed.DATA_SOURCE in [crumb.id for crumb in row.path]


async def test_a_row_is_shown_below_its_database_whose_title_property_is_known(
    on: OutlineOnSandbox,
) -> None:
    await on.pages.refresh(SCOPE)
    calls = on.stage.total()
    row = await on.pages.get(SCOPE, seed.row_id(0))
    assert [crumb.title for crumb in row.path] == ["Tasks"]
    schema = await on.pages.data_source(SCOPE, row.path[0].id)
    kinds = {name: it["type"] for name, it in schema["properties"].items()}
    assert [name for name, kind in kinds.items() if kind == "title"] == ["Name"]
    (tasks,) = (await on.pages.search(SCOPE, "tasks", "database")).items
    assert (tasks.id, tasks.kind) == (seed.DATA_SOURCE, "data_source")
    assert on.stage.total() == calls


async def test_clips_go_to_the_end_of_their_section(on: OutlineOnSandbox) -> None:
    page, ids = await a_page(on)
    position = Position("end_of_section", heading_id=ids["Inbox"])
    assert (await on.clip(page, position, "one", "two")).reads == 1
    assert (await on.clip(page, position, "three")).reads == 0
    on.stage.clock.advance(60)
    assert (await on.clip(page, position, "four")).reads == 1
    wanted = ["Inbox", "milk", "one", "two", "three", "four", "Later"]
    assert await on.stage.texts(page) == wanted


async def test_a_deleted_heading_is_noticed(on: OutlineOnSandbox) -> None:
    page, ids = await a_page(on)
    await on.stage.ask("DELETE", f"blocks/{ids['Inbox']}")
    with pytest.raises(PlaceGone) as caught:
        await on.places.resolve(SCOPE, page, Position("end_of_section", heading_id=ids["Inbox"]))
    assert caught.value.reason == "heading_gone"


async def test_a_trashed_page_is_told_apart_from_a_lost_one(on: OutlineOnSandbox) -> None:
    page, ids = await a_page(on)
    await on.stage.ask("PATCH", f"pages/{page}", {"in_trash": True})
    with pytest.raises(PlaceGone) as caught:
        await on.places.resolve(SCOPE, page, Position("end_of_section", heading_id=ids["Inbox"]))
    assert caught.value.reason == "page_trashed"


async def test_a_long_page_is_outlined(on: OutlineOnSandbox) -> None:
    outline = await on.outlines.get(SCOPE, seed.LONG_PAGE)
    assert outline.total_blocks == 450
    assert outline.notion_calls == on.stage.total() >= 6
    on.stage.clock.advance(60)
    assert (await on.outlines.get(SCOPE, seed.LONG_PAGE)).notion_calls == 1
