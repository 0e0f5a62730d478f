"""The short cache of database rows, and every event that ends it early."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass

import pytest

from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.errors import NoConnection, ReauthRequired, SessionExpired
from cloud_broker.identity.connections import OpenToken, Tokens, open_access, place_of, seal_pair
from cloud_broker.identity.oauth import TokenPair
from cloud_broker.identity.ttl_cache import FRESH_S, TtlCache
from cloud_broker.storage import connections as rows
from cloud_broker.storage.database import Database, Tx
from cloud_broker.transport import AiohttpTransport
from cloud_broker.web.keys import ACCOUNTS, SESSIONS, TOKENS
from tests.clocks import ManualClock
from tests.cloud_broker.broker_stage import OTHER_WORKSPACE, WORKSPACE, BrokerStage, bearer
from tests.cloud_broker.identity.test_connections import another_instance


@dataclass
class Counting:
    """A database that counts how often it is asked."""

    inner: Database
    readings: int = 0
    blob_type: str = "BLOB"

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        return self.inner.transaction()

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        self.readings += 1
        return self.inner.reading()

    async def tidy(self) -> None:
        await self.inner.tidy()

    async def close(self) -> None:
        pass


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    async with AiohttpTransport() as opened:
        yield opened


async def read_by(tokens: Tokens, user_id: str, workspace: str | None = None) -> OpenToken:
    """Open the token as a relayed read does."""
    return await tokens.open(user_id, workspace, "proxy:pages.get", fresh=False)


@contextmanager
def no_reading(database: Counting) -> Iterator[None]:
    before = database.readings
    yield
    assert database.readings == before


async def test_a_busy_callers_connection_is_read_once_in_five_seconds(
    stage: BrokerStage, transport: AiohttpTransport
) -> None:
    user = (await stage.sign_in())["user"]["id"]
    database = Counting(stage.database)
    tokens = another_instance(stage, transport, database)
    await read_by(tokens, user)
    with no_reading(database):
        for workspace in (None, WORKSPACE, WORKSPACE.replace("-", "").upper()):
            stage.clock.advance(1)
            token = await read_by(tokens, user, workspace)
            assert token.access_token.reveal() == "ntn_canary_access_1"
    stage.clock.advance(FRESH_S - 3)
    await read_by(tokens, user)
    assert database.readings == 2


async def test_every_opening_is_noted_though_the_row_was_kept(stage: BrokerStage) -> None:
    user = (await stage.sign_in())["user"]["id"]
    for _ in range(3):
        await read_by(stage.app[TOKENS], user)
    exported = await stage.app[ACCOUNTS].export(user)
    noted = [row for row in exported["audit"] if row["event"] == "token_opened"]
    assert [row["facts"]["purpose"] for row in noted] == ["proxy:pages.get"] * 3


async def test_a_disconnected_workspace_is_gone_here_at_once_and_elsewhere_in_five_seconds(
    stage: BrokerStage, transport: AiohttpTransport
) -> None:
    answer = await stage.sign_in()
    user, elsewhere = answer["user"]["id"], another_instance(stage, transport)
    for tokens in (stage.app[TOKENS], elsewhere):
        await read_by(tokens, user)
    gone = await stage.delete(f"/api/workspaces/{WORKSPACE}", answer["access_token"])
    assert gone.status == 204
    with pytest.raises(NoConnection):
        await read_by(stage.app[TOKENS], user)
    with pytest.raises(NoConnection):
        await elsewhere.open(user, None, "proxy:blocks.children.append")  # a write reads anew
    stage.clock.advance(FRESH_S)
    with pytest.raises(NoConnection):
        await read_by(elsewhere, user)


async def test_an_erased_account_is_gone_at_once(stage: BrokerStage) -> None:
    answer = await stage.sign_in()
    user, access = answer["user"]["id"], answer["access_token"]
    await read_by(stage.app[TOKENS], user)
    await stage.app[SESSIONS].verify(access)
    assert (await stage.browser.delete("/api/user", headers=bearer(access))).status == 204
    with pytest.raises(NoConnection):
        await read_by(stage.app[TOKENS], user)
    with pytest.raises(SessionExpired):
        await stage.app[SESSIONS].verify(access)


async def test_a_token_that_another_instance_refreshed_is_taken_after_one_refusal(
    stage: BrokerStage, transport: AiohttpTransport
) -> None:
    user, here = (await stage.sign_in())["user"]["id"], stage.app[TOKENS]
    kept = await read_by(here, user)
    elsewhere = another_instance(stage, transport)
    await elsewhere.refresh(await read_by(elsewhere, user))
    assert (await read_by(here, user)).version == kept.version  # Notion refuses this one
    assert (await here.refresh(kept)).access_token.reveal() == "ntn_canary_access_2"
    assert (await read_by(here, user)).access_token.reveal() == "ntn_canary_access_2"
    assert stage.notion.refreshes() == 1


async def test_a_refreshed_token_takes_the_place_of_the_kept_one(stage: BrokerStage) -> None:
    user, tokens = (await stage.sign_in())["user"]["id"], stage.app[TOKENS]
    await tokens.refresh(await read_by(tokens, user))
    assert (await read_by(tokens, user)).access_token.reveal() == "ntn_canary_access_2"


async def test_connecting_again_takes_the_place_of_the_kept_token(stage: BrokerStage) -> None:
    user, tokens = (await stage.sign_in())["user"]["id"], stage.app[TOKENS]
    await read_by(tokens, user)
    await stage.sign_in()
    assert (await read_by(tokens, user)).access_token.reveal() == "ntn_canary_access_2"


async def test_an_ended_grant_is_not_believed_from_memory(
    stage: BrokerStage, transport: AiohttpTransport
) -> None:
    user = (await stage.sign_in())["user"]["id"]
    async with stage.database.transaction() as tx:
        await tx.execute("UPDATE notion_connections SET reauth_required = 1")
    elsewhere = another_instance(stage, transport)
    with pytest.raises(ReauthRequired):
        await read_by(elsewhere, user)
    await stage.sign_in()
    assert (await read_by(elsewhere, user)).access_token.reveal() == "ntn_canary_access_2"


async def test_a_workspace_that_was_connected_elsewhere_is_found_at_once(
    stage: BrokerStage, transport: AiohttpTransport
) -> None:
    user, elsewhere = (await stage.sign_in())["user"]["id"], another_instance(stage, transport)
    await read_by(elsewhere, user)
    stage.notion.workspace_id = OTHER_WORKSPACE
    await stage.sign_in()
    assert (await read_by(elsewhere, user, OTHER_WORKSPACE)).workspace_id == OTHER_WORKSPACE


async def test_nobody_reads_by_another_accounts_kept_row(stage: BrokerStage) -> None:
    await read_by(stage.app[TOKENS], (await stage.sign_in())["user"]["id"], WORKSPACE)
    with pytest.raises(NoConnection):
        await read_by(stage.app[TOKENS], "somebody-else", WORKSPACE)


async def test_a_kept_row_opens_while_its_successor_is_sealed_with_another_key(
    stage: BrokerStage, transport: AiohttpTransport
) -> None:
    user, elsewhere = (await stage.sign_in())["user"]["id"], another_instance(stage, transport)
    await read_by(elsewhere, user)
    ring = KeyRing([("two", b"t" * 32), ("one", b"k" * 32)])
    async with stage.database.transaction() as tx:
        (row,) = await rows.connections_of(tx, user)
        pair = TokenPair(open_access(ring, row), None)
        sealed = seal_pair(ring, place_of(row), pair)
        await rows.store_refreshed(
            tx,
            row["id"],
            version=row["version"],
            kid=sealed.kid,
            wrapped_key=sealed.wrapped_key,
            access=sealed.columns["access_token_sealed"],
            refresh=None,
            now=0,
        )
    assert (await read_by(elsewhere, user)).access_token.reveal() == "ntn_canary_access_1"


async def test_a_changed_tier_counts_within_five_seconds(stage: BrokerStage) -> None:
    access = (await stage.sign_in())["access_token"]
    assert (await stage.app[SESSIONS].verify(access)).tier == "FREE"
    async with stage.database.transaction() as tx:
        await tx.execute("UPDATE subscriptions SET tier = 'PRO', status = 'active'")
    stage.clock.advance(FRESH_S)
    assert (await stage.app[SESSIONS].verify(access)).tier == "PRO"


def test_the_five_seconds_count_from_before_the_reading() -> None:
    clock = ManualClock()
    recent: TtlCache[str, int] = TtlCache(clock, size=10)
    started = recent.start_read()
    clock.advance(2)  # a slow database
    recent.keep("a", 1, started)
    clock.advance(FRESH_S - 2.1)
    assert recent.get("a") == 1
    clock.advance(0.1)
    assert recent.get("a") is None


def test_nothing_is_kept_of_a_reading_that_a_change_overtook() -> None:
    recent: TtlCache[str, int] = TtlCache(ManualClock(), size=10)
    started = recent.start_read()
    recent.drop("a")
    recent.keep("a", 1, started)
    assert recent.get("a") is None
    recent.keep("a", 2, recent.start_read())
    assert recent.get("a") == 2
    started = recent.start_read()
    recent.drop_where(lambda value: value == 2)
    recent.keep("b", 3, started)
    assert (recent.get("a"), recent.get("b")) == (None, None)


def test_only_so_much_is_kept_and_nothing_for_longer() -> None:
    clock = ManualClock()
    recent: TtlCache[int, int] = TtlCache(clock, size=3)
    for number in range(5):
        recent.keep(number, number, recent.start_read())
    assert [recent.get(number) for number in range(5)] == [None, None, 2, 3, 4]
    clock.advance(FRESH_S)
    recent.keep(9, 9, recent.start_read())
    recent.keep(9, 9, recent.start_read())
    assert len(recent) == 1
