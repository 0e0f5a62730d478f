"""The dispatcher: parallel pages, one request a page, pauses, accounts, a clean stop."""

from __future__ import annotations

import asyncio
from typing import Any

from clipperd.broker.reply import Reply
from clipperd.delivery.dispatch import Dispatcher
from clipperd.errors import StorageFull
from clipperd.model import Position, Scope
from clipperd.notion.port import Call
from clipperd.outbox import actions
from clipperd.outbox.records import ClipView
from tests.clipperd.delivery.rig import USER, Rig, StillClock, dispatching
from tests.clipperd.memory_notion import SCOPE, MemoryNotion


async def post(rig: Rig, dispatcher: Dispatcher, page: str, text: str = "x") -> ClipView:
    view = await rig.clip(page, text)
    dispatcher.poke((USER, SCOPE.workspace_id, page))
    return view


async def delivered(rig: Rig, clip: ClipView) -> ClipView:
    return await rig.outbox.until(USER, clip.id, lambda v: v.state == "delivered", 60)


async def test_a_new_clip_leaves_without_being_waited_for(rig: Rig, world: MemoryNotion) -> None:
    page = world.add_page("Notes")
    async with dispatching(rig) as dispatcher:
        view = await delivered(rig, await post(rig, dispatcher, page))
    assert view.state == "delivered"
    assert world.texts(page) == ["x"]


async def test_pages_go_in_parallel_but_each_one_request_at_a_time(
    rig: Rig, world: MemoryNotion
) -> None:
    pages = [world.add_page(f"P{n}") for n in range(3)]
    meeting = asyncio.Barrier(3)
    busy: set[str] = set()
    plain = world.send

    async def send(scope: Scope, call: Call) -> Reply:
        assert call.path not in busy
        busy.add(call.path)
        await meeting.wait()  # only passes when all three pages are under way at once
        reply = await plain(scope, call)
        busy.discard(call.path)
        return reply

    world.send = send  # type: ignore[method-assign]  # the transport is the seam
    async with dispatching(rig) as dispatcher:
        clips = [await post(rig, dispatcher, page) for page in pages]
        for clip in clips:
            assert (await delivered(rig, clip)).state == "delivered"


async def test_a_paused_queue_sends_nothing_and_goes_on_when_resumed(
    rig: Rig, world: MemoryNotion
) -> None:
    page = world.add_page("Notes")
    other = world.add_page("Other")
    await rig.outbox.write(lambda c: actions.pause(c, None))
    async with dispatching(rig) as dispatcher:
        held = await post(rig, dispatcher, page)
        await post(rig, dispatcher, other)
        assert world.writes == []
        await rig.outbox.write(actions.resume)
        dispatcher.poke()
        assert (await delivered(rig, held)).state == "delivered"


async def test_a_clip_that_was_put_off_leaves_once_its_time_is_moved_to_now(
    rig: Rig, world: MemoryNotion
) -> None:
    page = world.add_page("Notes")
    async with dispatching(rig) as dispatcher:
        later = await rig.clip(page, "later", not_before=rig.clock.now() + 3600)
        dispatcher.poke()
        await delivered(rig, await post(rig, dispatcher, page, "now"))
        assert world.texts(page) == ["now"]
        rig.clock.advance(3600)
        dispatcher.free((USER, SCOPE.workspace_id, page))
        assert (await delivered(rig, later)).state == "delivered"
    assert world.texts(page) == ["now", "later"]


async def test_nothing_leaves_while_another_account_is_signed_in(
    rig: Rig, world: MemoryNotion
) -> None:
    page = world.add_page("Notes")
    rig.user = "somebody-else"
    async with dispatching(rig) as dispatcher:
        clip = await post(rig, dispatcher, page)
        await dispatcher.at_rest()
        assert (await rig.view(clip)).state == "queued"
        rig.user = USER
        dispatcher.poke()
        assert (await delivered(rig, clip)).state == "delivered"
    assert world.texts(page) == ["x"]


async def test_a_write_around_the_queue_waits_for_the_lane_and_holds_it(
    rig: Rig, world: MemoryNotion
) -> None:
    page = world.add_page("Notes")
    lane = (USER, SCOPE.workspace_id, page)
    async with dispatching(rig) as dispatcher:
        async with dispatcher.exclusive(lane):
            clip = await post(rig, dispatcher, page)
            await dispatcher.at_rest()
            assert world.writes == []
        assert (await delivered(rig, clip)).state == "delivered"


async def test_a_stop_in_the_middle_of_a_write_leaves_it_to_be_replayed(
    rig: Rig, world: MemoryNotion
) -> None:
    page = world.add_page("Notes")
    reached = asyncio.Event()
    plain = world.send

    async def send(scope: Scope, call: Call) -> Reply:
        reply = await plain(scope, call)
        reached.set()
        await asyncio.Event().wait()  # the answer never comes
        return reply

    world.send = send  # type: ignore[method-assign]  # the transport is the seam
    async with dispatching(rig) as dispatcher:
        clip = await post(rig, dispatcher, page)
        await reached.wait()
    world.send = plain  # type: ignore[method-assign]  # the transport is the seam
    await rig.crash()
    assert (await rig.view(clip)).state == "unconfirmed"
    await rig.drain()
    assert world.texts(page) == ["x"]


async def test_a_step_that_fails_unforeseen_rests_its_lane_and_harms_no_other(
    rig: Rig, world: MemoryNotion
) -> None:
    bad, good = world.add_page("Bad"), world.add_page("Good")
    plain = world.send

    async def send(scope: Scope, call: Call) -> Reply:
        if bad in call.path:
            raise ZeroDivisionError
        return await plain(scope, call)

    world.send = send  # type: ignore[method-assign]  # the transport is the seam
    async with dispatching(rig) as dispatcher:
        await post(rig, dispatcher, bad)
        clip = await post(rig, dispatcher, good)
        assert (await delivered(rig, clip)).state == "delivered"
        assert rig.throttle.due((USER, SCOPE.workspace_id, bad)) > rig.clock.boot()


async def test_a_step_whose_outcome_found_no_room_is_taken_up_after_seconds(
    rig: Rig, world: MemoryNotion
) -> None:
    page, plain = world.add_page("Notes"), rig.outbox.change
    failed = asyncio.Event()

    async def change(*args: Any, **kwargs: Any) -> None:
        if world.writes and not failed.is_set():
            failed.set()
            raise StorageFull("The disk is full.")
        await plain(*args, **kwargs)

    rig.outbox.change = change  # type: ignore[method-assign]  # a disk that is full for a moment
    async with dispatching(rig) as dispatcher:
        clip = await post(rig, dispatcher, page)
        await failed.wait()
        while True:
            rest_s = rig.throttle.due((USER, SCOPE.workspace_id, page)) - rig.clock.boot()
            if rest_s > 0:
                break
            await asyncio.sleep(0)
        assert rest_s <= 5.0
        rig.clock.advance(rest_s)
        dispatcher.poke()
        assert (await delivered(rig, clip)).state == "delivered"
    assert len({key for _, _, key in world.writes}) == 1  # it is the one request all the time
    assert world.texts(page) == ["x"]


async def test_a_store_that_fails_for_a_moment_does_not_end_the_queue(
    rig: Rig, world: MemoryNotion
) -> None:
    page = world.add_page("Notes")
    plain = rig.outbox.write
    failures = [asyncio.Event(), asyncio.Event()]  # in the recovery, then in a round

    async def write(*args: Any, **kwargs: Any) -> Any:
        for failure in failures:
            if not failure.is_set():
                failure.set()
                raise StorageFull("The disk is full.")
        return await plain(*args, **kwargs)

    clip = await rig.clip(page, "x")
    rig.outbox.write = write  # type: ignore[method-assign]  # a disk that is full for a moment
    async with dispatching(rig) as dispatcher:
        for failure in failures:
            await failure.wait()
            dispatcher.poke()
        assert (await delivered(rig, clip)).state == "delivered"


async def test_a_long_line_on_one_page_leaves_room_for_other_pages_by_turns_and_by_priority(
    rig: Rig, world: MemoryNotion
) -> None:
    bulk, other, urgent = (world.add_page(name) for name in ("Bulk", "Other", "Urgent"))
    for page in (bulk, other):
        for number in range(6):  # one after the other: no two have the same place
            place = Position("after_block", block_id=world.add(page, text=f"b{number}"))
            await rig.clip(page, f"n{number}", position=place, priority=2)
    order: list[str] = []
    over = asyncio.Event()
    plain = world.send

    async def send(scope: Scope, call: Call) -> Reply:
        order.append(call.path.split("/")[1])
        if len(order) == 4:
            await post(rig, dispatcher, urgent)
        if len(order) == 13:
            over.set()
        return await plain(scope, call)

    world.send = send  # type: ignore[method-assign]  # the transport is the seam
    async with dispatching(rig, parallel=2) as dispatcher:
        await over.wait()
    assert set(order[:4]) == {bulk, other}
    assert urgent in order[4:6]


async def test_waiting_for_a_time_is_checked_again_after_the_machine_slept(
    rig: Rig, world: MemoryNotion
) -> None:
    page = world.add_page("Notes")
    naps: asyncio.Queue[float] = asyncio.Queue()
    clock = StillClock(rig.clock)

    async def sleep(seconds: float) -> None:
        naps.put_nowait(seconds)
        await asyncio.Event().wait()

    clock.sleep = sleep  # type: ignore[method-assign]  # a timer that the test reads
    await rig.clip(page, "later", not_before=rig.clock.now() + 8 * 3600)
    async with dispatching(rig, clock=clock):
        assert await naps.get() <= 60


async def test_writes_around_the_queue_take_turns_on_a_page(rig: Rig, world: MemoryNotion) -> None:
    lane = (USER, SCOPE.workspace_id, world.add_page("Notes"))
    inside: list[int] = []
    most: list[int] = []

    async def write(dispatcher: Dispatcher, number: int) -> None:
        async with dispatcher.exclusive(lane):
            inside.append(number)
            most.append(len(inside))
            await asyncio.sleep(0)
            inside.remove(number)

    async with dispatching(rig) as dispatcher:
        await asyncio.gather(*(write(dispatcher, number) for number in range(5)))
    assert most == [1] * 5
