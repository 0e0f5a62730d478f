"""Re-encrypting every row under a new key while brokers refresh: no token is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud_broker.cli.main import main
from cloud_broker.errors import KeysRefused
from cloud_broker.identity import rewrap
from cloud_broker.identity.connections import Tokens
from cloud_broker.identity.rewrap import Rewrap, RewrapResult
from cloud_broker.storage import audit
from cloud_broker.storage.database import Database, Tx
from tests.cloud_broker.identity.connected_people import NEW, OLD, Broker, Place, a_place

Act = Callable[[], Awaitable[object]]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with a_place(tmp_path) as ready:
        yield ready


@dataclass
class Meanwhile:
    """A database where something else happens each time before a write of this user's."""

    inner: Database
    act: Act
    blob_type: str = "any"

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        await self.act()
        async with self.inner.transaction() as tx:
            yield tx

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        return self.inner.reading()

    async def tidy(self) -> None:
        await self.inner.tidy()

    async def close(self) -> None:
        pass


async def moved_by(broker: Broker, *, meanwhile: Act | None = None) -> RewrapResult:
    database = Meanwhile(broker.database, meanwhile) if meanwhile else broker.database
    task = Rewrap(database, broker.identity.ring, broker.identity.audit)
    return await task.run(lambda count: None)


async def connected(place: Place, count: int) -> list[str]:
    """That many people under the old key."""
    async with place.broker(OLD) as broker:
        return [await place.connect(broker, number) for number in range(count)]


async def command(place: Place, keys: str, *argv: str) -> int:
    return await asyncio.to_thread(main, argv, place.environment(keys))


async def test_no_token_is_lost_while_brokers_refresh(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrap, "BATCH", 3)
    users = await connected(place, 12)
    last: dict[str, str] = {}

    async def refresh(tokens: Tokens, user_id: str) -> None:
        opened = await tokens.open(user_id, None, "proxy:test")
        for _ in range(3):
            opened = await tokens.refresh(opened)
            last[user_id] = opened.access_token.reveal()

    async with place.broker(NEW, OLD) as one, place.broker(NEW, OLD) as two:
        refreshing = [
            refresh((one, two)[number % 2].identity.tokens, user)
            for number, user in enumerate(users)
        ]
        async with place.broker(NEW, OLD) as third:
            moving = asyncio.ensure_future(moved_by(third))
            await asyncio.gather(*refreshing)
            result = await moving
        assert (result.left, result.broken) == ({}, set())
    assert place.notion.refreshes() == 36
    async with place.broker(NEW) as alone:  # the old key is not needed for anything
        assert {user: await alone.token_of(user) for user in users} == last
        assert await alone.kids() == {"new"}
        assert (await audit.verify(alone.database))[1] is None


async def test_a_pair_that_was_refreshed_meanwhile_stays(place: Place) -> None:
    (user,) = await connected(place, 1)
    async with place.broker(OLD) as stale, place.broker(NEW, OLD) as broker:
        opened = await stale.identity.tokens.open(user, None, "proxy:test")
        done: list[str] = []

        async def refresh_once() -> None:
            if not done:
                done.append((await stale.identity.tokens.refresh(opened)).access_token.reveal())

        result = await moved_by(broker, meanwhile=refresh_once)
        assert result.left == {}
        assert await broker.token_of(user) == done[0]
        assert await broker.kids() == {"new"}


async def test_a_refresh_that_is_under_way_finds_its_row(place: Place) -> None:
    (user,) = await connected(place, 1)
    place.notion.hold = asyncio.Event()
    async with place.broker(NEW, OLD) as broker:
        opened = await broker.identity.tokens.open(user, None, "proxy:test")
        refreshing = asyncio.ensure_future(broker.identity.tokens.refresh(opened))
        await place.notion.asked.wait()
        assert (await moved_by(broker)).left == {}
        place.notion.hold.set()
        assert (await refreshing).access_token.reveal() == "ntn_canary_access_2"
        assert await broker.token_of(user) == "ntn_canary_access_2"


async def test_a_broker_that_seals_with_the_old_key_is_noticed(place: Place) -> None:
    (user,) = await connected(place, 1)
    async with place.broker(OLD) as stale, place.broker(NEW, OLD) as broker:

        async def refresh() -> None:
            tokens = stale.identity.tokens
            await tokens.refresh(await tokens.open(user, None, "proxy:test"))

        assert (await moved_by(broker, meanwhile=refresh)).left == {"old": 1}
        assert (await moved_by(broker)).left == {}


async def test_a_row_that_does_not_open_is_named_and_the_others_are_moved(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    users = await connected(place, 3)
    async with place.broker(NEW, OLD) as broker:
        async with broker.database.transaction() as tx:
            await tx.execute(
                "UPDATE notion_connections SET bot_id = 'x', workspace_id = 'y'"
                " WHERE user_id = :user",
                user=users[1],
            )
        assert await command(place, f"{NEW},{OLD}", "keys", "rewrap") == 7
        told = capsys.readouterr().err
        assert "1 rows cannot be opened, such as notion_connections " in told
        assert await broker.token_of(users[2]) == "ntn_canary_access_3"
    assert "canary" not in told


async def test_every_opening_is_in_the_audit_log(place: Place) -> None:
    (user,) = await connected(place, 1)
    async with place.broker(NEW, OLD) as broker:
        await moved_by(broker)
        async with broker.database.reading() as tx:
            rows = await audit.of_user(tx, user)
    assert [row["facts"] for row in rows if row["event"] == "token_opened"] == [
        {"purpose": "rewrap"}
    ]


async def test_keys_turn_over_by_the_commands(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    users = await connected(place, 2)
    async with place.broker(OLD) as broker:
        hashed = broker.identity.pepper.hash("workspace", "w")
    both = f"{NEW},{OLD}"
    assert await command(place, both, "keys", "rewrap", "--dry-run") == 0
    assert "3 rows (old: 3) would be sealed again" in capsys.readouterr().out
    assert await command(place, both, "keys", "trim") == 7
    assert "3 rows (old: 3) are sealed with older keys" in capsys.readouterr().err
    assert await command(place, both, "keys", "rewrap") == 0
    assert await command(place, both, "keys", "status") == 0
    assert "old  opens only  0 rows" in capsys.readouterr().out
    assert await command(place, both, "keys", "rewrap") == 0
    assert "0 rows sealed again" in capsys.readouterr().out
    assert await command(place, both, "keys", "trim") == 0
    assert "No row needs old" in capsys.readouterr().out
    async with place.broker(NEW) as broker:
        assert await broker.token_of(users[0]) == "ntn_canary_access_1"
        assert broker.identity.pepper.hash("workspace", "w") == hashed


async def test_without_the_old_key_nothing_is_moved_and_no_broker_starts(place: Place) -> None:
    await connected(place, 1)
    assert await command(place, NEW, "keys", "rewrap") == 7
    with pytest.raises(KeysRefused, match="old"):
        async with place.broker(NEW):
            pass


KILLED_IN_THE_SECOND_BATCH = """
import os, signal, sys
from cloud_broker.storage import resealing

real, rows = resealing.reseal_connection, []

async def reseal(tx, row, **columns):
    rows.append(row)
    if len(rows) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return await real(tx, row, **columns)

resealing.reseal_connection = reseal
from cloud_broker.identity import rewrap
rewrap.BATCH = 5
from cloud_broker.cli.main import main
main(["keys", "rewrap"])
"""


@pytest.mark.e2e
async def test_killed_midway_it_goes_on_where_it_was(place: Place) -> None:
    users = await connected(place, 12)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED_IN_THE_SECOND_BATCH),
        env={**os.environ, **place.environment(f"{NEW},{OLD}")},
    )
    assert await process.wait() == -signal.SIGKILL
    async with place.broker(NEW, OLD) as broker, broker.database.reading() as tx:
        rows = await tx.all("SELECT id FROM notion_connections WHERE kid = 'new'")
    assert len(rows) == 5  # the batch that was whole
    assert await command(place, f"{NEW},{OLD}", "keys", "rewrap") == 0
    async with place.broker(NEW) as broker:
        assert [await broker.token_of(user) for user in users] == place.notion.issued
        assert (await audit.verify(broker.database))[1] is None
