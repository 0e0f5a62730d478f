"""Notion's tokens: opened for one request, refreshed once for any number of callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
from yarl import URL

from cloud_broker.audit import Audit
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.errors import (
    DatabaseFailed,
    NoConnection,
    NotionUnavailable,
    ReauthRequired,
    SealBroken,
    WorkspaceRequired,
)
from cloud_broker.identity.connections import LEASE_S, OpenToken, Tokens
from cloud_broker.identity.oauth import NotionOAuth
from cloud_broker.identity.revocations import Revocations
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.randomness import SystemRandomness
from cloud_broker.secret import Secret
from cloud_broker.settings.parsers import raw_keys
from cloud_broker.storage import accounts
from cloud_broker.storage.database import Database, Tx
from cloud_broker.transport import AiohttpTransport, Body, Response, Transport
from cloud_broker.web.keys import TOKENS
from tests.clocks import ManualClock
from tests.cloud_broker.broker_stage import OTHER_WORKSPACE, WORKSPACE, BrokerStage


async def opened(stage: BrokerStage) -> OpenToken:
    user_id = (await stage.sign_in())["user"]["id"]
    return await stage.app[TOKENS].open(user_id, None, "test")


def another_instance(
    stage: BrokerStage, transport: Transport, database: Database | None = None
) -> Tokens:
    ring = KeyRing(raw_keys(stage.settings.encryption_keys))
    oauth = NotionOAuth(
        transport,
        api_url=stage.settings.notion_api_url,
        version="2026-03-11",
        client_id="client",
        client_secret=Secret("s"),
        callback_url="http://127.0.0.1/cb",
    )
    random, clock = SystemRandomness(), stage.clock
    opened = Metrics().opened
    audit = Audit(stage.database, clock, random, living=accounts.existing, opened=opened)
    return Tokens(
        database or stage.database,
        ring,
        oauth,
        clock=clock,
        randomness=random,
        audit=audit,
        revocations=Revocations(
            stage.database, ring, oauth, clock=clock, randomness=random, audit=audit
        ),
    )


@dataclass
class Asleep:
    """A machine that sleeps when the connection stands, before the first byte."""

    inner: AiohttpTransport
    clock: ManualClock
    asleep_s: float

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: Body = None,
        deadline: float = 30.0,
        max_bytes: int = 5 * 1024 * 1024,
        before_send: Callable[[], None] | None = None,
    ) -> Response:
        def wake() -> None:
            self.clock.advance(self.asleep_s)
            if before_send is not None:
                before_send()

        return await self.inner.send(method, url, headers, body, deadline, max_bytes, wake)


@dataclass
class Faltering:
    """A database whose transactions fail now and then."""

    inner: Database
    fails: set[int]  # which ones, counted from 1
    begun: int = 0
    blob_type: str = "BLOB"

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        self.begun += 1
        if self.begun in self.fails:
            raise DatabaseFailed("locked")
        async with self.inner.transaction() as tx:
            yield tx

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        return self.inner.reading()

    async def tidy(self) -> None:
        pass

    async def close(self) -> None:
        pass


async def test_the_only_workspace_needs_no_name(stage: BrokerStage) -> None:
    token = await opened(stage)
    assert token.access_token.reveal() == "ntn_canary_access_1"
    assert token.workspace_id == WORKSPACE
    assert "canary" not in repr(token)


async def test_among_several_workspaces_one_must_be_named(stage: BrokerStage) -> None:
    token = await opened(stage)
    stage.notion.workspace_id = OTHER_WORKSPACE
    await stage.sign_in()
    named = await stage.app[TOKENS].open(token.user_id, OTHER_WORKSPACE.replace("-", ""), "test")
    assert named.workspace_id == OTHER_WORKSPACE
    with pytest.raises(WorkspaceRequired):
        await stage.app[TOKENS].open(token.user_id, None, "test")


async def test_a_workspace_of_another_account_does_not_exist(stage: BrokerStage) -> None:
    token = await opened(stage)
    with pytest.raises(NoConnection):
        await stage.app[TOKENS].open("somebody-else", token.workspace_id, "test")


async def test_a_refresh_stores_the_new_pair(stage: BrokerStage) -> None:
    first = await opened(stage)
    second = await stage.app[TOKENS].refresh(first)
    third = await stage.app[TOKENS].refresh(second)
    assert [t.access_token.reveal()[-1] for t in (first, second, third)] == ["1", "2", "3"]
    assert third.version == first.version + 2
    again = await stage.app[TOKENS].open(first.user_id, None, "test")
    assert again.access_token == third.access_token


async def test_someone_who_is_late_gets_what_is_there_already(stage: BrokerStage) -> None:
    first = await opened(stage)
    second = await stage.app[TOKENS].refresh(first)
    late = await stage.app[TOKENS].refresh(first)
    assert late.access_token == second.access_token
    assert stage.notion.refreshes() == 1


async def test_fifty_callers_on_three_instances_make_one_refresh(stage: BrokerStage) -> None:
    first = await opened(stage)
    stage.notion.hold = asyncio.Event()
    async with AiohttpTransport() as transport:
        instances = [another_instance(stage, transport) for _ in range(3)]
        callers = [
            asyncio.ensure_future(instances[number % 3].refresh(first)) for number in range(50)
        ]
        await stage.until(lambda: stage.notion.refreshes() == 1)
        stage.clock.advance(15)  # a stall at Notion, longer than many a lock lives
        await stage.turn()
        stage.notion.hold.set()
        while not all(caller.done() for caller in callers):
            stage.clock.advance(0.1)
            await stage.turn()
    tokens = {caller.result().access_token.reveal() for caller in callers}
    assert tokens == {"ntn_canary_access_2"}
    assert stage.notion.refreshes() == 1


async def test_a_refresh_is_finished_though_its_caller_has_gone(stage: BrokerStage) -> None:
    first = await opened(stage)
    stage.notion.hold = asyncio.Event()
    caller = asyncio.ensure_future(stage.app[TOKENS].refresh(first))
    await stage.until(lambda: stage.notion.refreshes() == 1)
    caller.cancel()
    stage.notion.hold.set()
    await stage.app[TOKENS].close()
    now = await stage.app[TOKENS].open(first.user_id, None, "test")
    assert now.access_token.reveal() == "ntn_canary_access_2"


async def test_without_a_new_refresh_token_the_old_one_is_kept(stage: BrokerStage) -> None:
    first = await opened(stage)
    stage.notion.gives_refresh_token = False
    second = await stage.app[TOKENS].refresh(first)
    third = await stage.app[TOKENS].refresh(second)
    assert third.access_token.reveal() == "ntn_canary_access_3"


async def test_an_ended_grant_asks_for_the_person_and_is_not_tried_again(
    stage: BrokerStage,
) -> None:
    first = await opened(stage)
    stage.notion.live_refresh.clear()
    for _ in range(2):
        with pytest.raises(ReauthRequired):
            await stage.app[TOKENS].refresh(first)
    with pytest.raises(ReauthRequired):
        await stage.app[TOKENS].open(first.user_id, None, "test")
    assert stage.notion.refreshes() == 1


async def test_connecting_again_mends_an_ended_grant(stage: BrokerStage) -> None:
    first = await opened(stage)
    stage.notion.live_refresh.clear()
    with pytest.raises(ReauthRequired):
        await stage.app[TOKENS].refresh(first)
    answer = await stage.sign_in()
    assert answer["workspaces"][0]["reauth_required"] is False
    mended = await stage.app[TOKENS].open(first.user_id, None, "test")
    assert mended.access_token.reveal() == "ntn_canary_access_2"


async def test_a_grant_without_refresh_token_ends_at_the_first_refusal(stage: BrokerStage) -> None:
    stage.notion.gives_refresh_token = False
    first = await opened(stage)
    with pytest.raises(ReauthRequired):
        await stage.app[TOKENS].refresh(first)
    assert stage.notion.refreshes() == 0


async def test_an_outage_at_notion_ends_no_grant(stage: BrokerStage) -> None:
    first = await opened(stage)
    stage.notion.token_status = 503
    with pytest.raises(NotionUnavailable):
        await stage.app[TOKENS].refresh(first)
    stage.notion.token_status = 200
    second = await stage.app[TOKENS].refresh(first)
    assert second.access_token.reveal() == "ntn_canary_access_2"


async def test_a_lease_left_by_a_dead_instance_ends_before_its_callers_must_be_answered(
    stage: BrokerStage,
) -> None:
    first = await opened(stage)
    begun = stage.clock.now()
    async with stage.database.transaction() as tx:
        until = int((begun + LEASE_S) * 1000)
        await tx.execute(
            "UPDATE notion_connections SET lease_owner = 'dead', lease_until = :until", until=until
        )
    waiting = asyncio.ensure_future(stage.app[TOKENS].refresh(first))
    stage.clock.advance(LEASE_S - 0.5)
    for _ in range(20):
        await stage.turn()
    assert stage.notion.refreshes() == 0  # nobody takes it before
    while not stage.notion.refreshes():
        stage.clock.advance(0.02)
        await stage.turn()
    await stage.until(waiting.done)
    assert waiting.result().access_token.reveal() == "ntn_canary_access_2"
    assert stage.clock.now() - begun < stage.settings.answer_within_s


async def test_a_row_that_was_given_to_another_account_does_not_open(stage: BrokerStage) -> None:
    first = await opened(stage)
    async with stage.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO user_profiles (id, notion_user_id, created_at, updated_at)"
            " VALUES ('thief', 'thief', 0, 0)"
        )
        await tx.execute("UPDATE notion_connections SET user_id = 'thief'")
    with pytest.raises(SealBroken):
        await stage.app[TOKENS].open("thief", first.workspace_id, "test")


async def test_swapped_columns_do_not_open(stage: BrokerStage) -> None:
    first = await opened(stage)
    async with stage.database.transaction() as tx:
        await tx.execute("UPDATE notion_connections SET access_token_sealed = refresh_token_sealed")
    with pytest.raises(SealBroken):
        await stage.app[TOKENS].open(first.user_id, None, "test")


async def test_an_instance_that_slept_does_not_play_a_token_that_another_may_have_used(
    stage: BrokerStage,
) -> None:
    first = await opened(stage)
    async with AiohttpTransport() as transport:
        sleepy = another_instance(stage, Asleep(transport, stage.clock, asleep_s=40))
        with pytest.raises(NotionUnavailable):
            await sleepy.refresh(first)
    assert stage.notion.refreshes() == 0


async def test_a_refreshed_pair_outlives_a_database_that_fails_for_a_moment(
    stage: BrokerStage,
) -> None:
    first = await opened(stage)
    async with AiohttpTransport() as transport:
        faltering = Faltering(stage.database, fails={2, 3})
        caller = asyncio.ensure_future(another_instance(stage, transport, faltering).refresh(first))
        await stage.until(lambda: stage.notion.refreshes() == 1)
        while not caller.done():
            stage.clock.advance(0.1)
            await stage.turn()
    assert caller.result().access_token.reveal() == "ntn_canary_access_2"
    now = await stage.app[TOKENS].open(first.user_id, None, "test")
    assert now.access_token.reveal() == "ntn_canary_access_2"


async def test_a_new_access_token_is_used_by_nobody_before_its_pair_is_stored(
    stage: BrokerStage,
) -> None:
    first = await opened(stage)
    async with AiohttpTransport() as transport:
        never = Faltering(stage.database, fails=set(range(2, 100)))
        caller = asyncio.ensure_future(another_instance(stage, transport, never).refresh(first))
        while not caller.done():
            stage.clock.advance(1)
            await stage.turn()
    with pytest.raises(DatabaseFailed):
        caller.result()
    now = await stage.app[TOKENS].open(first.user_id, None, "test")
    assert now.access_token == first.access_token


async def test_a_grant_given_during_a_refresh_is_the_one_that_stays(stage: BrokerStage) -> None:
    first = await opened(stage)
    stage.notion.hold = held = asyncio.Event()
    caller = asyncio.ensure_future(stage.app[TOKENS].refresh(first))
    await stage.until(lambda: stage.notion.refreshes() == 1)
    stage.notion.hold = None
    await stage.sign_in()  # connects again meanwhile
    held.set()
    assert (await caller).access_token.reveal() == "ntn_canary_access_2"
    now = await stage.app[TOKENS].open(first.user_id, None, "test")
    assert now.access_token.reveal() == "ntn_canary_access_2"
    assert stage.notion.issued[-1] == "ntn_canary_access_3"  # the refresh's, superseded


async def test_a_pair_that_comes_after_the_disconnection_is_revoked_too(stage: BrokerStage) -> None:
    access = (await stage.sign_in())["access_token"]
    user_id = (await (await stage.get("/api/user/me", access)).json())["user"]["id"]
    first = await stage.app[TOKENS].open(user_id, None, "test")
    stage.notion.hold = asyncio.Event()
    caller = asyncio.ensure_future(stage.app[TOKENS].refresh(first))
    await stage.until(lambda: stage.notion.refreshes() == 1)
    assert (await stage.delete(f"/api/workspaces/{WORKSPACE}", access)).status == 204
    stage.notion.hold.set()
    with pytest.raises(NoConnection):
        await caller
    await stage.until(lambda: len(stage.notion.revoked) == 4)
    assert {"ntn_canary_access_2", "nrt_canary_refresh_2"} < set(stage.notion.revoked)


async def test_a_workspace_whose_key_is_gone_can_be_disconnected(stage: BrokerStage) -> None:
    access = (await stage.sign_in())["access_token"]
    async with stage.database.transaction() as tx:
        await tx.execute("UPDATE notion_connections SET kid = 'gone'")
    assert (await stage.delete(f"/api/workspaces/{WORKSPACE}", access)).status == 204
