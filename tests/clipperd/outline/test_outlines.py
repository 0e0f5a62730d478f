"""An outline takes the fewest calls that keep it correct, and says when it was verified."""

from __future__ import annotations

import asyncio

import pytest

from clipperd.broker.reply import Reply
from clipperd.errors import BrokerUnreachable, OutlineNotCached, PageGone, PageTrashed, ReadFailed
from tests.clipperd.memory_notion import OTHER, SCOPE
from tests.clipperd.outline.outline_stage import OutlineStage

GET = "GET pages/ID"
LIST = "GET blocks/ID/children"


async def headings(world: OutlineStage, freshness: str = "auto") -> list[str]:
    outline = await world.outlines.get(SCOPE, world.page, freshness)  # type: ignore[arg-type]
    return [h.text for h in outline.headings]


async def test_a_new_outline_is_read_and_says_so(world: OutlineStage) -> None:
    ids = world.build("# Inbox", "milk", "eggs", "## Later")
    outline = await world.outlines.get(SCOPE, world.page)
    assert world.notion.take_calls() == [GET, LIST]
    assert (outline.source, outline.stale, outline.notion_calls) == ("fetched", False, 2)
    assert (outline.title, outline.total_blocks) == ("Journal", 4)
    first, second = outline.headings
    assert (first.id, first.level, first.index, first.position) == (ids["Inbox"], 1, 0, 0)
    assert (second.index, second.position, second.path) == (1, 3, ("Inbox",))
    assert first.section_end_id == ids["Later"]


async def test_a_settled_outline_is_verified_by_one_call(world: OutlineStage) -> None:
    world.build("# Inbox", "milk")
    world.clock.advance(130)
    await world.outlines.get(SCOPE, world.page)
    await world.restart()
    world.notion.take_calls()
    outline = await world.outlines.get(SCOPE, world.page)
    assert world.notion.take_calls() == [GET]
    assert (outline.source, outline.stale, outline.notion_calls) == ("verified", False, 1)


async def test_an_edit_in_the_minute_of_the_snapshot_is_not_missed(world: OutlineStage) -> None:
    world.build("# Inbox")
    assert await headings(world) == ["Inbox"]
    world.clock.advance(5)
    world.write("# Second")  # the same minute, so the same stamp
    world.clock.advance(3600)
    assert await headings(world) == ["Inbox", "Second"]


async def test_an_unsettled_outline_is_verified_by_listing_alone(world: OutlineStage) -> None:
    world.build("# Inbox")
    await world.outlines.get(SCOPE, world.page)
    world.notion.take_calls()
    outline = await world.outlines.get(SCOPE, world.page)
    assert (world.notion.take_calls(), outline.notion_calls) == ([LIST], 1)
    world.clock.advance(130)
    await world.outlines.get(SCOPE, world.page)
    await world.outlines.get(SCOPE, world.page)
    assert world.notion.take_calls() == [LIST, GET]


async def test_without_the_servers_time_no_snapshot_is_confirmed(world: OutlineStage) -> None:
    world.build("# Inbox")
    world.clock.advance(600)
    listing = {"results": [], "has_more": False}
    page = world.notion.pages[world.page]
    world.notion.fail_next = [Reply(200, page), Reply(200, listing)]
    await world.outlines.get(SCOPE, world.page)
    world.notion.take_calls()
    assert await headings(world) == ["Inbox"]
    assert LIST in world.notion.take_calls()


async def test_an_edit_while_a_slow_answer_was_under_way_is_not_missed(world: OutlineStage) -> None:
    world.build("# Inbox")

    def meanwhile() -> None:
        world.notion.meanwhile = None if LIST in world.notion.take_calls() else meanwhile
        if world.notion.meanwhile is None:
            world.write("# Second")
            world.clock.advance(200)  # so the Date of the answer is long after the edit

    world.notion.meanwhile = meanwhile
    assert await headings(world) == ["Inbox"]
    assert await headings(world) == ["Inbox", "Second"]


async def test_a_local_clock_that_is_wrong_changes_nothing(world: OutlineStage) -> None:
    world.notion.server_ahead_s = -7200.0  # ours is two hours fast
    world.build("# Inbox")
    await headings(world)
    world.write("# Second")
    world.clock.advance(600)
    assert await headings(world) == ["Inbox", "Second"]


async def test_cached_never_waits_and_reads_in_the_background(world: OutlineStage) -> None:
    world.build("# Inbox")
    with pytest.raises(OutlineNotCached):
        await world.outlines.get(SCOPE, world.page, "cached")
    await world.breathe()
    assert world.heard.events[-1] == (
        "outline",
        {"workspace_id": SCOPE.workspace_id, "ids": [world.page], "removed": []},
    )
    assert world.heard.users == {SCOPE.user_id}
    outline = await world.outlines.get(SCOPE, world.page, "cached")
    assert (outline.source, outline.notion_calls) == ("cache", 0)


async def test_cached_again_soon_starts_no_read(world: OutlineStage) -> None:
    world.build("# Inbox")
    await world.outlines.get(SCOPE, world.page)
    world.notion.take_calls()
    await world.outlines.get(SCOPE, world.page, "cached")
    await world.breathe()
    assert world.notion.take_calls() == []


async def test_offline_auto_returns_the_stored_outline_as_stale(world: OutlineStage) -> None:
    world.build("# Inbox")
    await world.outlines.get(SCOPE, world.page)
    world.notion.offline = True
    outline = await world.outlines.get(SCOPE, world.page)
    assert (outline.source, outline.stale, outline.notion_calls) == ("cache", True, 0)
    with pytest.raises(BrokerUnreachable):
        await world.outlines.get(SCOPE, world.page, "verified")


async def test_offline_without_a_stored_outline_is_an_error(world: OutlineStage) -> None:
    world.notion.offline = True
    with pytest.raises(BrokerUnreachable):
        await world.outlines.get(SCOPE, world.page)


async def test_a_refusal_that_is_no_outage_is_raised(world: OutlineStage) -> None:
    world.build("# Inbox")
    await world.outlines.get(SCOPE, world.page)
    world.notion.fail_next = [Reply(403, code="restricted_resource")]
    with pytest.raises(ReadFailed):
        await world.outlines.get(SCOPE, world.page)


@pytest.mark.parametrize(("what", "error"), [("trash", PageTrashed), ("unshare", PageGone)])
@pytest.mark.parametrize("later_s", [0, 600])
async def test_a_lost_page_is_told_apart(
    world: OutlineStage, what: str, error: type[Exception], later_s: float
) -> None:
    world.build("# Inbox")
    await world.outlines.get(SCOPE, world.page)
    world.clock.advance(later_s)
    getattr(world.notion, what)(world.page)
    with pytest.raises(error):
        await world.outlines.get(SCOPE, world.page)
    assert world.heard.events[-1][1]["removed"] == [world.page]
    with pytest.raises(OutlineNotCached):
        await world.outlines.get(SCOPE, world.page, "cached")


async def test_concurrent_callers_share_one_read(world: OutlineStage) -> None:
    world.build("# Inbox")
    outlines = await asyncio.gather(*(world.outlines.get(SCOPE, world.page) for _ in range(5)))
    assert world.notion.take_calls() == [GET, LIST]
    assert sum(outline.notion_calls for outline in outlines) == 2


async def test_a_long_page_is_read_to_its_end(world: OutlineStage) -> None:
    world.build("# First", *(f"p{i}" for i in range(240)), "# Last")
    outline = await world.outlines.get(SCOPE, world.page)
    assert world.notion.take_calls() == [GET, LIST, LIST, LIST]
    assert [h.position for h in outline.headings] == [0, 241]


async def test_headings_in_containers_are_found(world: OutlineStage) -> None:
    toggle = world.build(">## Done")["Done"]
    world.write("### Inside", parent=toggle)
    columns = world.notion.add(world.page, "column_list")
    column = world.notion.add(columns, "column")
    world.write("# In a column", parent=column)
    quote = world.notion.add(world.page, "quote", "not looked into")
    world.write("# Hidden", parent=quote)
    outline = await world.outlines.get(SCOPE, world.page)
    assert [(h.text, h.parent_id, h.path) for h in outline.headings] == [
        ("Done", world.page, ()),
        ("Inside", toggle, ("Done",)),
        ("In a column", column, ()),
    ]
    assert world.notion.take_calls() == [GET, LIST, LIST, LIST, LIST]


async def test_listing_containers_has_a_limit_and_counts_the_rest(
    world: OutlineStage,
) -> None:
    for number in range(14):
        world.write("### Inside", parent=world.build(f">## T{number}")[f"T{number}"])
    outline = await world.outlines.get(SCOPE, world.page)
    assert (outline.notion_calls, outline.unlisted) == (12, 4)


async def test_the_snapshot_holds_no_text_of_paragraphs(world: OutlineStage) -> None:
    world.build("# Inbox", "very private words")
    await world.outlines.get(SCOPE, world.page)
    world.cache.close()
    raw = (world.folder / "cache.db").read_bytes()
    world.start()
    assert b"Inbox" in raw
    assert b"private" not in raw


async def test_outlines_of_other_accounts_are_apart(world: OutlineStage) -> None:
    world.build("# Inbox")
    await world.outlines.get(SCOPE, world.page)
    world.notion.offline = True
    with pytest.raises(BrokerUnreachable):
        await world.outlines.get(OTHER, world.page)
