"""The account and workspace of a request."""

from __future__ import annotations

import asyncio

import pytest

from clipperd.broker.auth import GrantedWorkspace, User
from clipperd.errors import NotSignedIn, WorkspaceMismatch
from clipperd.model import Scope
from tests.clipperd.fake_broker import WORKSPACE_A, WORKSPACE_B
from tests.clipperd.session.session_stage import SessionStage

ADA = User("user-ada", "ada@example.org", "Ada")
BOB = User("user-bob", "bob@example.org", "Bob")
HOME = GrantedWorkspace(WORKSPACE_A, "Home", None, "bot-a")
WORK = GrantedWorkspace(WORKSPACE_B, "Work", None, "bot-b")


async def test_without_any_account_there_is_no_scope(world: SessionStage) -> None:
    with pytest.raises(NotSignedIn):
        await world.accounts.scope()
    assert await world.accounts.current_user() is None


async def test_the_first_workspace_is_current_until_another_is_chosen(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [HOME, WORK])
    assert await world.accounts.scope() == Scope("user-ada", WORKSPACE_A)
    await world.accounts.set_current(WORKSPACE_B)
    assert await world.accounts.scope() == Scope("user-ada", WORKSPACE_B)


async def test_a_choice_survives_signing_in_again(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [HOME, WORK])
    await world.accounts.set_current(WORKSPACE_B)
    await world.accounts.remember(ADA, [HOME, WORK])
    assert (await world.accounts.scope()).workspace_id == WORKSPACE_B


async def test_a_workspace_is_found_by_its_id_with_or_without_dashes(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [HOME, WORK])
    found = await world.accounts.scope(WORKSPACE_B.replace("-", "").upper())
    assert found == Scope("user-ada", WORKSPACE_B)


async def test_the_workspace_of_another_account_is_a_mismatch(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [HOME])
    await world.accounts.remember(BOB, [WORK])
    with pytest.raises(WorkspaceMismatch):
        await world.accounts.scope(WORKSPACE_A)
    with pytest.raises(WorkspaceMismatch):
        await world.accounts.set_current(WORKSPACE_A)


async def test_an_account_without_workspaces_has_no_scope(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [])
    with pytest.raises(WorkspaceMismatch):
        await world.accounts.scope()


async def test_the_bot_is_known_per_account_and_workspace(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [HOME])
    assert await world.accounts.bot_id(Scope("user-ada", WORKSPACE_A)) == "bot-a"
    assert await world.accounts.bot_id(Scope("user-bob", WORKSPACE_A)) is None


async def test_a_disconnected_current_workspace_gives_way_to_another(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [HOME, WORK])
    await world.accounts.disconnect(Scope("user-ada", WORKSPACE_A))
    assert [(w.id, w.current) for w in await world.accounts.workspaces()] == [(WORKSPACE_B, True)]


async def test_there_is_one_current_account(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [HOME])
    await world.accounts.remember(BOB, [WORK])
    account = await world.accounts.current()
    assert account is not None
    assert (account.user_id, account.state) == ("user-bob", "signed_in")
    await world.accounts.remember(ADA, [HOME])
    assert await world.accounts.current_user() == "user-ada"


async def test_a_refresh_of_an_unknown_account_changes_nothing(world: SessionStage) -> None:
    assert await world.accounts.refresh(ADA, [HOME]) is False
    assert await world.accounts.current() is None


async def test_fields_missing_in_a_refresh_stay(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [HOME], limits={"clips": 100})
    assert await world.accounts.refresh(ADA, None) is False
    account = await world.accounts.current()
    assert account is not None
    assert account.limits == {"clips": 100}
    assert [w.name for w in account.workspaces] == ["Home"]


async def test_the_account_is_looked_up_once_and_again_after_every_change(
    world: SessionStage,
) -> None:
    await world.accounts.remember(ADA, [HOME, WORK])
    first = await world.accounts.current()
    assert await world.accounts.current() is first
    await world.accounts.set_current(WORKSPACE_B)
    assert (await world.accounts.scope()).workspace_id == WORKSPACE_B


async def test_a_change_whose_caller_has_gone_is_still_seen(world: SessionStage) -> None:
    await world.accounts.remember(ADA, [HOME])
    change = asyncio.create_task(world.accounts.remember(BOB, [WORK]))
    while await world.accounts.current_user() == "user-ada":  # keeps what it finds meanwhile
        change.cancel()
        await asyncio.sleep(0)
    assert await world.accounts.current_user() == "user-bob"
