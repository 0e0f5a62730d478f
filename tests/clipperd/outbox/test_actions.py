"""The actions on a clip in each state; the status offers exactly the allowed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clipperd.content import chunks, convert
from clipperd.errors import ContentErased, IdempotencyConflict, NotAllowedNow
from clipperd.model import Position
from clipperd.outbox import accept as accepting
from clipperd.outbox import actions, lanes, retention, views
from clipperd.outbox.records import ClipView, Target
from tests.clipperd.delivery.rig import USER, Rig, blocks, once
from tests.clipperd.memory_notion import SCOPE, MemoryNotion
from tests.clipperd.outbox.test_outbox import LANE, draft
from tests.clocks import SkippingClock


@pytest.fixture
def world() -> MemoryNotion:
    return MemoryNotion(SkippingClock())


@pytest.fixture
def page(world: MemoryNotion) -> str:
    return world.add_page("Notes")


@pytest.fixture
def rig(tmp_path: Path, world: MemoryNotion) -> Iterator[Rig]:
    assert isinstance(world.clock, SkippingClock)
    rig = Rig(tmp_path, world, world.clock)
    yield rig
    rig.close()


async def retarget(rig: Rig, clip: ClipView, target: Target) -> None:
    def work(c: Any) -> None:
        row = actions.rows_of(c, USER, clip.id, None)[0]
        place = accepting.locate(c, SCOPE, target, row["id"])
        actions.retarget(c, row, target, place, rig.clock.now())

    await rig.outbox.act(USER, clip.id, work)


async def edit(rig: Rig, clip: ClipView, text: str) -> None:
    content = {"format": "text", "text": text}
    prepared = convert.prepare(content)
    fresh = (chunks.encode(content), prepared, chunks.plan(prepared.blocks))
    version = (await rig.view(clip)).version

    def work(c: Any) -> None:
        rows = actions.rows_of(c, USER, clip.id, None)
        actions.edit(
            c,
            rows,
            version=version,
            now=rig.clock.now(),
            content=fresh,
            priority=None,
            not_before=None,
        )

    await rig.outbox.act(USER, clip.id, work)


async def content(rig: Rig, clip_id: str) -> Any:
    return await rig.outbox.read(lambda c: views.content(c, USER, clip_id))


async def erase(rig: Rig) -> None:
    now = rig.clock.now()
    await rig.outbox.write(lambda c: retention.erase_expired(c, now, 7 * 86400.0))


async def test_a_clip_for_later_that_is_moved_still_waits_for_its_time(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    other = world.add_page("Other")
    clip = await rig.clip(page, "later", not_before=rig.clock.now() + 3600)
    await retarget(rig, clip, Target(Position(), page_id=other))
    await rig.drain()
    assert (await rig.view(clip)).state == "queued"
    rig.clock.advance(3601)
    await rig.outbox.write(lambda c: actions.release_due(c, rig.clock.now()))
    await rig.drain()
    assert world.texts(other) == ["later"]


async def test_a_clip_of_unknown_outcome_cannot_be_edited(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip_with_unknown_outcome(page)
    with pytest.raises(NotAllowedNow):
        await edit(rig, clip, "two")


async def test_an_edit_needs_every_delivery_unsent_and_is_offered_only_then(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    missing = world.add_page("Gone")
    del world.pages[missing]
    targets = [Target(Position(), page_id=page), Target(Position(), page_id=missing)]
    clip = await rig.clip(content="x", targets=targets)
    assert ["edit" in d.actions for d in clip.deliveries] == [True, True]
    await rig.drain()
    assert "edit" not in (await rig.view(clip)).deliveries[1].actions
    with pytest.raises(NotAllowedNow):
        await edit(rig, clip, "y")


async def test_a_canceled_delivery_does_not_forbid_the_edit_of_the_others(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    targets = [Target(Position(), page_id=page), Target(Position(), page_id=world.add_page("B"))]
    clip = await rig.clip(content="x", targets=targets)

    def work(c: Any) -> None:
        actions.cancel(c, actions.rows_of(c, USER, clip.id, clip.deliveries[1].id), 0.0)

    await rig.outbox.act(USER, clip.id, work)
    await edit(rig, clip, "y")
    await rig.drain()
    assert world.texts(page) == ["y"]


async def test_a_clip_that_is_half_on_the_page_can_only_be_stopped(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip(page, blocks(*[f"p{i}" for i in range(150)]))
    await rig.step(page)
    assert (await rig.view(clip)).deliveries[0].actions == ["cancel"]
    with pytest.raises(NotAllowedNow):
        await edit(rig, clip, "y")


async def test_a_clip_that_stopped_halfway_can_be_left_at_that(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    clip = await rig.clip(page, blocks(*[f"p{i}" for i in range(150)]))
    await rig.step(page)
    kept = world.pages.pop(page)
    await rig.drain()
    world.pages[page] = kept
    view = await rig.view(clip)
    assert (view.state, view.deliveries[0].actions) == (
        "needs_attention",
        ["retry", "mark_delivered", "cancel", "open"],
    )
    await rig.act(clip, actions.resolve, "delivered")
    await rig.drain()
    assert (await rig.view(clip)).state == "delivered"
    assert len(world.texts(page)) == 100


async def test_a_new_page_that_a_person_confirms_is_not_created_again(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    wanted = {"ref": "trip", "parent": {"page_id": page}, "title": "Trip"}
    content = blocks(*[f"p{i}" for i in range(150)])
    world.fault = once("unknown_absent", "POST")
    twins = [world._create({**_page(page, "Trip")}).body["id"] for _ in range(2)]
    clip = await rig.clip(content=content, targets=[Target(Position(), new_page=wanted)])
    await rig.drain()
    assert (await rig.view(clip)).deliveries[0].reason == "outcome_unknown"
    await rig.act(clip, actions.resolve, "delivered")
    await rig.drain()
    view = await rig.view(clip)
    assert (view.state, view.deliveries[0].reason) == ("needs_attention", "page_unknown")
    assert "retarget" in view.deliveries[0].actions
    await retarget(rig, clip, Target(Position(), page_id=twins[0]))
    await rig.drain()
    assert world.texts(twins[0]) == [f"p{i}" for i in range(150)]
    assert sum(p["parent"].get("page_id") == page for p in world.pages.values()) == 2


def _page(parent: str, title: str) -> dict[str, Any]:
    runs = [{"type": "text", "text": {"content": title}}]
    return {"parent": {"page_id": parent}, "properties": {"title": {"title": runs}}}


async def test_the_key_of_a_deleted_clip_sends_nothing_again(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    first, _, _ = await rig.outbox.accept(draft(idempotency_key="k"))
    await rig.act(first, actions.cancel)
    await rig.outbox.write(lambda c: retention.delete(c, USER, first.id))
    with pytest.raises(IdempotencyConflict):
        await rig.outbox.accept(draft(idempotency_key="k"))


async def test_keys_are_forgotten_after_their_time_but_not_while_their_clip_waits(
    rig: Rig,
) -> None:
    done, _, _ = await rig.outbox.accept(draft("a", idempotency_key="done"))
    waits, _, _ = await rig.outbox.accept(draft("b", idempotency_key="waits"))
    await rig.act(done, actions.cancel)
    rig.clock.advance(29 * 86400)
    await erase(rig)
    assert (await rig.outbox.accept(draft("a", idempotency_key="done")))[1]
    rig.clock.advance(3 * 86400)
    await erase(rig)
    assert not (await rig.outbox.accept(draft("a", idempotency_key="done")))[1]
    assert (await rig.outbox.accept(draft("b", idempotency_key="waits")))[0].id == waits.id


async def test_content_is_erased_in_its_time_however_the_clip_ended(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    resolved = await rig.clip_with_unknown_outcome(page)
    await rig.act(resolved, actions.resolve, "delivered")
    canceled = await rig.clip(page, "two")
    await rig.act(canceled, actions.cancel)
    kept = await rig.clip(world.new_id(), "unsent")
    await erase(rig)
    rig.clock.advance(8 * 86400)
    await erase(rig)
    for gone in (resolved.id, canceled.id):
        with pytest.raises(ContentErased):
            await content(rig, gone)
    await content(rig, kept.id)


async def test_clips_are_deleted_by_the_state_that_the_list_shows(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    world.poison = "bad"
    other = world.add_page("Other")
    targets = [Target(Position(), page_id=page), Target(Position(), page_id=other)]
    mixed = await rig.clip(content="bad", targets=targets)
    await rig.step(page)
    world.poison = None
    await rig.drain()
    assert (await rig.view(mixed)).summary == {"failed": 1, "delivered": 1}
    assert (
        await rig.outbox.write(lambda c: retention.delete_many(c, USER, ["delivered"], None)) == 0
    )
    assert await rig.outbox.write(lambda c: retention.delete_many(c, USER, ["failed"], None)) == 1


async def test_a_changed_position_is_told_only_of_where_the_clip_went(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    place = Position("after_heading", heading_id=world.new_id(), if_gone="end_of_page")
    world.fault = once("529")
    clip = await rig.clip(page, "x", position=place)
    await rig.step(page)
    await retarget(rig, clip, Target(Position(), page_id=page))
    await rig.drain()
    assert (await rig.view(clip)).deliveries[0].position_changed is None


async def test_retry_keeps_together_what_was_parked_together(
    rig: Rig, world: MemoryNotion, page: str
) -> None:
    kept = world.pages.pop(page)
    clips = [await rig.clip(page, f"n{i}") for i in range(20)]
    await rig.drain()
    world.pages[page] = kept
    for clip in clips:
        await rig.act(clip, actions.retry)
    world.take_calls()
    await rig.drain()
    assert world.take_calls() == ["PATCH blocks/ID/children"]
    assert await rig.outbox.read(lambda c: lanes.open_lanes(c, USER)) == []


_QUESTIONS: dict[str, tuple[Callable[[Any], object], set[str]]] = {
    "what is due": (lambda c: actions.release_due(c, 0.0), {"delivery_deferred"}),
    "which lanes": (lambda c: lanes.open_lanes(c, USER), {"delivery_open", "delivery_undo"}),
    "what waits": (lambda c: lanes.waiting(c, LANE, parked="skip"), {"delivery_open"}),
    "how many": (lambda c: views.counts(c, USER), {"delivery_state"}),
}


@pytest.mark.parametrize("question", _QUESTIONS)
async def test_what_the_queue_asks_all_the_time_does_not_read_the_history(
    rig: Rig, question: str
) -> None:
    ask, indexes = _QUESTIONS[question]
    asked: list[str] = []

    def work(c: Any) -> list[str]:
        c.set_trace_callback(asked.append)
        ask(c)
        c.set_trace_callback(None)
        found = [c.execute("EXPLAIN QUERY PLAN " + q) for q in asked if q.startswith("SELECT")]
        return [row["detail"] for plan in found for row in plan if " clip" not in row["detail"]]

    steps = [s for s in await rig.outbox.write(work) if s.startswith(("SCAN", "SEARCH"))]
    assert steps
    assert all(any(index in step for index in indexes) for step in steps), steps


async def test_a_clip_for_later_can_be_let_go_now(rig: Rig, world: MemoryNotion) -> None:
    page = world.add_page("Notes")
    clip = await rig.clip(page, "later", not_before=rig.clock.now() + 3600)
    await rig.clip(page, "now")
    await rig.drain()

    def let_go(connection: Any, rows: Any, now: float) -> None:
        actions.edit(
            connection,
            rows,
            version=clip.version,
            now=now,
            content=None,
            priority=None,
            not_before=0.0,
        )

    await rig.act(clip, let_go)
    await rig.drain()
    assert world.texts(page) == ["now", "later"]
    assert (await rig.view(clip)).not_before is None
