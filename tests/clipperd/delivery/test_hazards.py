"""Rare interleavings, each of which once lost, doubled, misplaced or delayed a clip."""

from __future__ import annotations

from typing import Any

import pytest

from clipperd.broker.reply import Reply
from clipperd.delivery.ports import StepResult
from clipperd.errors import StorageFull
from clipperd.model import Position, Scope
from clipperd.notion.port import Call
from clipperd.outbox import actions
from clipperd.outbox.records import ClipView, Target
from tests.clipperd.delivery.rig import Rig, at, blocks, once, paragraph
from tests.clipperd.memory_notion import SCOPE, MemoryNotion


@pytest.fixture
def section(world: MemoryNotion, page: str) -> str:
    first = world.add(page, "heading_2", "Inbox")
    world.add(page, text="old")
    world.add(page, "heading_2", "Later")
    return first


async def new_page(rig: Rig, parent: dict[str, str], ref: str, content: Any = "x") -> ClipView:
    wanted = {"ref": ref, "parent": parent, "title": ref}
    return await rig.clip(content=content, targets=[Target(Position(), new_page=wanted)])


async def into(rig: Rig, ref: str, content: Any, **more: Any) -> ClipView:
    return await rig.clip(content=content, targets=[Target(Position(), page_ref=ref)], **more)


async def state(rig: Rig, clip: ClipView) -> tuple[str, str | None]:
    view = await rig.view(clip)
    return view.state, view.deliveries[0].reason


# --- what a lane waits for


async def test_more_parked_clips_than_one_look_sees_do_not_hold_up_the_page(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    gone = Position("end_of_section", heading_id=world.new_id())
    for number in range(130):
        await rig.clip(page, f"n{number}", position=gone)
    await rig.drain()
    behind = await rig.clip(page, "behind")
    await rig.drain()
    assert (await state(rig, behind))[0] == "delivered"


async def test_a_new_page_whose_parent_was_given_up_asks_instead_of_waiting(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    outer = await new_page(rig, {"page_id": page}, "outer")
    inner = await new_page(rig, {"page_ref": "outer"}, "inner")
    inside = await into(rig, "outer", "y")
    await rig.act(outer, actions.cancel)
    await rig.drain()
    assert await state(rig, inner) == ("needs_attention", "parent_gone")
    assert await state(rig, inside) == ("needs_attention", "new_page_given_up")


async def test_clips_wait_for_a_page_whose_creation_needs_a_person(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    missing = world.add_page("Shared later")
    kept = world.pages.pop(missing)
    creator = await new_page(rig, {"page_id": missing}, "trip")
    behind = await into(rig, "trip", "y")
    await rig.drain()
    assert await state(rig, creator) == ("needs_attention", "parent_gone")
    assert (await state(rig, behind))[0] == "queued"
    world.pages[missing] = kept
    await rig.act(creator, actions.retry)
    await rig.drain()
    assert (await state(rig, behind))[0] == "delivered"


async def test_clips_wait_for_a_page_that_is_to_be_created_later(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    due = rig.clock.now() + 3600
    wanted = {"ref": "trip", "parent": {"page_id": page}, "title": "Trip"}
    targets = [Target(Position(), new_page=wanted)]
    await rig.clip(content="x", targets=targets, not_before=due)
    behind = await into(rig, "trip", "y")
    await rig.drain()
    assert (await state(rig, behind))[0] == "queued"
    rig.clock.advance(3601)
    await rig.outbox.write(lambda c: actions.release_due(c, rig.clock.now()))
    await rig.drain()
    assert (await state(rig, behind))[0] == "delivered"


# --- between the write and the record of it


async def test_an_answer_that_could_not_be_recorded_is_not_sent_again_under_a_new_key(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip(page, "one")
    change, calls = rig.outbox.change, [0]

    async def full(*args: Any, **kwargs: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:  # the first puts the request on record, the second its outcome
            raise StorageFull("The disk is full.")
        await change(*args, **kwargs)

    rig.outbox.change = full  # type: ignore[method-assign]  # a disk that is full for a moment
    with pytest.raises(StorageFull):
        await rig.step(page)
    world.offline = True
    await rig.step(page)
    assert (await state(rig, clip))[0] == "unconfirmed"


async def test_a_clip_canceled_while_its_place_was_looked_up_stays_canceled(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    clip = await rig.clip(page, "x", position=Position("after_heading", heading_id=world.new_id()))
    plain = world.send

    async def send(scope: Scope, call: Call) -> Reply:
        world.send = plain  # type: ignore[method-assign]  # the transport is the seam
        await rig.act(clip, actions.cancel)
        return await plain(scope, call)

    world.send = send  # type: ignore[method-assign]  # the transport is the seam
    await rig.drain()
    assert await state(rig, clip) == ("canceled", None)


# --- reading back


async def test_a_second_equal_clip_is_not_taken_for_the_text_that_the_page_was_created_with(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = at(None, "unknown_absent")
    creator = await new_page(rig, {"page_id": page}, "trip", "same")
    await into(rig, "trip", "same")
    await rig.drain()
    created = (await rig.view(creator)).deliveries[0].page_id
    assert created is not None
    assert world.texts(created) == ["same", "same"]


@pytest.mark.parametrize("fault", ["unknown_absent", "unknown_applied"])
async def test_children_that_travelled_with_their_parent_are_not_taken_for_the_next_chunk(
    rig: Rig, world: MemoryNotion, page: str, fault: str
) -> None:
    toggle = {
        "object": "block",
        "type": "toggle",
        "toggle": {
            "rich_text": [{"type": "text", "text": {"content": "t"}}],
            "children": [paragraph("same") for _ in range(200)],
        },
    }
    world.fault = at(None, fault)
    clip = await rig.clip(page, {"format": "blocks", "blocks": [toggle]})
    await rig.drain()
    assert (await state(rig, clip))[0] == "delivered"
    assert world.texts(world.children[page][0]) == ["same"] * 200


async def test_nothing_is_sent_before_the_servers_time_is_known_and_stamped_by_another(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    """A stamp by a local clock that is set right later would hide what was applied."""
    rig.knows_time, rig.server_ahead_s = False, -300.0
    clip = await rig.clip(page, "one")
    assert await rig.step(page) is StepResult.LATER
    assert (await state(rig, clip), world.writes) == (("queued", None), [])
    rig.knows_time = True
    rig.throttle.free_all()
    await rig.step(page)
    ((_, _, key),) = world.writes
    assert key is not None
    assert int(key.replace("-", "")[:12], 16) == int((rig.clock.now() - 300.0) * 1000)


# --- chunks and anchors


async def test_a_clip_goes_on_behind_what_is_left_of_its_first_blocks(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    place = Position("after_heading", heading_id=section)
    clip = await rig.clip(page, blocks(*[f"p{i}" for i in range(150)]), position=place)
    await rig.step(page)
    for block in world.children[page][51:101]:  # a person removes half of the first chunk
        world.remove(block)
    await rig.drain()
    assert (await state(rig, clip))[0] == "delivered"
    expected = [f"p{i}" for i in (*range(50), *range(100, 150))]
    assert world.texts(page) == ["Inbox", *expected, "old", "Later"]


@pytest.mark.parametrize("kind", ["end", "end_of_section", "after_heading"])
@pytest.mark.parametrize("lost", [0, 1])
async def test_a_chunk_that_a_person_confirmed_keeps_its_place_before_the_next(
    rig: Rig, world: MemoryNotion, page: str, section: str, kind: Any, lost: int
) -> None:
    heading = None if kind == "end" else section
    place = Position(kind, heading_id=heading)
    clip = await rig.clip(page, blocks(*[f"p{i}" for i in range(250)]), position=place)
    for _ in range(lost):
        await rig.step(page)
    world.fault = once("unknown_applied")
    await rig.step(page)
    first = next(b for b in world.children[page] if world.texts_of(b) == f"p{100 * lost}")
    world.edit_text(first, "edited")
    await rig.drain()
    assert await state(rig, clip) == ("needs_attention", "outcome_unknown")
    await rig.act(clip, actions.resolve, "delivered")
    await rig.drain()
    ours = [t for t in world.texts(page) if t not in ("Inbox", "old", "Later")]
    expected = [f"p{i}" for i in range(250)]
    expected[100 * lost] = "edited"
    assert ours == expected
    assert (await state(rig, clip))[0] == "delivered"
    assert len((await rig.view(clip)).deliveries[0].block_ids) == 150


async def test_a_clip_that_notion_refuses_in_unknown_words_does_not_park_the_others(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    world.poison, world.poison_words = "bad", "Invalid image url."
    place = Position("end_of_section", heading_id=section)
    clips = [await rig.clip(page, "bad" if i == 5 else f"n{i}", position=place) for i in range(9)]
    await rig.drain()
    states = [(await state(rig, clip))[0] for clip in clips]
    assert states == ["needs_attention" if i == 5 else "delivered" for i in range(9)]


async def test_a_long_outage_at_notion_is_not_hammered(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = lambda method, path: "529"
    await rig.clip(page, "x")
    lane = (SCOPE.user_id, SCOPE.workspace_id, page)
    start = rig.clock.boot()
    for _ in range(12):
        assert await rig.step(page) is StepResult.LATER
        rig.clock.advance(rig.throttle.due(lane) - rig.clock.boot())
    assert rig.clock.boot() - start > 120


async def test_headings_of_a_long_clip_are_demoted_alike_in_every_chunk(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    text = "\n\n".join(["# Top", *[f"p{i}" for i in range(120)], "## Sub", "end"])
    content = {"format": "markdown", "markdown": text}
    await rig.clip(page, content, position=Position("end_of_section", heading_id=section))
    await rig.drain()
    kinds = {
        world.texts_of(b): world.blocks[b]["type"]
        for b in world.children[page]
        if world.blocks[b]["type"].startswith("heading")
    }
    assert (kinds["Top"], kinds["Sub"]) == ("heading_3", "heading_4")


@pytest.mark.parametrize(
    ("kind", "keep", "toggle", "splits"),
    [
        ("heading_1", True, False, True),
        ("heading_2", True, False, True),
        ("heading_3", True, False, False),
        ("heading_1", False, False, False),
        ("heading_1", True, True, False),
    ],
)
async def test_a_clip_whose_own_headings_end_the_section_says_so(
    rig: Rig,
    world: MemoryNotion,
    page: str,
    section: str,
    kind: str,
    keep: bool,
    toggle: bool,
    splits: bool,
) -> None:
    world.blocks[section]["heading_2"]["is_toggleable"] = toggle
    world.blocks[section]["has_children"] = toggle
    marks = "#" * int(kind[-1])
    content = {"format": "markdown", "markdown": f"a\n\n{marks} Own\n\nb"}
    place = Position("end_of_section", heading_id=section, headings="keep" if keep else "demote")
    plain = await rig.clip(page, "plain", position=place)
    clip = await rig.clip(page, content, position=place)
    await rig.drain()
    changed = (await rig.view(clip)).deliveries[0].position_changed
    expected = {"from": "as_asked", "to": "splits_section", "why": "own_headings"}
    assert changed == (expected if splits else None)
    assert (await rig.view(plain)).deliveries[0].position_changed is None
    assert (await state(rig, clip))[0] == "delivered"


async def test_native_headings_in_a_later_chunk_are_told_of_too(
    rig: Rig, world: MemoryNotion, page: str, section: str
) -> None:
    own = {"object": "block", "type": "heading_1", "heading_1": paragraph("Own")["paragraph"]}
    content = {"format": "blocks", "blocks": [*[paragraph(f"p{i}") for i in range(120)], own]}
    clip = await rig.clip(page, content, position=Position("after_heading", heading_id=section))
    await rig.drain()
    changed = (await rig.view(clip)).deliveries[0].position_changed
    assert changed is not None
    assert changed["to"] == "splits_section"
