"""The operator's commands: mass revocation, accounts, workspaces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from cloud_broker.cli.main import main
from cloud_broker.identity.revocations import IDLE_S
from cloud_broker.identity.ttl_cache import FRESH_S
from cloud_broker.storage import audit
from tests.clocks import ManualClock
from tests.cloud_broker.broker_stage import (
    KEY,
    OTHER_WORKSPACE,
    SEED,
    VERIFIER,
    WORKSPACE,
    BrokerStage,
    Person,
    an_environment,
    bearer,
    state_of,
)
from tests.cloud_broker.browser_sign_in import (
    Browser,
    a_browser_at_a_broker,
    a_sandbox,
    environment,
    signed_in,
    world,
)
from tests.servers.broker_database import database_url

ADA = Person()
EVE = Person("e4f20311-0000-4d11-8c79-7398424ae41e", "Eve", "eve@example.org")
CARL = Person("f5f20311-0000-4d11-8c79-7398424ae41e", "Carl", "carl@example.org")


@pytest.fixture
async def sandbox() -> AsyncIterator[TestServer]:
    server = a_sandbox()
    async with server:
        yield server


async def command(env: dict[str, str], *argv: str) -> int:
    """Run a command as an operator's shell would: its own connection, its own loop."""
    return await asyncio.to_thread(main, argv, env)


def beside(stage: BrokerStage, folder: Path) -> dict[str, str]:
    return an_environment(
        BROKER_NOTION_API_URL=stage.settings.notion_api_url,
        BROKER_DATABASE_URL=database_url(folder),
    )


async def statuses(brokers: list[Browser], people: list[dict[str, Any]]) -> set[int]:
    """How each broker answers each access token."""
    return {
        (await broker.get("/api/user/me", headers=bearer(person["access_token"]))).status
        for broker in brokers
        for person in people
    }


async def test_drill_a_mass_revocation_ends_all_sessions_and_tokens_on_running_brokers(
    sandbox: TestServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, env = ManualClock(), environment(sandbox, tmp_path)
    async with (
        a_browser_at_a_broker(sandbox, tmp_path, clock) as one,
        a_browser_at_a_broker(sandbox, tmp_path, clock) as two,
    ):
        users = [user.id for user in world(sandbox).users.values()][:2]
        people = [await signed_in(one, user=user) for user in users]
        assert await statuses([one, two], people) == {200}  # and remembered for five seconds
        assert len(world(sandbox).tokens) >= 2

        assert await command(env, "revoke-all") == 2  # there is no terminal here to ask on
        assert len(world(sandbox).tokens) >= 2
        assert await command(env, "revoke-all", "--yes") == 0
        told = capsys.readouterr().out
        assert "2 sessions ended, 2 connections deleted, of 2 accounts. 0 tokens wait" in told
        assert world(sandbox).tokens == {}

        clock.advance(FRESH_S)
        assert await statuses([one, two], people) == {401}
        for person in people:
            body = {"grant_type": "refresh_token", "refresh_token": person["refresh_token"]}
            assert (await two.post("/api/auth/token", json=body)).status == 400

        assert await command(env, "revoke-all", "--yes") == 0
        told = capsys.readouterr().out
        assert "0 sessions ended, 0 connections deleted, of 2 accounts. 0 tokens wait" in told
        assert await command(env, "audit", "verify") == 0

        again = await signed_in(two, user=users[0])
        assert await statuses([one, two], [again]) == {200}
        assert [workspace["id"] for workspace in again["workspaces"]] == [
            people[0]["workspaces"][0]["id"]
        ]


async def test_a_hand_off_on_its_way_does_not_outlive_a_mass_revocation(
    stage: BrokerStage, tmp_path: Path
) -> None:
    handoff = await stage.hand_off()
    assert await command(beside(stage, tmp_path), "revoke-all", "--yes") == 0
    answer = await stage.token(grant_type="handoff", token=handoff, code_verifier=VERIFIER)
    assert answer.status == 400


async def test_what_notion_does_not_hear_at_once_the_brokers_tell_it_later(
    stage: BrokerStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await stage.sign_in()
    stage.notion.revoke_status = 503
    assert await command(beside(stage, tmp_path), "revoke-all", "--yes") == 0
    assert "2 tokens wait" in capsys.readouterr().out
    stage.notion.revoke_status = 200
    stage.clock.advance(IDLE_S)
    await stage.until(lambda: len(stage.notion.revoked) == 2)


async def test_an_account_is_shown_exported_and_erased_by_its_id_or_address(
    stage: BrokerStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = await stage.sign_in()
    user, env = signed["user"]["id"], beside(stage, tmp_path)
    assert await command(env, "users", "show", ADA.email) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["user"]["id"], shown["sessions"]) == (user, 1)
    assert shown["workspaces"][0]["id"] == WORKSPACE
    assert await command(env, "users", "export", user) == 0
    exported = capsys.readouterr().out
    assert json.loads(exported)["profile"]["email"] == ADA.email
    assert "canary" not in exported
    assert await command(env, "users", "delete", user) == 0
    assert "0 tokens wait" in capsys.readouterr().out
    assert len(stage.notion.revoked) == 2
    stage.clock.advance(FRESH_S)
    assert (await stage.get("/api/user/me", signed["access_token"])).status == 401
    assert await command(env, "users", "show", user) == 1
    assert "No account" in capsys.readouterr().err


async def test_an_address_of_two_accounts_names_none(
    stage: BrokerStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = await stage.sign_in()
    stage.notion.person = Person("another", "Ada", ADA.email)
    stage.notion.workspace_id = OTHER_WORKSPACE
    await stage.sign_in()
    assert await command(beside(stage, tmp_path), "users", "delete", ADA.email) == 1
    told = capsys.readouterr().err
    assert "2 accounts have this address" in told
    assert first["user"]["id"] in told
    assert (await stage.get("/api/user/me", first["access_token"])).status == 200


async def test_no_command_prints_a_secret(
    stage: BrokerStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed, env = await stage.sign_in(), beside(stage, tmp_path)
    user = signed["user"]["id"]
    stage.notion.revoke_status = 500
    for words in (
        *("keys status", "keys rewrap", "keys trim", "audit verify", f"users show {user}"),
        *(f"users export {user}", f"users unblock {WORKSPACE}", "revoke-all --yes"),
        *("keys rewrap", f"users delete {user}", f"users show {user}"),
    ):
        assert await command(env, *words.split()) in (0, 1)
    told = capsys.readouterr()
    secrets = (signed["access_token"], signed["refresh_token"], "canary", KEY, SEED)
    assert [secret for secret in secrets if secret in told.out + told.err] == []


async def refused(stage: BrokerStage, person: Person) -> str:
    """Sign in, on a device of their own, as a person who is refused; return all that they read."""
    stage.notion.person = person
    begun = await stage.begin_sign_in(device="phone")
    page = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    assert page.status == 409
    return await page.text() + str(page.headers)


async def test_an_unblocked_workspace_goes_to_the_next_account_on_running_brokers(
    stage: BrokerStage, tmp_path: Path
) -> None:
    ada, env = await stage.sign_in(), beside(stage, tmp_path)
    await refused(stage, EVE)
    assert await command(env, "users", "unblock", WORKSPACE.replace("-", "").upper()) == 0
    assert (await stage.sign_in())["user"]["name"] == "Eve"
    await refused(stage, CARL)  # one more only
    assert (await stage.get("/api/user/me", ada["access_token"])).status == 200
    stage.notion.person = ADA  # who was connected stays so, and may connect again
    assert (await stage.sign_in())["workspaces"][0]["id"] == WORKSPACE
    async with stage.database.reading() as tx:
        rows = await tx.all(
            "SELECT facts, subject FROM audit_log WHERE event = 'workspace_released'"
        )
    assert len(rows) == 1
    assert WORKSPACE not in rows[0]["subject"]
    assert (await audit.verify(stage.database))[1] is None


async def test_a_block_is_lifted_with_the_claim(stage: BrokerStage, tmp_path: Path) -> None:
    ada = await stage.sign_in()
    async with stage.database.transaction() as tx:
        await tx.execute("UPDATE workspace_history SET is_blocked = 1, block_reason = 'abuse'")
    told = await refused(stage, ADA)
    assert "is blocked" in told
    assert "abuse" not in told
    assert await command(beside(stage, tmp_path), "users", "unblock", WORKSPACE) == 0
    assert (await stage.sign_in())["user"]["id"] == ada["user"]["id"]


async def test_a_workspace_that_nobody_has_cannot_be_unblocked(
    stage: BrokerStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await command(beside(stage, tmp_path), "users", "unblock", WORKSPACE) == 1
    assert "No account has connected this workspace" in capsys.readouterr().err


async def test_who_comes_second_learns_nothing_of_who_was_first(stage: BrokerStage) -> None:
    first = await stage.sign_in(device="The first laptop")
    told = await refused(stage, EVE)
    assert "Another account has connected this Notion workspace" in told
    secrets = (first["user"]["id"], ADA.id, ADA.email, "Ada", "Lovelace", WORKSPACE, "laptop")
    assert [secret for secret in secrets if secret in told] == []
    begun = await stage.begin_sign_in()
    problem = await stage.browser.get(
        "/api/auth/notion/callback", params={"state": state_of(begun), "code": "good-code"}
    )
    body = await problem.json()
    assert body["type"] == "urn:clipper:problem:workspace_taken"
    assert [secret for secret in secrets if secret in str(body)] == []
