"""The queue in the status document, and actions on all clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipperd.clips.clips import Clips
from clipperd.delivery.dispatch import Dispatcher
from clipperd.delivery.ports import Timeouts
from clipperd.health import check_queue
from clipperd.model import Position
from clipperd.outbox import retention
from clipperd.outbox.records import Target
from tests.clipperd.delivery.rig import USER, Rig, at, blocks
from tests.clipperd.memory_notion import MemoryNotion
from tests.clocks import SkippingClock


class Accounts:
    """One account."""

    async def current_user(self) -> str:
        return USER


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    clock = SkippingClock()
    rig = Rig(tmp_path, MemoryNotion(clock), clock)
    yield rig
    rig.close()


@pytest.fixture
def clips(rig: Rig) -> Clips:
    """Over a dispatcher that sends nothing."""
    dispatcher = Dispatcher(rig.worker, rig.outbox, rig.clock, rig.throttle, Timeouts(), rig.deps)
    accounts: Any = Accounts()
    return Clips(rig.outbox, accounts, dispatcher, rig.clock)


async def eta_s(clips: Clips) -> float | None:
    found: float | None = (await clips.status())["eta_s"]
    return found


async def flows(clips: Clips, expected: bool) -> None:
    """Check that the status says whether clips leave."""
    status = await clips.status()
    assert status["draining"] is expected
    assert (status["eta_s"] is not None) is expected


async def test_the_status_estimates_when_the_queue_is_empty(rig: Rig, clips: Clips) -> None:
    page = rig.world.add_page("Notes")
    assert await eta_s(clips) is None
    for number in range(40):  # alternating positions: a request each
        await rig.clip(page, position=Position("start" if number % 2 else "end"))
    assert await eta_s(clips) == 2 * 59.25


async def test_nothing_drains_and_no_end_is_estimated_while_nothing_can_leave(
    rig: Rig, clips: Clips
) -> None:
    assert (await clips.status())["draining"] is False
    page = rig.world.add_page("Notes")
    await rig.clip(page)
    await flows(clips, True)
    for seconds in (30, None):
        await clips.pause(seconds)
        await flows(clips, False)
        await clips.resume()
    rig.user = "somebody-else"
    await flows(clips, False)
    rig.user = USER
    rig.world.offline = True
    await rig.step(page)
    await flows(clips, False)
    rig.world.offline = False
    rig.throttle.free_all()
    await flows(clips, True)
    accounts: Any = Accounts()
    cut = Clips(rig.outbox, accounts, clips._dispatcher, rig.clock, is_online=lambda: False)
    await flows(cut, False)
    await rig.drain()
    assert (await clips.status())["draining"] is False


async def test_a_long_clip_drains_between_its_parts(rig: Rig, clips: Clips) -> None:
    page = rig.world.add_page("Notes")
    await rig.clip(page, blocks(*(f"p{number}" for number in range(250))))
    await rig.step(page)
    status = await clips.status()
    assert status["draining"] is True
    assert status["eta_s"] is not None


async def test_clips_wait_without_an_estimate_for_a_page_that_needs_attention(
    rig: Rig, clips: Clips
) -> None:
    page = rig.world.add_page("Parent")
    rig.world.unshare(page)
    new = {"ref": "trip", "parent": {"page_id": page}, "title": "Trip"}
    await rig.clip(targets=[Target(Position(), new_page=new)])
    await rig.clip(targets=[Target(Position(), page_ref="trip")])
    await rig.drain()
    await flows(clips, False)


@pytest.mark.parametrize("fault", ["connect", "lost_after", "lost_before", "529", "silent_applied"])
async def test_the_last_error_is_that_of_the_last_attempt_until_a_success(
    rig: Rig, clips: Clips, fault: str
) -> None:
    page = rig.world.add_page("Notes")
    rig.world.fault = at(fault)
    await rig.clip(page)
    assert (await clips.status())["last_error"] is None
    await rig.step(page)
    error = (await clips.status())["last_error"]
    assert error is not None
    assert error["code"]
    assert error["message"]
    await rig.drain()
    assert (await clips.status())["last_error"] is None


async def test_clips_for_one_position_are_estimated_as_one_request(rig: Rig, clips: Clips) -> None:
    page = rig.world.add_page("Notes")
    for _ in range(100):
        await rig.clip(page)
    assert await eta_s(clips) == 0.0


async def test_retry_all_retries_needs_attention_and_keeps_the_order(
    rig: Rig, clips: Clips
) -> None:
    world = rig.world
    page, unknown = world.add_page("Shared later"), world.add_page("Unknown")
    kept = world.pages.pop(page)
    parked = [await rig.clip(page, f"n{number}") for number in range(3)]
    await rig.drain()
    world.fault = at("unknown_applied")
    asked = await rig.clip(unknown, "x")
    await rig.step(unknown)
    world.edit_text(world.children[unknown][0], "edited")
    await rig.drain()
    assert (await clips.status())["needs_attention"] == 4
    world.pages[page] = kept
    later = await rig.clip(page, "later")
    rig.heard.events.clear()
    assert await clips.retry_all() == 3
    told = {data["id"] for kind, data in rig.heard.events if kind == "clip"}
    assert told == {clip.id for clip in parked}
    await rig.drain()
    assert world.texts(page) == ["n0", "n1", "n2", "later"]
    assert [(await rig.view(clip)).state for clip in (*parked, later)] == ["delivered"] * 4
    assert (await rig.view(asked)).state == "needs_attention"  # the user has to decide


async def test_a_delivery_older_than_a_week_is_kept_and_reported(rig: Rig, clips: Clips) -> None:
    page = rig.world.add_page("Notes")
    clip = await rig.clip(page)
    await rig.clip(page, not_before=rig.clock.now() + 30 * 86400)
    rig.clock.advance(6 * 86400)
    assert (await check_queue(clips)).severity == "ok"
    rig.clock.advance(2 * 86400)
    found = await check_queue(clips)
    assert (found.severity, found.detail[:2]) == ("warning", "1 ")
    await rig.outbox.write(lambda c: retention.erase_expired(c, rig.clock.now(), 0.0))
    await rig.drain()
    assert (await rig.view(clip)).state == "delivered"
    assert (await check_queue(clips)).severity == "ok"
