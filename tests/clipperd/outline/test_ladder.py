"""How far an outline is believed while the event stream is up, lost, resumed, or has a gap."""

from __future__ import annotations

import pytest

from tests.clipperd.memory_notion import SCOPE
from tests.clipperd.outline.outline_stage import OutlineStage, end_of, known

GET = "GET pages/ID"
LIST = "GET blocks/ID/children"


async def vouched(world: OutlineStage) -> dict[str, str]:
    """A page that was looked at while the stream was up, long after its last edit."""
    ids = await known(world, "## A", "a1", "## B")
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("verified", [GET])
    return ids


async def asked(world: OutlineStage) -> tuple[str, list[str]]:
    """Where the outline comes from a second later, and the calls that took."""
    world.clock.advance(1)
    world.notion.take_calls()
    outline = await world.outlines.get(SCOPE, world.page)
    calls = world.notion.take_calls()
    assert outline.notion_calls == len(calls)
    return outline.source, calls


def told(world: OutlineStage) -> None:
    """The stream tells that somebody changed the page."""
    world.places.mark_changed(SCOPE, world.page)


async def test_without_a_stream_every_look_is_a_call(world: OutlineStage) -> None:
    await known(world, "## A")
    for _ in range(3):
        assert await asked(world) == ("verified", [GET])


async def test_while_the_stream_vouches_no_look_is_a_call(world: OutlineStage) -> None:
    await vouched(world)
    for _ in range(3):
        assert await asked(world) == ("push", [])


async def test_what_was_seen_before_the_stream_was_up_is_not_vouched_for(
    world: OutlineStage,
) -> None:
    await known(world, "## A")
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("verified", [GET])
    assert await asked(world) == ("push", [])


async def test_an_edit_that_was_told_is_looked_at_once(world: OutlineStage) -> None:
    ids = await vouched(world)
    world.write("## New", after=ids["a1"])
    told(world)
    assert await asked(world) == ("fetched", [GET, LIST])
    assert await asked(world) == ("push", [])


async def test_an_edit_told_during_a_look_is_looked_at_again(world: OutlineStage) -> None:
    await vouched(world)
    told(world)

    def meanwhile() -> None:
        world.clock.advance(0.1)
        told(world)

    world.notion.meanwhile = meanwhile
    await asked(world)
    world.notion.meanwhile = None
    assert (await asked(world))[0] == "verified"
    assert await asked(world) == ("push", [])


async def test_a_lost_stream_vouches_for_nothing(world: OutlineStage) -> None:
    await vouched(world)
    world.outlines.freshness.on_disconnect()
    assert await asked(world) == ("verified", [GET])


async def test_a_resumed_stream_vouches_for_what_it_did_before(world: OutlineStage) -> None:
    await vouched(world)
    world.outlines.freshness.on_disconnect()
    world.clock.advance(30)
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("push", [])


async def test_what_was_missed_and_told_on_resuming_is_looked_at(world: OutlineStage) -> None:
    ids = await vouched(world)
    world.outlines.freshness.on_disconnect()
    world.write("## New", after=ids["a1"])
    told(world)  # comes before the stream says that it is complete
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("fetched", [GET, LIST])


async def test_after_a_gap_only_what_is_seen_from_then_on_is_vouched_for(
    world: OutlineStage,
) -> None:
    await vouched(world)
    world.outlines.freshness.on_disconnect()
    world.outlines.freshness.reset()
    world.outlines.freshness.on_ready()
    assert await asked(world) == ("verified", [GET])
    assert await asked(world) == ("push", [])


@pytest.mark.parametrize(("silent_s", "source"), [(58, "push"), (61, "verified")])
async def test_a_silent_line_is_believed_for_a_minute(
    world: OutlineStage, silent_s: float, source: str
) -> None:
    await vouched(world)
    world.clock.advance(silent_s)
    assert (await asked(world))[0] == source


async def test_nothing_is_believed_for_more_than_ten_minutes(world: OutlineStage) -> None:
    await vouched(world)
    for _ in range(9):
        world.clock.advance(60)
        world.outlines.freshness.on_activity()
        assert await asked(world) == ("push", [])
    world.clock.advance(55)
    world.outlines.freshness.on_activity()
    assert await asked(world) == ("verified", [GET])
    assert await asked(world) == ("push", [])


async def test_a_clip_to_a_section_vouched_for_costs_no_read_and_keeps_it_so(
    world: OutlineStage,
) -> None:
    ids = await vouched(world)
    for text in ("one", "two"):
        world.clock.advance(50)  # far longer than our own write is trusted
        world.outlines.freshness.on_activity()
        assert (await world.clip(end_of(ids["A"]), text)).reads == 0
    assert await asked(world) == ("push", [])
    assert world.texts() == ["A", "a1", "one", "two", "B"]


async def test_a_clip_after_an_edit_that_was_told_costs_one_read(world: OutlineStage) -> None:
    ids = await vouched(world)
    world.write("typed", after=ids["a1"])
    told(world)
    world.notion.take_calls()
    place = await world.clip(end_of(ids["A"]), "one")
    assert (place.reads, world.notion.take_calls()) == (1, [LIST])
    assert world.texts() == ["A", "a1", "typed", "one", "B"]


async def test_a_look_that_our_own_write_overtook_vouches_for_nothing(world: OutlineStage) -> None:
    ids = await vouched(world)
    told(world)

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
