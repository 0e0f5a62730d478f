"""The freshness of outlines while the event stream is up, lost, resumed, or has a gap."""

from __future__ import annotations

import pytest

from tests.clipperd.memory_notion import SCOPE
from tests.clipperd.outline.outline_stage import OutlineStage, end_of, known

GET = "GET pages/ID"
LIST = "GET blocks/ID/children"


async def fresh_page(world: OutlineStage) -> dict[str, str]:
    """Create a page that was read while the stream was up, long after its last edit."""
    ids = await known(world, "## A", "a1", "## B")
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("verified", [GET])
    return ids


async def asked(world: OutlineStage) -> tuple[str, list[str]]:
    """Ask for the outline a second later; return its source and the calls."""
    world.clock.advance(1)
    world.notion.take_calls()
    outline = await world.outlines.get(SCOPE, world.page)
    calls = world.notion.take_calls()
    assert outline.notion_calls == len(calls)
    return outline.source, calls


def change_event(world: OutlineStage) -> None:
    """Deliver an event: another client changed the page."""
    world.places.mark_changed(SCOPE, world.page)


async def test_without_a_stream_every_read_is_a_call(world: OutlineStage) -> None:
    await known(world, "## A")
    for _ in range(3):
        assert await asked(world) == ("verified", [GET])


async def test_a_fresh_page_needs_no_call(world: OutlineStage) -> None:
    await fresh_page(world)
    for _ in range(3):
        assert await asked(world) == ("push", [])


async def test_a_read_before_the_stream_was_up_is_not_fresh(
    world: OutlineStage,
) -> None:
    await known(world, "## A")
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("verified", [GET])
    assert await asked(world) == ("push", [])


async def test_a_change_event_causes_one_read(world: OutlineStage) -> None:
    ids = await fresh_page(world)
    world.write("## New", after=ids["a1"])
    change_event(world)
    assert await asked(world) == ("fetched", [GET, LIST])
    assert await asked(world) == ("push", [])


async def test_a_change_event_during_a_read_causes_another_read(world: OutlineStage) -> None:
    await fresh_page(world)
    change_event(world)

    def meanwhile() -> None:
        world.clock.advance(0.1)
        change_event(world)

    world.notion.meanwhile = meanwhile
    await asked(world)
    world.notion.meanwhile = None
    assert (await asked(world))[0] == "verified"
    assert await asked(world) == ("push", [])


async def test_without_the_stream_no_page_is_fresh(world: OutlineStage) -> None:
    await fresh_page(world)
    world.outlines.freshness.on_disconnect()
    assert await asked(world) == ("verified", [GET])


async def test_pages_are_fresh_again_after_a_resume(world: OutlineStage) -> None:
    await fresh_page(world)
    world.outlines.freshness.on_disconnect()
    world.clock.advance(30)
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("push", [])


async def test_a_change_replayed_on_resume_causes_a_read(world: OutlineStage) -> None:
    ids = await fresh_page(world)
    world.outlines.freshness.on_disconnect()
    world.write("## New", after=ids["a1"])
    change_event(world)  # before the stream says that the replay is complete
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("fetched", [GET, LIST])


async def test_after_a_gap_only_later_reads_are_fresh(
    world: OutlineStage,
) -> None:
    await fresh_page(world)
    world.outlines.freshness.on_disconnect()
    world.outlines.freshness.reset()
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("verified", [GET])
    assert await asked(world) == ("push", [])


@pytest.mark.parametrize(("silent_s", "source"), [(58, "push"), (61, "verified")])
async def test_a_silent_stream_counts_as_up_for_a_minute(
    world: OutlineStage, silent_s: float, source: str
) -> None:
    await fresh_page(world)
    world.clock.advance(silent_s)
    assert (await asked(world))[0] == source


async def test_no_page_is_fresh_for_more_than_ten_minutes(world: OutlineStage) -> None:
    await fresh_page(world)
    for _ in range(9):
        world.clock.advance(60)
        world.outlines.freshness.on_activity()
        assert await asked(world) == ("push", [])
    world.clock.advance(55)
    world.outlines.freshness.on_activity()
    assert await asked(world) == ("verified", [GET])
    assert await asked(world) == ("push", [])


async def test_a_clip_to_a_fresh_section_needs_no_read_and_keeps_it_fresh(
    world: OutlineStage,
) -> None:
    ids = await fresh_page(world)
    for text in ("one", "two"):
        world.clock.advance(50)  # longer than our own write stays fresh
        world.outlines.freshness.on_activity()
        assert (await world.clip(end_of(ids["A"]), text)).reads == 0
    assert await asked(world) == ("push", [])
    assert world.texts() == ["A", "a1", "one", "two", "B"]


async def test_a_clip_after_a_change_event_takes_one_read(world: OutlineStage) -> None:
    ids = await fresh_page(world)
    world.write("typed", after=ids["a1"])
    change_event(world)
    world.notion.take_calls()
    place = await world.clip(end_of(ids["A"]), "one")
    assert (place.reads, world.notion.take_calls()) == (1, [LIST])
    assert world.texts() == ["A", "a1", "typed", "one", "B"]


async def test_a_read_overtaken_by_our_own_write_is_not_fresh(world: OutlineStage) -> None:
    ids = await fresh_page(world)
    change_event(world)

    def meanwhile() -> None:
        world.notion.meanwhile = None
        world.clock.advance(0.1)
        world.write("## Ours", after=ids["a1"])
        world.outlines.freshness.record_write((SCOPE, world.page))

    world.notion.meanwhile = meanwhile
    await asked(world)
    assert await asked(world) == ("fetched", [GET, LIST])
    outline = await world.outlines.get(SCOPE, world.page)
    assert ([h.text for h in outline.headings], outline.source) == (["A", "Ours", "B"], "push")
