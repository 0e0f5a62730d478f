"""Clips to positions that are gone or that Notion refuses."""

from __future__ import annotations

import pytest

from clipperd.broker.reply import Reply
from clipperd.errors import BrokerUnreachable, PlaceGone, ReadFailed
from clipperd.model import InsertionPoint, Position
from tests.clipperd.memory_notion import SCOPE
from tests.clipperd.outline.outline_stage import OutlineStage, after, end_of, known


async def refuse(world: OutlineStage, position: Position) -> InsertionPoint:
    """Resolve, report a refusal by Notion, resolve again."""
    await world.places.record_refusal(SCOPE, world.page, await world.resolve(position))
    world.notion.take_calls()
    return await world.resolve(position)


async def gone(world: OutlineStage, position: Position) -> str:
    with pytest.raises(PlaceGone) as caught:
        await refuse(world, position)
    return caught.value.reason


async def test_a_heading_that_is_gone_is_asked_about(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "## B")
    world.notion.remove(ids["A"])
    with pytest.raises(PlaceGone) as caught:
        await world.resolve(end_of(ids["A"]))
    assert (caught.value.reason, caught.value.reads) == ("heading_gone", 3)


async def test_a_heading_turned_into_text_is_gone(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "## B")
    world.notion.change(ids["A"], "paragraph", "A")
    with pytest.raises(PlaceGone, match="heading"):
        await world.resolve(end_of(ids["A"]))


async def test_if_gone_the_end_of_the_page_may_do(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "## B")
    world.notion.remove(ids["A"])
    place = await world.resolve(
        Position("end_of_section", heading_id=ids["A"], if_gone="end_of_page")
    )
    assert (place.parent_id, place.after, place.fell_back) == (world.page, None, "heading_gone")
    assert (place.edge, place.level) == ("end", 0)


@pytest.mark.parametrize(("what", "reason"), [("trash", "page_trashed"), ("unshare", "page_gone")])
async def test_a_lost_page_is_never_replaced(world: OutlineStage, what: str, reason: str) -> None:
    ids = await known(world, "## A", "a1")
    getattr(world.notion, what)(world.page)
    position = Position("end_of_section", heading_id=ids["A"], if_gone="end_of_page")
    with pytest.raises(PlaceGone) as caught:
        await world.resolve(position)
    assert caught.value.reason == reason


@pytest.mark.parametrize("kind", ["end", "start", "inside", "after_block", "after_heading"])
async def test_a_refused_place_on_a_lost_page_says_so(world: OutlineStage, kind: str) -> None:
    ids = await known(world, "## A", "a1")
    world.notion.trash(world.page)
    block = ids["a1"] if kind in ("inside", "after_block") else None
    heading = ids["A"] if kind == "after_heading" else None
    world.notion.blocks[ids["a1"]]["in_trash"] = True
    position = Position(kind, heading_id=heading, block_id=block)  # type: ignore[arg-type]
    assert await gone(world, position) == "page_trashed"


async def test_a_refused_heading_is_read_once_more(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1")
    place = await refuse(world, after(ids["A"]))
    assert (place.after, place.reads) == (ids["A"], 1)
    assert (await world.resolve(after(ids["A"]))).reads == 0
    world.notion.remove(ids["A"])
    assert await gone(world, after(ids["A"])) == "heading_gone"


async def test_a_refused_toggle_heading_that_is_one_no_more(world: OutlineStage) -> None:
    ids = await known(world, ">## A", "a1")
    world.notion.change(ids["A"], "heading_2", "A")
    place = await refuse(world, end_of(ids["A"]))
    assert (place.parent_id, place.after, place.reads) == (world.page, ids["a1"], 1)


async def test_a_refused_end_of_section_is_read_again(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "a2")
    await world.resolve(end_of(ids["A"]))
    world.notion.remove(ids["a2"])
    place = await refuse(world, end_of(ids["A"]))
    assert (place.after, place.reads) == (ids["a1"], 1)


async def test_a_refused_block_is_asked_for_its_parent(world: OutlineStage) -> None:
    ids = await known(world, "a1")
    nested = world.write("deep", parent=ids["a1"])
    position = Position("after_block", block_id=nested)
    assert (await world.resolve(position)).parent_id == world.page  # the best guess, for nothing
    place = await refuse(world, position)
    assert (place.parent_id, place.after, place.reads) == (ids["a1"], nested, 1)


@pytest.mark.parametrize("kind", ["after_block", "inside"])
async def test_a_block_that_is_gone_is_asked_about(world: OutlineStage, kind: str) -> None:
    ids = await known(world, "a1")
    world.notion.remove(ids["a1"])
    position = Position(kind, block_id=ids["a1"])  # type: ignore[arg-type]
    assert await gone(world, position) == "block_gone"


async def test_an_outage_is_no_verdict(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1")
    world.notion.offline = True
    with pytest.raises(BrokerUnreachable):
        await world.resolve(end_of(ids["A"]))
    world.notion.offline = False
    world.notion.fail_next = [Reply(503, code="service_unavailable")]
    with pytest.raises(ReadFailed) as caught:
        await world.resolve(end_of(ids["A"]))
    assert (caught.value.reply.status, caught.value.reads) == (503, 1)
