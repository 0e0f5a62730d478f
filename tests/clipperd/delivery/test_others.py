"""Another program of the same account writes too: the daemon never claims its blocks."""

from __future__ import annotations

import pytest

from clipperd.delivery.ports import StepResult
from clipperd.notion.port import Write
from tests.clipperd.delivery.rig import Rig, at
from tests.clipperd.delivery.test_hazards import state
from tests.clipperd.memory_notion import SCOPE, MemoryNotion


async def test_what_another_program_wrote_is_not_taken_for_the_lost_write(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = at("unknown_absent")
    clip = await rig.clip(page, "same")
    await rig.step(page)
    theirs = world.another_program(page, "same")
    world.record.writes = [Write("theirs", (theirs,), "page", "same")]
    await rig.drain()
    assert world.texts(page) == ["same", "same"]
    assert (await rig.view(clip)).deliveries[0].block_ids != [theirs]


async def test_other_words_of_another_program_leave_nothing_to_ask(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = at("unknown_absent")
    clip = await rig.clip(page, "ours")
    await rig.step(page)
    theirs = world.another_program(page, "theirs")
    world.record.writes = [Write("theirs", None, "page", "theirs")]
    lane = (SCOPE.user_id, SCOPE.workspace_id, page)
    for _ in range(3):  # it has not found out yet what became of its own write
        assert await rig.step(page) is StepResult.LATER
        rig.clock.advance(rig.throttle.due(lane) - rig.clock.boot())
    world.record.writes = [Write("theirs", (theirs,), "page", "theirs")]
    await rig.drain()
    assert await state(rig, clip) == ("delivered", None)
    assert world.texts(page) == ["theirs", "ours"]


@pytest.mark.parametrize("words", ["same", "first-same", "others"])
async def test_the_same_words_of_unknown_outcome_from_two_programs_are_left_to_a_person(
    rig: Rig, world: MemoryNotion, page: str, words: str
) -> None:
    world.fault = at("unknown_applied")
    clip = await rig.clip(page, "same")
    await rig.step(page)
    key = world.writes[0][2]
    assert key is not None
    world.record.writes = [Write(key, None, "page", "same"), Write("theirs", None, "page", words)]
    await rig.drain()
    if "same" in words:
        assert await state(rig, clip) == ("needs_attention", "outcome_unknown")
    else:
        assert await state(rig, clip) == ("delivered", None)
    assert world.texts(page) == ["same"]


async def test_another_programs_write_may_be_applied_long_after_it_was_sent(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = at("unknown_absent")
    await rig.clip(page, "same")
    sent_at = rig.clock.now()
    await rig.step(page)
    world.another_program(page, "same")
    await rig.step(page)
    assert world.record.asked_since[-1] <= sent_at - 65.0


async def test_what_was_sent_before_the_brokers_memory_begins_is_left_to_a_person(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = at("unknown_applied")
    clip = await rig.clip(page, "same")
    await rig.step(page)
    world.record.whole = False
    await rig.drain()
    assert await state(rig, clip) == ("needs_attention", "outcome_unknown")
    assert world.texts(page) == ["same"]


@pytest.mark.parametrize("fault", ["unknown_applied", "unknown_absent"])
async def test_what_was_found_out_by_reading_is_told_to_the_broker(
    rig: Rig, world: MemoryNotion, page: str, fault: str
) -> None:
    world.fault = at(fault)
    clip = await rig.clip(page, "one")
    await rig.drain()
    first = world.writes[0][2]
    there = (await rig.view(clip)).deliveries[0].block_ids
    assert world.record.told == {first: tuple(there) if fault == "unknown_applied" else ()}
