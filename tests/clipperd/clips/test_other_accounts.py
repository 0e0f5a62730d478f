"""Clips of accounts that are not signed in: counted, listed, canceled, taken over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clipperd.broker.auth import GrantedWorkspace, User
from clipperd.clips.clips import Clips
from clipperd.delivery.dispatch import Dispatcher
from clipperd.delivery.ports import Timeouts
from clipperd.errors import NotFound, WorkspaceMismatch
from clipperd.health import check_other_accounts
from clipperd.model import Position
from clipperd.outbox import actions, lanes, views
from clipperd.outbox.records import Target
from clipperd.session.accounts import Accounts
from tests.clipperd.delivery.rig import USER, Rig, once
from tests.clipperd.memory_notion import SCOPE, MemoryNotion
from tests.clocks import SkippingClock

BOB = User("user-bob", "bob@example.org", "Bob")
SAME = GrantedWorkspace(SCOPE.workspace_id, "Shared")
OTHER = GrantedWorkspace("99999999-9999-4999-8999-999999999999", "Bob's")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    clock = SkippingClock()
    rig = Rig(tmp_path, MemoryNotion(clock), clock)
    yield rig
    rig.close()


@pytest.fixture
def accounts(rig: Rig) -> Accounts:
    return Accounts(rig.db, rig.clock)


@pytest.fixture
def clips(rig: Rig, accounts: Accounts) -> Clips:
    """Over a dispatcher that sends nothing."""
    dispatcher = Dispatcher(rig.worker, rig.outbox, rig.clock, rig.throttle, Timeouts(), rig.deps)
    return Clips(rig.outbox, accounts, dispatcher, rig.clock)


async def bob_signs_in(
    rig: Rig, accounts: Accounts, *workspaces: GrantedWorkspace, ada: str = "ada@example.org"
) -> None:
    await accounts.remember(User(USER, ada, "Ada"), [SAME])
    await accounts.remember(BOB, workspaces or (SAME,))
    rig.user = BOB.id


async def test_the_clips_of_another_account_are_told_everywhere(
    rig: Rig, clips: Clips, accounts: Accounts
) -> None:
    page = rig.world.add_page("Notes")
    unknown = await rig.clip_with_unknown_outcome(page)
    waiting = await rig.clip(page)
    await bob_signs_in(rig, accounts)
    status = await clips.status()
    assert status["queued"] == 0
    assert status["other_accounts"] == [
        {"user_id": USER, "email": "ada@example.org", "waiting": 1, "needs_attention": 1}
    ]
    finding = await check_other_accounts(clips)
    assert finding.severity == "warning"
    assert "ada@example.org" in finding.detail
    assert await clips.page(views.Filter(), 20, None) == ([], None)
    for states in ((), ("queued", "needs_attention")):
        listed, _ = await clips.page(views.Filter(states), 20, None, every_account=True)
        assert [clip.id for clip in listed] == [waiting.id, unknown.id]
        assert {clip.account.email for clip in listed if clip.account} == {"ada@example.org"}
    with pytest.raises(NotFound):
        await clips.get(waiting.id)
    assert (await clips.get(waiting.id, every_account=True)).id == waiting.id
    assert (await clips.content(waiting.id, every_account=True))["text"] == "hello"


async def test_they_can_be_dropped(rig: Rig, clips: Clips, accounts: Accounts) -> None:
    clip = await rig.clip(rig.world.add_page("Notes"))
    await bob_signs_in(rig, accounts)
    with pytest.raises(NotFound):
        await clips.act(clip.id, None, actions.cancel)
    await clips.act(clip.id, None, actions.cancel, every_account=True)
    await clips.delete(clip.id, every_account=True)
    assert (await clips.status())["other_accounts"] == []
    assert (await check_other_accounts(clips)).severity == "ok"


async def test_the_account_that_was_made_again_takes_over_in_order(
    rig: Rig, clips: Clips, accounts: Accounts
) -> None:
    page = rig.world.add_page("Notes")
    accepted = [(await rig.clip(page, f"n{number}")).id for number in range(3)]
    await bob_signs_in(rig, accounts)
    assert await clips.adopt(USER, None) == (3, 0)
    assert (await clips.status())["queued"] == 3
    line = await rig.outbox.read(lambda c: lanes.waiting(c, (BOB.id, SCOPE.workspace_id, page)))
    assert [item.clip_id for item in line] == accepted
    with pytest.raises(NotFound):
        await clips.adopt(USER, None)


async def test_what_may_have_been_sent_is_not_sent_again_by_the_new_owner(
    rig: Rig, clips: Clips, accounts: Accounts
) -> None:
    page = rig.world.add_page("Notes")
    rig.world.fault = once("unknown_applied")
    clip = await rig.clip(page, "one")
    await rig.step(page)
    assert (await rig.outbox.get(USER, clip.id)).state == "unconfirmed"
    await bob_signs_in(rig, accounts)
    assert await clips.adopt(USER, None) == (1, 0)
    delivery = (await clips.get(clip.id)).deliveries[0]
    assert (delivery.state, delivery.reason) == ("needs_attention", "outcome_unknown")
    assert set(delivery.actions) >= {"resend", "mark_delivered"}
    work = await rig.outbox.read(lambda c: lanes.next_work(c, (BOB.id, SCOPE.workspace_id, page)))
    assert work.request is None
    assert rig.world.texts(page) == ["one"]


async def test_clips_of_a_workspace_that_is_not_connected_stay_until_one_is_named(
    rig: Rig, clips: Clips, accounts: Accounts
) -> None:
    clip = await rig.clip(rig.world.add_page("Notes"))
    await bob_signs_in(rig, accounts, OTHER)
    assert await clips.adopt(USER, None) == (0, 1)
    with pytest.raises(WorkspaceMismatch):
        await clips.adopt(USER, SCOPE.workspace_id)
    assert await clips.adopt(USER, OTHER.id) == (1, 0)
    assert (await clips.get(clip.id)).workspace_id == OTHER.id


async def test_a_ref_that_the_new_owner_uses_never_names_another_page(
    rig: Rig, clips: Clips, accounts: Accounts
) -> None:
    parent = rig.world.add_page("Notes")
    new = {"ref": "inbox", "parent": {"page_id": parent}, "title": "Inbox"}
    await rig.clip(targets=[Target(Position(), new_page=new)])
    mine = await rig.clip(targets=[Target(Position(), page_ref="inbox")])
    await bob_signs_in(rig, accounts)
    assert await clips.adopt(USER, None) == (2, 0)  # both came along
    assert (await clips.get(mine.id)).deliveries[0].page_ref == "inbox"
    await rig.clip(targets=[Target(Position(), new_page=new)])
    await rig.clip(targets=[Target(Position(), page_ref="inbox")])
    assert await clips.adopt(USER, None) == (0, 2)
