"""One lane of the worker, answer by answer: no clip lost, doubled, misplaced or out of order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clipperd.delivery.ports import StepResult
from clipperd.model import Position
from clipperd.outbox import actions
from clipperd.outbox.records import Target
from tests.clipperd.delivery.rig import Rig, blocks, once, paragraph
from tests.clipperd.memory_notion import SCOPE, MemoryNotion


@pytest.fixture
def section(world: MemoryNotion, page: str) -> str:
    """A page with two sections; the first one's heading is returned."""
    first = world.add(page, "heading_2", "Inbox")
    world.add(page, text="old")
    world.add(page, "heading_2", "Later")
    world.add(page, text="last")
    return first


async def test_a_clip_at_the_end_costs_one_call(rig: Rig, world: MemoryNotion, page: str) -> None:
    clip = await rig.clip(page, "hello")
    await rig.drain()
    view = await rig.view(clip)
    assert view.state == "delivered"
    assert world.take_calls() == ["PATCH blocks/ID/children"]
    assert view.deliveries[0].block_ids == world.children[page]
    assert view.deliveries[0].notion_calls == 1


async def test_two_clips_in_a_row_into_one_section_keep_their_order(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    place = Position("end_of_section", heading_id=section)
    for text in ("one", "two"):
        await rig.clip(page, text, position=place)
        await rig.drain()
    assert world.texts(page) == ["Inbox", "old", "one", "two", "Later", "last"]


async def test_a_hundred_queued_clips_for_one_section_cost_one_call(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    place = Position("end_of_section", heading_id=section)
    await rig.clip(page, "first", position=place)
    await rig.drain()
    world.take_calls()
    clips = [await rig.clip(page, f"n{i}", position=place) for i in range(100)]
    await rig.drain()
    assert world.take_calls() == ["PATCH blocks/ID/children"]
    assert world.texts(page)[3:103] == [f"n{i}" for i in range(100)]
    ids = [(await rig.view(clip)).deliveries[0].block_ids for clip in clips]
    assert ids == [[block] for block in world.children[page][3:103]]
    assert (await rig.view(clips[0])).deliveries[0].shared


async def test_after_a_heading_the_newest_stands_first_singly_or_together(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    place = Position("after_heading", heading_id=section)
    await rig.clip(page, "a", position=place)
    await rig.drain()
    await rig.clip(page, blocks("b1", "b2"), position=place)
    await rig.clip(page, "c", position=place)
    await rig.drain()
    assert world.texts(page)[:6] == ["Inbox", "c", "b1", "b2", "a", "old"]


async def test_250_blocks_stay_contiguous_and_inside_the_section(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    await rig.outlines.get(SCOPE, page, "verified")
    world.take_calls()
    long = blocks(*[f"p{i}" for i in range(250)])
    place = Position("after_heading", heading_id=section)
    clip = await rig.clip(page, long, position=place)
    other = await rig.clip(page, "behind", position=Position("end"))
    await rig.drain()
    assert world.texts(page)[1:251] == [f"p{i}" for i in range(250)]
    view = await rig.view(clip)
    assert (view.state, view.deliveries[0].chunks_done) == ("delivered", 3)
    assert view.deliveries[0].notion_calls == 3
    assert (await rig.view(other)).state == "delivered"


async def test_a_crash_between_chunks_resumes_at_the_chunk(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip(page, blocks(*[f"p{i}" for i in range(250)]))
    await rig.step(page)
    await rig.crash()
    await rig.drain()
    assert world.texts(page) == [f"p{i}" for i in range(250)]
    assert (await rig.view(clip)).deliveries[0].block_ids == world.children[page]


@pytest.mark.parametrize(
    "fault",
    ["lost_before", "lost_after", "unknown_applied", "unknown_absent", "silent_applied", "late"],
)
async def test_whatever_happens_to_the_answer_one_copy_arrives_in_order(
    rig: Rig, world: MemoryNotion, page: str, fault: str
) -> None:
    world.fault = once(fault)
    for text in ("same", "same", "third"):
        await rig.clip(page, text)
    await rig.drain()
    assert world.texts(page) == ["same", "same", "third"]


@pytest.mark.parametrize("fault", ["connect", "429", "529"])
async def test_what_was_refused_goes_out_again_without_burning_an_attempt(
    rig: Rig, world: MemoryNotion, page: str, fault: str
) -> None:
    world.fault = once(fault)
    clip = await rig.clip(page, "hello")
    await rig.drain()
    view = await rig.view(clip)
    assert world.texts(page) == ["hello"]
    assert (view.state, view.deliveries[0].attempts) == ("delivered", 0)


async def test_an_unknown_outcome_is_shown_as_unconfirmed_and_holds_the_lane(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = once("late")
    first = await rig.clip(page, "one")
    await rig.step(page)
    second = await rig.clip(page, "two")
    assert await rig.step(page) is StepResult.LATER
    assert (await rig.view(first)).state == "unconfirmed"
    assert (await rig.view(second)).state == "queued"


async def test_a_settle_time_is_counted_in_full_again_after_a_restart(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = once("late")
    await rig.clip(page, "one")
    await rig.step(page)
    rig.clock.advance(30)
    await rig.crash()
    await rig.drain()
    assert world.texts(page) == ["one"]


async def test_blocks_that_may_be_ours_but_differ_are_left_to_a_person(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    view = await rig.view(await rig.clip_with_unknown_outcome(page))
    assert (view.state, view.deliveries[0].reason) == ("needs_attention", "outcome_unknown")
    assert view.deliveries[0].actions == ["resend", "mark_delivered", "open"]


@pytest.mark.parametrize(("how", "copies"), [("delivered", 1), ("resend", 2)])
async def test_a_person_resolves_an_unknown_outcome(
    rig: Rig, world: MemoryNotion, page: str, how: str, copies: int
) -> None:
    world.fault = once("unknown_applied")
    clip = await rig.clip(page, "one")
    await rig.step(page)
    world.edit_text(world.children[page][0], "edited")
    await rig.drain()
    await rig.act(clip, actions.resolve, how)
    await rig.drain()
    assert (await rig.view(clip)).state == "delivered"
    assert len(world.children[page]) == copies


async def test_later_clips_skip_a_parked_one_or_wait_as_the_page_says(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    gone = Position("end_of_section", heading_id=world.new_id())
    parked = await rig.clip(page, "parked", position=gone)
    behind = await rig.clip(page, "behind")
    await rig.outbox.write(lambda c: actions.set_parked(c, lane(page), "wait"))
    await rig.drain()
    assert (await rig.view(parked)).deliveries[0].reason == "heading_gone"
    assert (await rig.view(behind)).state == "queued"
    await rig.outbox.write(lambda c: actions.set_parked(c, lane(page), "skip"))
    await rig.drain()
    assert (await rig.view(behind)).state == "delivered"


async def test_a_gone_heading_falls_back_to_the_page_end_only_when_asked_and_says_so(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    place = Position("end_of_section", heading_id=world.new_id(), if_gone="end_of_page")
    clip = await rig.clip(page, "here", position=place)
    await rig.drain()
    view = await rig.view(clip)
    assert world.texts(page)[-1] == "here"
    assert view.deliveries[0].position_changed == {
        "from": "as_asked",
        "to": "end_of_page",
        "why": "heading_gone",
    }


async def test_a_lost_anchor_is_looked_up_again_and_the_clip_lands_in_its_section(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    place = Position("end_of_section", heading_id=section)
    await rig.clip(page, "one", position=place)
    await rig.drain()
    world.remove(world.children[page][2])
    await rig.clip(page, "two", position=place)
    await rig.drain()
    assert world.texts(page) == ["Inbox", "old", "two", "Later", "last"]


NAMES_IT = "body failed validation: body.children[{at}] is poisoned."


@pytest.mark.parametrize(
    ("words", "where", "writes"),
    [
        (NAMES_IT, "end", 4),  # all, those before it, it alone, the rest
        (NAMES_IT, "start", 4),
        ("body failed validation: something is poisoned.", "end", 13),
    ],
)
async def test_a_poisoned_clip_fails_alone(
    rig: Rig, world: MemoryNotion, page: str, words: str, where: Any, writes: int
) -> None:
    world.poison, world.poison_words = "bad", words
    clips = [
        await rig.clip(page, "bad" if i == 37 else f"n{i}", position=Position(where))
        for i in range(60)
    ]
    await rig.drain()
    states = [(await rig.view(clip)).state for clip in clips]
    assert states == ["failed" if i == 37 else "delivered" for i in range(60)]
    arrived = [f"n{i}" for i in range(60) if i != 37]
    assert world.texts(page) == (arrived if where == "end" else arrived[::-1])
    assert len(world.writes) == writes


async def test_a_thousand_clips_for_one_page_drain_in_twenty_requests_and_three_for_a_bad_one(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.poison, world.poison_words = "bad", NAMES_IT
    bad = {77, 500, 501, 930}
    texts = [(f"a{i}", "bad" if i in bad else f"b{i}") for i in range(1000)]
    await asyncio.gather(*(rig.clip(page, blocks(*each)) for each in texts))
    await rig.drain()
    arrived = [text for each in texts if "bad" not in each for text in each]
    assert world.texts(page) == arrived
    assert 20 < len(world.writes) <= 20 + 3 * len(bad)


async def test_several_pages_each_get_exactly_one_copy_in_its_place(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    plain = world.add_page("Plain")
    targets = [
        Target(Position("end_of_section", heading_id=section), page_id=page),
        Target(Position(), page_id=plain),
    ]
    clip = await rig.clip(content="x", targets=targets)
    await rig.drain()
    assert world.texts(page) == ["Inbox", "old", "x", "Later", "last"]
    assert world.texts(plain) == ["x"]
    assert (await rig.view(clip)).summary == {"delivered": 2}


async def test_failed_deliveries_are_retried_page_by_page(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    missing = world.add_page("Shared later")
    kept = world.pages.pop(missing)
    targets = [Target(Position(), page_id=page), Target(Position(), page_id=missing)]
    clip = await rig.clip(content="x", targets=targets)
    await rig.drain()
    assert (await rig.view(clip)).summary == {"delivered": 1, "needs_attention": 1}
    world.pages[missing] = kept
    await rig.act(clip, actions.retry)
    await rig.drain()
    assert (world.texts(page), world.texts(missing)) == (["x"], ["x"])


async def test_a_new_page_is_created_with_its_content_in_one_call(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    new = {"ref": "trip", "parent": {"page_id": page}, "title": "Trip"}
    clip = await rig.clip(content="x", targets=[Target(Position(), new_page=new)])
    behind = await rig.clip(content="y", targets=[Target(Position(), page_ref="trip")])
    await rig.drain()
    created = (await rig.view(clip)).deliveries[0].page_id
    assert created is not None
    assert world.texts(created) == ["x", "y"]
    assert (await rig.view(behind)).deliveries[0].page_id == created
    assert world.take_calls() == ["POST pages", "PATCH blocks/ID/children"]


@pytest.mark.parametrize("fault", ["lost_after", "unknown_applied", "unknown_absent"])
async def test_a_page_of_unknown_outcome_is_found_among_its_parents_children(
    rig: Rig, world: MemoryNotion, page: str, fault: str
) -> None:
    world.fault = once(fault, "POST")
    new = {"parent": {"page_id": page}, "title": "Trip"}
    clip = await rig.clip(content="x", targets=[Target(Position(), new_page=new)])
    await rig.drain()
    assert (await rig.view(clip)).state == "delivered"
    assert sum(p["parent"].get("page_id") == page for p in world.pages.values()) == 1


async def test_a_clip_canceled_while_its_batch_was_chosen_is_not_sent(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip(page, "no")
    await rig.act(clip, actions.cancel)
    await rig.drain()
    assert (await rig.view(clip)).state == "canceled"
    assert world.texts(page) == []


async def test_headings_in_a_markdown_clip_are_demoted_below_its_section(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    content = {"format": "markdown", "markdown": "# Top\n\ntext"}
    place = Position("end_of_section", heading_id=section)
    await rig.clip(page, content, position=place)
    await rig.clip(page, "after", position=place)
    await rig.drain()
    kinds = [world.blocks[child]["type"] for child in world.children[page]]
    assert kinds[2] == "heading_3"
    assert world.texts(page) == ["Inbox", "old", "Top", "text", "after", "Later", "last"]


async def test_deep_content_is_cut_and_rebuilt_whole(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    deep: dict[str, Any] = paragraph("leaf")
    for level in range(6):
        item: dict[str, Any] = {
            "object": "block",
            "type": "bulleted_list_item",
            "bulleted_list_item": {
                "rich_text": [{"type": "text", "text": {"content": f"l{level}"}}],
                "children": [deep],
            },
        }
        deep = item
    clip = await rig.clip(page, {"format": "blocks", "blocks": [deep, paragraph("next")]})
    await rig.drain()
    seen, node = [], world.children[page][0]
    while True:
        seen.append(world.texts_of(node))
        if not world.children[node]:
            break
        node = world.children[node][0]
    assert seen == ["l5", "l4", "l3", "l2", "l1", "l0", "leaf"]
    assert world.texts(page) == ["l5", "next"]
    assert (await rig.view(clip)).state == "delivered"


def lane(page: str) -> tuple[str, str, str]:
    return (SCOPE.user_id, SCOPE.workspace_id, page)
