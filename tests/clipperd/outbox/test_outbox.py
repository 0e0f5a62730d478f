"""Accepting, listing and changing clips: every answer is stored, once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipperd.errors import (
    ContentErased,
    CursorInvalid,
    IdempotencyConflict,
    NotAllowedNow,
    NotFinished,
    NotFound,
    PageRefTaken,
    PageRefUnknown,
    VersionMismatch,
)
from clipperd.model import Position
from clipperd.outbox import actions, lanes, retention, views
from clipperd.outbox.records import ClipView, Draft, Target
from tests.clipperd.delivery.rig import USER, Rig
from tests.clipperd.drafts import a_draft
from tests.clipperd.memory_notion import OTHER, SCOPE, MemoryNotion
from tests.clocks import SkippingClock

PAGE = "11111111-1111-4111-8111-111111111111"
LANE = (USER, SCOPE.workspace_id, PAGE)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    clock = SkippingClock()
    rig = Rig(tmp_path, MemoryNotion(clock), clock)
    yield rig
    rig.close()


def draft(text: str = "hello", **more: Any) -> Draft:
    return a_draft(SCOPE, PAGE, text, **{"fingerprint": text.encode(), **more})


async def get(rig: Rig, clip_id: str, user: str = USER) -> ClipView:
    return await rig.outbox.read(lambda c: views.get(c, user, clip_id))


async def test_ten_clips_in_the_same_tick_are_ten_clips_in_order(rig: Rig) -> None:
    accepted = await asyncio.gather(*(rig.outbox.accept(draft(f"n{i}")) for i in range(10)))
    line = await rig.outbox.read(lambda c: lanes.waiting(c, LANE))
    assert [item.clip_id for item in line] == [view.id for view, _, _ in accepted]


async def test_the_same_key_with_the_same_content_gives_the_same_clip_even_after_a_restart(
    rig: Rig,
) -> None:
    first, replayed, _ = await rig.outbox.accept(draft(idempotency_key="k"))
    await rig.crash()
    again, replayed_again, lanes_ = await rig.outbox.accept(draft(idempotency_key="k"))
    assert (replayed, replayed_again, again.id, lanes_) == (False, True, first.id, [])


async def test_the_same_key_with_other_content_is_refused_and_stores_nothing(rig: Rig) -> None:
    await rig.outbox.accept(draft("a", idempotency_key="k"))
    with pytest.raises(IdempotencyConflict):
        await rig.outbox.accept(draft("b", idempotency_key="k"))
    assert await rig.outbox.read(lambda c: actions.unsent(c, USER, SCOPE.workspace_id)) == 1


async def test_a_key_belongs_to_its_client_and_account(rig: Rig) -> None:
    one, _, _ = await rig.outbox.accept(draft(idempotency_key="k"))
    other_client, replayed, _ = await rig.outbox.accept(draft(idempotency_key="k", client_id="b"))
    other_user, replayed_too, _ = await rig.outbox.accept(draft(idempotency_key="k", scope=OTHER))
    assert len({one.id, other_client.id, other_user.id}) == 3
    assert not replayed
    assert not replayed_too


async def test_another_account_sees_nothing_of_a_clip(rig: Rig) -> None:
    view, _, _ = await rig.outbox.accept(draft())
    with pytest.raises(NotFound):
        await get(rig, view.id, OTHER.user_id)
    items, _ = await rig.outbox.read(
        lambda c: views.page(c, OTHER.user_id, views.Filter(), limit=10, cursor=None)
    )
    assert items == []


async def test_pages_of_the_list_stay_put_while_clips_come_in(rig: Rig) -> None:
    ids = [(await rig.outbox.accept(draft(f"n{i}")))[0].id for i in range(5)]
    first, cursor = await rig.outbox.read(
        lambda c: views.page(c, USER, views.Filter(), limit=2, cursor=None)
    )
    await rig.outbox.accept(draft("new"))
    second, _ = await rig.outbox.read(
        lambda c: views.page(c, USER, views.Filter(), limit=2, cursor=cursor)
    )
    assert [v.id for v in [*first, *second]] == [ids[4], ids[3], ids[2], ids[1]]


@pytest.mark.parametrize("cursor", ["", "x", "c", "c-1", "c1;drop", "c" + "9" * 30, "c١"])
async def test_a_made_up_cursor_is_refused(rig: Rig, cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        await rig.outbox.read(lambda c: views.page(c, USER, views.Filter(), limit=2, cursor=cursor))


async def test_lists_are_narrowed_by_state_page_text_and_time(rig: Rig) -> None:
    kept, _, _ = await rig.outbox.accept(draft("100% sure"))
    gone, _, _ = await rig.outbox.accept(draft("other"))
    await rig.act(gone, actions.cancel)

    async def ids(**chosen: Any) -> list[str]:
        found, _ = await rig.outbox.read(
            lambda c: views.page(c, USER, views.Filter(**chosen), limit=9, cursor=None)
        )
        return [view.id for view in found]

    assert await ids(states=["queued"]) == [kept.id]
    assert await ids(states=["canceled", "queued"]) == [gone.id, kept.id]
    assert await ids(text="0% s") == [kept.id]
    assert await ids(text="_") == []
    assert await ids(page_id=OTHER.user_id) == []
    assert await ids(until=rig.clock.now()) == []


async def test_a_page_ref_must_have_been_announced_and_is_announced_once(rig: Rig) -> None:
    with pytest.raises(PageRefUnknown):
        await rig.outbox.accept(draft(targets=[Target(Position(), page_ref="trip")]))
    new = {"ref": "trip", "parent": {"page_id": PAGE}, "title": "Trip"}
    await rig.outbox.accept(draft(targets=[Target(Position(), new_page=new)]))
    await rig.outbox.accept(draft(targets=[Target(Position(), page_ref="trip")]))
    with pytest.raises(PageRefTaken):
        await rig.outbox.accept(draft(targets=[Target(Position(), new_page=new)]))


async def test_editing_needs_the_version_that_was_read(rig: Rig) -> None:
    view, _, _ = await rig.outbox.accept(draft("old"))
    fresh = draft("fresh")

    def edit(version: int) -> Any:
        def work(c: Any) -> None:
            actions.edit(
                c,
                actions.rows_of(c, USER, view.id, None),
                version=version,
                now=rig.clock.now(),
                content=(fresh.accepted, fresh.prepared, fresh.plan),
                priority=None,
                not_before=None,
            )

        return work

    with pytest.raises(VersionMismatch):
        await rig.outbox.act(USER, view.id, edit(view.version + 1))
    edited, _ = await rig.outbox.act(USER, view.id, edit(view.version))
    assert (edited.title, edited.version) == ("fresh", view.version + 1)
    assert await rig.outbox.read(lambda c: views.content(c, USER, view.id)) == {
        "format": "text",
        "text": "fresh",
    }


async def test_only_finished_clips_can_be_deleted(rig: Rig) -> None:
    view, _, _ = await rig.outbox.accept(draft())
    with pytest.raises(NotFinished):
        await rig.outbox.write(lambda c: retention.delete(c, USER, view.id))
    await rig.act(view, actions.cancel)
    await rig.outbox.write(lambda c: retention.delete(c, USER, view.id))
    with pytest.raises(NotFound):
        await get(rig, view.id)


async def test_emptying_the_history_leaves_what_waits(rig: Rig) -> None:
    waiting, _, _ = await rig.outbox.accept(draft())
    gone, _, _ = await rig.outbox.accept(draft())
    await rig.act(gone, actions.cancel)
    states = ["delivered", "failed", "canceled"]
    assert await rig.outbox.write(lambda c: retention.delete_many(c, USER, states, None)) == 1
    assert (await get(rig, waiting.id)).state == "queued"


async def test_a_clip_for_later_blocks_nobody_and_joins_its_lane_when_due(rig: Rig) -> None:
    page = rig.world.add_page("Notes")
    later = await rig.clip(page, "later", not_before=rig.clock.now() + 60)
    await rig.clip(page, "now")
    await rig.drain()
    assert rig.world.texts(page) == ["now"]
    rig.clock.advance(61)
    due, coming = await rig.outbox.write(lambda c: actions.release_due(c, rig.clock.now()))
    assert (len(due), coming) == (1, None)
    await rig.drain()
    assert rig.world.texts(page) == ["now", "later"]
    assert (await rig.view(later)).state == "delivered"


async def test_delivered_content_is_erased_after_its_time_and_the_receipt_stays(rig: Rig) -> None:
    page = rig.world.add_page("Notes")
    clip = await rig.clip(page, "secret text")
    await rig.drain()
    rig.clock.advance(8 * 86400)
    await rig.outbox.write(lambda c: retention.erase_expired(c, rig.clock.now(), 0.0))
    with pytest.raises(ContentErased):
        await rig.outbox.read(lambda c: views.content(c, USER, clip.id))
    assert (await rig.view(clip)).deliveries[0].block_ids


async def test_what_was_sent_can_be_neither_canceled_nor_edited(rig: Rig) -> None:
    page = rig.world.add_page("Notes")
    clip = await rig.clip(page, "x")
    await rig.drain()
    for action in (actions.cancel, actions.retry):
        with pytest.raises(NotAllowedNow):
            await rig.act(clip, action)


async def test_a_moved_clip_goes_to_the_back_of_its_new_pages_line(rig: Rig) -> None:
    there = rig.world.add_page("There")
    missing = rig.world.new_id()
    clip = await rig.clip(missing, "moved")
    await rig.clip(there, "first")
    await rig.drain()
    assert (await rig.view(clip)).deliveries[0].reason == "page_gone"

    def move(c: Any, rows: Any, now: float) -> None:
        target = Target(Position(), page_id=there)
        actions.retarget(c, rows[0], target, (there, None, there), now)

    await rig.act(clip, move)
    await rig.drain()
    assert rig.world.texts(there) == ["first", "moved"]


async def test_the_queue_remembers_that_it_is_paused(rig: Rig) -> None:
    await rig.outbox.write(lambda c: actions.pause(c, 123.0))
    await rig.crash()
    assert await rig.outbox.read(actions.paused) == (True, 123.0)
    await rig.outbox.write(actions.resume)
    assert await rig.outbox.read(actions.paused) == (False, None)
