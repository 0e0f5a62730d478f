"""Insertion points of clips, and the reads that resolving takes."""

from __future__ import annotations

import pytest

from clipperd.errors import PlaceGone
from clipperd.model import InsertionPoint, Position
from tests.clipperd.memory_notion import SCOPE
from tests.clipperd.outline.outline_stage import OutlineStage, after, end_of, known

LIST = "GET blocks/ID/children"


# --- without a read


async def test_end_and_start_of_a_page_need_no_read(world: OutlineStage) -> None:
    assert await world.resolve(Position("end")) == InsertionPoint(world.page)
    assert await world.resolve(Position("start")) == InsertionPoint(world.page, edge="start")
    assert world.notion.take_calls() == []


async def test_inside_a_block_and_after_a_block_need_no_read(world: OutlineStage) -> None:
    ids = await known(world, "# A", "a1")
    inside = await world.resolve(Position("inside", block_id=ids["a1"]))
    behind = await world.resolve(Position("after_block", block_id=ids["a1"]))
    assert (inside, behind) == (
        InsertionPoint(ids["a1"]),
        InsertionPoint(world.page, after=ids["a1"]),
    )
    assert world.notion.take_calls() == []


async def test_after_a_nested_block_means_its_own_parent(world: OutlineStage) -> None:
    toggle = world.build(">## Done")["Done"]
    nested = world.write("### Inside", parent=toggle)
    await world.outlines.get(SCOPE, world.page)
    place = await world.resolve(Position("after_block", block_id=nested))
    assert (place.parent_id, place.after) == (toggle, nested)


async def test_after_a_known_heading_needs_no_read_even_unsettled(world: OutlineStage) -> None:
    ids = world.build("## A", "a1")
    await world.outlines.get(SCOPE, world.page)
    world.notion.take_calls()
    place = await world.resolve(after(ids["A"]))
    assert place == InsertionPoint(world.page, after=ids["A"], level=2)
    assert world.notion.take_calls() == []


async def test_the_section_of_a_toggle_heading_is_inside_it(world: OutlineStage) -> None:
    ids = await known(world, ">## A", "a1")
    assert await world.resolve(end_of(ids["A"])) == InsertionPoint(ids["A"], level=2)
    assert await world.resolve(after(ids["A"])) == InsertionPoint(ids["A"], edge="start", level=2)
    assert world.notion.take_calls() == []


# --- end of section


async def test_the_end_of_a_section_takes_one_read_and_the_next_clip_none(
    world: OutlineStage,
) -> None:
    ids = await known(world, "## A", "a1", "## B")
    first = await world.clip(end_of(ids["A"]), "one", "two")
    assert (first.after, first.level, first.reads) == (ids["a1"], 2, 1)
    assert world.notion.take_calls() == [LIST]
    world.clock.advance(4)
    second = await world.clip(end_of(ids["A"]), "three")
    assert (second.reads, world.notion.take_calls()) == (0, [])
    assert world.texts() == ["A", "a1", "one", "two", "three", "B"]


async def test_later_one_read_is_enough_again(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "## B")
    for number in range(3):
        place = await world.clip(end_of(ids["A"]), f"c{number}")
        assert place.reads == 1
        world.clock.advance(60)
    assert world.texts() == ["A", "a1", "c0", "c1", "c2", "B"]


async def test_section_ends_are_not_kept_over_a_restart(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1")
    await world.clip(end_of(ids["A"]), "one")
    await world.restart()
    assert (await world.resolve(end_of(ids["A"]))).reads == 1


async def test_blocks_that_a_user_added_are_seen(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "## B")
    typed = world.write("typed", after=ids["a1"])
    assert (await world.resolve(end_of(ids["A"]))).after == typed


async def test_a_heading_inserted_into_the_section_ends_it(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "a2", "## B")
    world.write("## New", after=ids["a1"])
    assert (await world.resolve(end_of(ids["A"]))).after == ids["a1"]


async def test_a_moved_end_is_not_written_after(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "a2", "## B", "b1")
    siblings = world.notion.children[world.page]
    siblings.remove(ids["a2"])
    siblings.append(ids["a2"])  # dragged to the end of B
    assert (await world.resolve(end_of(ids["A"]))).after == ids["a1"]


async def test_a_heading_whose_level_changed_has_its_new_section(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "### C", "c1")
    world.notion.change(ids["A"], "heading_3", "A")
    place = await world.resolve(end_of(ids["A"]))
    assert (place.after, place.level, place.reads) == (ids["a1"], 3, 1)


async def test_a_heading_that_became_toggleable_is_written_into(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1")
    world.notion.change(ids["A"], "heading_2", "A", toggleable=True)
    assert (await world.resolve(end_of(ids["A"]))).parent_id == ids["A"]


async def test_a_long_section_is_read_from_its_old_end_on(world: OutlineStage) -> None:
    ids = await known(world, "## A", *(f"p{i}" for i in range(300)), "## B", "b1")
    place = await world.resolve(end_of(ids["A"]))
    assert (place.after, place.reads) == (ids["p299"], 1)


async def test_a_long_section_whose_old_end_is_gone_is_read_from_the_heading(
    world: OutlineStage,
) -> None:
    ids = await known(world, "## A", *(f"p{i}" for i in range(150)), "## B")
    world.notion.remove(ids["p149"])
    place = await world.resolve(end_of(ids["A"]))
    assert (place.after, place.reads) == (ids["p148"], 3)  # refused, then two answers of 100


async def test_a_long_section_whose_old_end_became_a_heading_ends_before_it(
    world: OutlineStage,
) -> None:
    ids = await known(world, "## A", *(f"p{i}" for i in range(150)), "## B")
    world.notion.change(ids["p149"], "heading_1", "X")
    assert (await world.resolve(end_of(ids["A"]))).after == ids["p148"]


async def test_nested_sections_advance_together(world: OutlineStage) -> None:
    ids = await known(world, "# A", "## B", "b1", "# C")
    await world.resolve(end_of(ids["A"]))
    await world.clip(end_of(ids["B"]), "one")
    world.notion.take_calls()
    place = await world.clip(end_of(ids["A"]), "two")
    assert place.reads == 0
    assert world.texts() == ["A", "B", "b1", "one", "two", "C"]


async def test_a_read_of_the_outer_section_replaces_the_end_of_the_inner_one(
    world: OutlineStage,
) -> None:
    ids = await known(world, "# Inbox", "## Deep", "d1", "# Later")
    await world.clip(end_of(ids["Deep"]), "one")
    world.write("typed", after=world.notion.children[world.page][3])
    await world.clip(end_of(ids["Inbox"]), "two")
    await world.clip(end_of(ids["Deep"]), "three")
    assert world.texts() == ["Inbox", "Deep", "d1", "one", "typed", "two", "three", "Later"]


async def test_a_clip_at_the_end_of_the_page_moves_the_last_section(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1")
    await world.clip(end_of(ids["A"]), "one")
    await world.clip(Position("end"), "two")
    place = await world.clip(end_of(ids["A"]), "three")
    assert (place.reads, world.texts()) == (0, ["A", "a1", "one", "two", "three"])


async def test_a_clip_at_the_end_is_not_taken_for_the_end_of_a_stale_section(
    world: OutlineStage,
) -> None:
    ids = await known(world, "## A", "a1")
    world.write("## Theirs")  # a person's, which our outline does not have
    await world.clip(Position("end"), "one")
    await world.clip(end_of(ids["A"]), "two")
    assert world.texts() == ["A", "a1", "two", "Theirs", "one"]


async def test_an_old_section_end_is_read_again_after_a_clip_at_the_page_end(
    world: OutlineStage,
) -> None:
    ids = await known(world, "## A", "a1")
    await world.resolve(end_of(ids["A"]))
    world.clock.advance(30)
    world.write("## Theirs")
    await world.clip(Position("end"), "one")
    await world.clip(end_of(ids["A"]), "two")
    assert world.texts() == ["A", "a1", "two", "Theirs", "one"]


async def test_an_old_section_end_is_read_again_after_a_clip_after_it(
    world: OutlineStage,
) -> None:
    ids = await known(world, "## A", "a1", "## B")
    await world.resolve(end_of(ids["A"]))
    world.clock.advance(200)
    world.write("typed", after=ids["a1"])
    await world.clip(Position("after_block", block_id=ids["a1"]), "one")
    await world.clip(end_of(ids["A"]), "two")
    assert world.texts() == ["A", "a1", "one", "typed", "two", "B"]


async def test_a_slow_write_keeps_its_section_end_fresh(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "## B")
    place = await world.resolve(end_of(ids["A"]))
    world.clock.advance(65)
    await world.append(place, "one")
    assert (await world.resolve(end_of(ids["A"]))).reads == 0


async def test_a_clip_after_a_heading_does_not_refresh_the_section_end(world: OutlineStage) -> None:
    ids = await known(world, "## A", "## B")
    world.write("typed", after=ids["A"])
    await world.clip(after(ids["A"]), "one")
    await world.clip(end_of(ids["A"]), "two")
    assert world.texts() == ["A", "one", "typed", "two", "B"]


async def test_a_heading_of_ours_that_ends_the_section_ends_it(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1")
    await world.clip(end_of(ids["A"]), "one", "## Ours", "two")
    place = await world.clip(end_of(ids["A"]), "three")
    assert place.reads == 0
    assert world.texts() == ["A", "a1", "one", "three", "Ours", "two"]


async def test_a_clip_with_a_heading_is_in_the_outline_immediately(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1")
    await world.clip(end_of(ids["A"]), "### Ours", "two")
    world.notion.take_calls()
    outline = await world.outlines.get(SCOPE, world.page, "cached")
    assert [h.text for h in outline.headings] == ["A", "Ours"]
    assert outline.stale


async def test_our_own_write_does_not_hide_other_edits_in_its_minute(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1")
    await world.clip(end_of(ids["A"]), "one")
    world.write("## Theirs", after=ids["a1"])
    world.clock.advance(600)
    outline = await world.outlines.get(SCOPE, world.page)
    assert [h.text for h in outline.headings] == ["A", "Theirs"]


async def test_an_unknown_page_is_listed_once(world: OutlineStage) -> None:
    ids = world.build("## A", "a1", "## B")
    place = await world.resolve(end_of(ids["A"]))
    assert (place.after, world.notion.take_calls()) == (ids["a1"], [LIST])


async def test_a_section_in_a_column_is_read_there(world: OutlineStage) -> None:
    columns = world.notion.add(world.page, "column_list")
    column = world.notion.add(columns, "column")
    heading = world.write("## A", parent=column)
    last = world.write("a1", parent=column)
    await world.outlines.get(SCOPE, world.page)
    world.notion.take_calls()
    place = await world.resolve(end_of(heading))
    assert (place.parent_id, place.after, place.reads) == (column, last, 1)


# --- headings by text


async def test_a_heading_by_text_is_looked_for_on_a_verified_outline(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "## B")
    world.notion.change(ids["B"], "heading_2", "Groceries")
    place = await world.resolve(Position("end_of_section", heading_text="groceries"))
    assert (place.after, place.level) == (ids["B"], 2)


async def test_an_ambiguous_text_needs_a_path(world: OutlineStage) -> None:
    await known(world, "# Monday", "## Notes", "m", "# Tuesday", "## Notes ", "t")
    with pytest.raises(PlaceGone) as caught:
        await world.resolve(Position("end_of_section", heading_text="Notes", if_gone="end_of_page"))
    assert caught.value.reason == "heading_ambiguous"
    position = Position("end_of_section", heading_text="Notes", heading_path=("Tuesday",))
    await world.clip(position, "clip")
    assert world.texts()[-2:] == ["t", "clip"]


async def test_an_unknown_text_is_heading_gone(world: OutlineStage) -> None:
    await known(world, "## A")
    with pytest.raises(PlaceGone) as caught:
        await world.resolve(Position("after_heading", heading_text="Z"))
    assert caught.value.reason == "heading_gone"


# --- undo and other changes of ours


@pytest.mark.parametrize("kind", ["written", "undone", "touched"])
async def test_a_write_that_the_outline_could_not_store_is_read(
    world: OutlineStage, kind: str
) -> None:
    ids = await known(world, "## A", "a1", "## B")
    world.outlines.freshness.on_ready()
    world.clock.advance(1)
    await world.outlines.get(SCOPE, world.page, "verified")
    world.notion.take_calls()
    assert (await world.clip(end_of(ids["A"]), "one")).reads == 0
    full = "CREATE TRIGGER full BEFORE INSERT ON outline BEGIN SELECT RAISE(ABORT, 'full'); END"
    await world.cache.write(lambda c: c.execute(full))
    match kind:
        case "written":
            await world.clip(end_of(ids["A"]), "two")
        case "undone":
            (last,) = [b for b in world.notion.children[world.page] if world.text(b) == "one"]
            world.notion.remove(last)
            await world.places.record_removal(SCOPE, world.page, [last])
        case _:
            world.write("two", after=world.notion.children[world.page][2])
            await world.places.record_change(SCOPE, world.page)
    await world.cache.write(lambda c: c.execute("DROP TRIGGER full"))
    await world.clip(end_of(ids["A"]), "three")
    between = {"written": ["one", "two"], "undone": [], "touched": ["one", "two"]}[kind]
    assert world.texts() == ["A", "a1", *between, "three", "B"]


async def test_undo_rewinds_the_end_of_the_section(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "## B")
    place = await world.resolve(end_of(ids["A"]))
    created = await world.append(place, "one", "two")
    for block_id in created:
        world.notion.remove(block_id)
    await world.places.record_removal(SCOPE, world.page, created)
    assert (await world.resolve(end_of(ids["A"]))).after == ids["a1"]


async def test_another_change_of_ours_drops_all_section_ends(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1")
    await world.resolve(end_of(ids["A"]))
    await world.places.record_change(SCOPE, world.page)
    assert (await world.resolve(end_of(ids["A"]))).reads == 1


async def test_ids_alone_are_enough_for_the_next_clip(world: OutlineStage) -> None:
    ids = await known(world, "## A", "a1", "## B")
    place = await world.resolve(end_of(ids["A"]))
    new = world.write("one", after=place.after)
    await world.places.record_append(SCOPE, world.page, place, [new], new)
    follow = await world.resolve(end_of(ids["A"]))
    assert (follow.after, follow.reads) == (new, 0)


async def test_a_write_to_a_page_without_an_outline_changes_nothing(
    world: OutlineStage,
) -> None:
    new = world.write("one")
    await world.places.record_append(SCOPE, world.page, InsertionPoint(world.page), [new], new)
    await world.places.record_removal(SCOPE, world.page, [new])
    assert world.notion.take_calls() == []
