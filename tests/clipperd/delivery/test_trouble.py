"""Failures pause the queue as far as needed, and lose or burn no clip."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clipperd.broker.reply import Reply
from clipperd.delivery.ports import StepResult
from clipperd.errors import ReauthRequired
from clipperd.model import Position, Scope
from clipperd.notion.port import Call
from clipperd.outbox.records import ClipView, LaneKey, Target
from tests.clipperd.delivery.rig import USER, Rig, at, blocks
from tests.clipperd.delivery.test_hazards import state
from tests.clipperd.memory_notion import SCOPE, MemoryNotion
from tests.clipperd.outbox.test_actions import retarget

WEEK_S = 7 * 86400.0
DAY_S = 86400.0


def lane(page: str) -> LaneKey:
    return (USER, SCOPE.workspace_id, page)


@pytest.fixture
def other(world: MemoryNotion) -> str:
    return world.add_page("Other")


async def test_a_week_offline_kills_nothing(rig: Rig, world: MemoryNotion, page: str) -> None:
    clips = [await rig.clip(page, f"n{number}") for number in range(3)]
    world.offline = True
    start, tries = rig.clock.boot(), 0
    while rig.clock.boot() - start < WEEK_S:
        assert await rig.step(page) is StepResult.LATER
        wait_s = rig.throttle.due(lane(page)) - rig.clock.boot()
        assert 0 < wait_s <= 30
        rig.clock.advance(wait_s if tries < 50 else DAY_S)  # it sleeps most of the time
        tries += 1
    world.offline = False
    await rig.drain()
    views = [await rig.view(clip) for clip in clips]
    assert [(view.state, view.deliveries[0].attempts) for view in views] == [("delivered", 0)] * 3
    assert world.texts(page) == ["n0", "n1", "n2"]


async def test_a_session_that_has_ended_keeps_everything_and_burns_nothing(
    rig: Rig, world: MemoryNotion, page: str, other: str
) -> None:
    clips = [await rig.clip(each, "x") for each in (page, other)]
    plain = world.send

    async def ended(*_: Any, **__: Any) -> Reply:
        raise ReauthRequired("Sign in again.")

    world.send = ended  # type: ignore[method-assign]  # the transport is the seam
    for each in (page, other):
        assert await rig.step(each) is StepResult.NOTHING
    views = [await rig.view(clip) for clip in clips]
    assert [(view.state, view.deliveries[0].attempts) for view in views] == [("queued", 0)] * 2
    world.send = plain  # type: ignore[method-assign]  # the transport is the seam
    await rig.drain()
    assert (world.texts(page), world.texts(other)) == (["x"], ["x"])


async def test_a_session_that_ends_while_an_outcome_is_unknown_leaves_it_to_be_asked_for(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = at("lost_after")
    clip = await rig.clip(page, "x")
    await rig.step(page)
    plain = world.send

    async def ended(*_: Any, **__: Any) -> Reply:
        raise ReauthRequired("Sign in again.")

    world.send = ended  # type: ignore[method-assign]  # the transport is the seam
    assert await rig.step(page) is StepResult.NOTHING
    assert (await state(rig, clip))[0] == "unconfirmed"
    world.send = plain  # type: ignore[method-assign]  # the transport is the seam
    await rig.drain()
    assert world.texts(page) == ["x"]
    assert (await state(rig, clip))[0] == "delivered"


@pytest.mark.parametrize(("fault", "least_s"), [("401", 0.1), ("429", 2.0)])
async def test_a_refusal_rests_what_it_names_and_burns_nothing(
    rig: Rig, world: MemoryNotion, page: str, other: str, fault: str, least_s: float
) -> None:
    world.fault = at(fault)
    clip = await rig.clip(page, "x")
    assert await rig.step(page) is StepResult.LATER
    view = await rig.view(clip)
    assert (view.state, view.deliveries[0].attempts) == ("retrying", 0)
    boot = rig.clock.boot()
    assert rig.throttle.due(lane(other)) >= boot + least_s  # Retry-After: 2, or a back-off
    elsewhere = (USER, "another workspace", other)
    assert (rig.throttle.due(elsewhere) > boot) == (
        fault == "401"
    )  # the account, or the connection
    assert rig.throttle.due(("somebody else", SCOPE.workspace_id, other)) == 0.0
    await rig.drain()
    assert world.texts(page) == ["x"]


@pytest.mark.parametrize(("fault", "reason"), [("403", "no_access"), (None, "page_gone")])
async def test_a_page_that_cannot_be_written_parks_its_clips_with_a_reason_and_they_can_be_moved(
    rig: Rig, world: MemoryNotion, page: str, other: str, fault: str | None, reason: str
) -> None:
    clips = [await rig.clip(page, f"n{number}") for number in range(2)]
    elsewhere = await rig.clip(other, "elsewhere")
    if fault is None:
        world.pages.pop(page)
    world.fault = lambda method, path: fault if page in path else None
    await rig.drain()
    assert [await state(rig, clip) for clip in clips] == [("needs_attention", reason)] * 2
    assert (await state(rig, elsewhere))[0] == "delivered"
    assert "retarget" in (await rig.view(clips[0])).deliveries[0].actions
    for clip in clips:
        await retarget(rig, clip, Target(Position(), page_id=other))
    await rig.drain()
    assert world.texts(other) == ["elsewhere", "n0", "n1"]


@pytest.mark.parametrize("fault", ["lost_before", "lost_after"])
async def test_a_key_that_the_broker_keeps_no_longer_is_settled_by_reading_the_page(
    rig: Rig, world: MemoryNotion, page: str, fault: str
) -> None:
    """The daemon slept for longer than the broker remembers: it is not sent under the old key."""
    world.fault = at(fault)
    clip = await rig.clip(page, "x")
    await rig.step(page)
    ((_, _, key),) = world.writes
    assert key is not None
    body = {"object": "error", "code": "conflict_error", "message": "It is too old."}
    expired = Reply(409, body, "conflict_error", "idempotency_key_expired")
    sent = await rig.outbox.read(lambda c: c.execute("SELECT body FROM request").fetchone()[0])
    world.memory[key] = (sent, expired)
    rig.clock.advance(2 * DAY_S)
    await rig.drain()
    assert world.texts(page) == ["x"]
    assert await state(rig, clip) == ("delivered", None)
    executed = [used for _, _, used in world.writes if used != key]
    assert len(executed) == (1 if fault == "lost_before" else 0)


@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S])
async def test_a_clock_that_jumps_while_an_outcome_settles_changes_nothing(
    rig: Rig, world: MemoryNotion, page: str, jump_s: float
) -> None:
    world.fault = at("late")  # applied 40 s later; absence proves nothing before 65 s are over
    clip = await rig.clip(page, "x")
    await rig.step(page)
    rig.clock.jump(jump_s)
    rig.server_ahead_s = world.server_ahead_s = -jump_s  # the server's clock did not jump
    await rig.step(page)
    assert (await state(rig, clip))[0] == "unconfirmed"
    assert 0 < rig.throttle.due(lane(page)) - rig.clock.boot() <= 65
    await rig.drain()
    assert world.texts(page) == ["x"]
    assert len(world.writes) == 1


async def test_while_one_page_settles_the_others_go_on(
    rig: Rig, world: MemoryNotion, page: str, other: str
) -> None:
    world.fault = at("late")
    settling = await rig.clip(page, "x")
    await rig.step(page)
    await rig.step(page)
    assert (await state(rig, settling))[0] == "unconfirmed"
    clip = await rig.clip(other, "y")
    assert rig.throttle.due(lane(other)) <= rig.clock.boot() < rig.throttle.due(lane(page))
    await rig.step(other)
    assert (await state(rig, clip))[0] == "delivered"


async def test_what_goes_out_again_is_the_same_to_the_byte_whatever_the_page_is_now(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    """Also after a restart: the bytes are on record, not made anew."""
    heading = world.add(page, "heading_2", "Inbox")
    place = Position("end_of_section", heading_id=heading)
    bodies: list[bytes] = []
    plain = world.send

    async def send(scope: Scope, call: Call) -> Reply:
        if call.key:
            bodies.append(call.body or b"")
        return await plain(scope, call)

    world.send = send  # type: ignore[method-assign]  # the transport is the seam
    world.fault = at("lost_before", "lost_before")
    await rig.clip(page, "x", position=place)
    await rig.step(page)
    world.add(page, text="typed meanwhile")
    await rig.clip(page, "y", position=place)
    await rig.crash()
    await rig.drain()
    assert len(bodies) == 4
    assert bodies[0] == bodies[1] == bodies[2]
    assert [text for text in world.texts(page) if text in ("x", "y")] == ["x", "y"]


async def test_nothing_comes_between_the_parts_of_a_clip_not_even_what_had_its_turn_before(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    gone = world.add(page, "heading_2", "Inbox")
    parked = await rig.clip(page, "parked", position=Position("after_heading", heading_id=gone))
    world.remove(gone)
    await rig.step(page)
    assert (await state(rig, parked))[0] == "needs_attention"
    long = await rig.clip(page, blocks(*[f"p{number}" for number in range(250)]))
    await rig.step(page)
    await rig.clip(page, "a person waits", priority=0)
    await retarget(rig, parked, Target(Position(), page_id=page))
    before = await rig.clip(page, "before", priority=0)
    first = "UPDATE delivery SET turn = 0 WHERE clip_seq = (SELECT max(seq) FROM clip)"
    await rig.outbox.write(lambda c: c.execute(first))  # as of one that was parked and is retried
    await rig.drain()
    assert world.texts(page)[:250] == [f"p{number}" for number in range(250)]
    assert sorted(world.texts(page)[250:]) == ["a person waits", "before", "parked"]
    assert [(await state(rig, clip))[0] for clip in (long, before)] == ["delivered"] * 2


async def test_lanes_that_fail_together_lengthen_the_offline_wait_once(
    rig: Rig, world: MemoryNotion
) -> None:
    pages = [world.add_page(f"P{number}") for number in range(6)]
    for each in pages:
        await rig.clip(each)
    world.offline = True
    for each in pages:
        await rig.step(each)
    assert rig.throttle.offline_until - rig.clock.boot() <= 1.0


async def test_an_attempt_that_began_before_the_network_was_back_costs_no_wait(
    rig: Rig, world: MemoryNotion
) -> None:
    page = world.add_page("P")
    await rig.clip(page)
    world.offline = True
    step = asyncio.create_task(rig.step(page))
    await asyncio.sleep(0)
    rig.throttle.free_all()
    await step
    assert rig.throttle.due(lane(page)) <= rig.clock.boot()
    await rig.step(page)
    assert rig.throttle.due(lane(page)) > rig.clock.boot()


async def test_an_event_is_sent_only_when_a_client_sees_a_change(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.fault = at("lost_before")
    clip = await rig.clip(page, "x")
    await rig.step(page)
    version = (await rig.view(clip)).version
    world.offline = True
    for _ in range(5):  # the same request again, and no answer
        await rig.step(page)
        rig.clock.advance(rig.throttle.due(lane(page)) - rig.clock.boot())
    assert (await rig.view(clip)).version == version
    world.offline = False
    await rig.drain()
    assert _shown(rig, clip) == ["queued", "sending", "unconfirmed", "delivered"]


async def test_an_action_that_changes_nothing_sends_no_event(rig: Rig, page: str) -> None:
    clip = await rig.clip(page, "x")
    for _ in range(2):
        await retarget(rig, clip, Target(Position(type="start"), page_id=page))
    assert _shown(rig, clip) == ["queued", "queued"]


def _shown(rig: Rig, clip: ClipView) -> list[str]:
    """Return the states that the clip's events carry."""
    return [data["state"] for _, data in rig.heard.events if data.get("id") == clip.id]


@pytest.mark.parametrize("kind", ["data_source", "database"])
@pytest.mark.parametrize("where", ["end", "end_of_section"])
async def test_a_page_that_turns_out_to_be_a_database_gets_rows(
    rig: Rig, world: MemoryNotion, kind: str, where: Any
) -> None:
    tasks = world.add_page("Tasks", kind=kind)
    source = world.add_page("Tasks", kind="data_source")
    world.pages[tasks]["data_sources"] = [{"id": source}]
    heading = "To do" if where == "end_of_section" else None
    clips = [
        await rig.clip(tasks, content, position=Position(where, heading_text=heading))
        for content in ("one", "two", blocks(*(f"p{n}" for n in range(150))))
    ]
    await rig.drain()
    rows = [(await rig.view(clip)).deliveries[0] for clip in clips]
    assert [row.state for row in rows] == ["delivered"] * 3
    assert [row.page_title for row in rows] == ["one", "two", "p0"]
    assert len(world.texts(str(rows[2].page_id))) == 150
    placed = {"from": "as_asked", "to": "new_row", "why": "is_database"}
    assert rows[0].position_changed == (placed if heading else None)
