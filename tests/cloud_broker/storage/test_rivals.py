"""Two brokers at the same rows: only one of them takes each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.storage import connections
from cloud_broker.storage.database import Database, Row
from cloud_broker.storage.idempotency import Idempotency, KeyId, Lease
from cloud_broker.storage.migrations import migrate, steps
from cloud_broker.storage.steps import Step
from tests.servers.broker_database import open_kept

WHO = KeyId("ada", "w", "key")


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Database, Database]]:
    one, two = await open_kept(tmp_path), await open_kept(tmp_path)
    await migrate(one, SystemClock())
    yield one, two
    await one.close()
    await two.close()


async def test_a_due_revocation_is_claimed_by_one(pair: tuple[Database, Database]) -> None:
    async with pair[0].transaction() as tx:
        await connections.add_revocation(
            tx, revocation_id="r", kid="k", wrapped_key=b"", token=b"", now=0
        )

    async def claim(database: Database) -> list[Row]:
        async with database.transaction() as tx:
            return await connections.claim_revocations(tx, now=1, again_at=1000, limit=5)

    for _ in range(20):
        found = await asyncio.gather(claim(pair[0]), claim(pair[1]))
        assert sorted(map(len, found)) == [0, 1]
        async with pair[0].transaction() as tx:
            await connections.postpone_revocation(tx, "r", until=0)


async def test_a_key_is_claimed_by_one_and_free_again_once_released(
    pair: tuple[Database, Database],
) -> None:
    brokers = [Idempotency(database) for database in pair]
    ours = {0: 0, 1: 0}

    async def claim_and_release(number: int) -> None:
        owner = f"broker-{number}"
        for _ in range(25):
            lease = Lease(owner, send_by=10, until=20)
            if await brokers[number].claim(WHO, "f", lease, expires_at=100) is None:
                found = await brokers[1 - number].find(WHO)
                assert found is not None  # the row is there for as long as it is ours
                await brokers[number].release(WHO, owner)
                ours[number] += 1

    await asyncio.gather(claim_and_release(0), claim_and_release(1))
    assert ours[0] + ours[1] > 0
    assert await brokers[0].find(WHO) is None


async def test_a_schema_grows_beside_a_broker_that_knows_the_one_before(
    pair: tuple[Database, Database],
) -> None:
    old, new = pair
    rows = Idempotency(old)
    done = asyncio.Event()

    async def write() -> int:
        count = 0
        while not done.is_set() or count < 10:
            who = KeyId("ada", "w", f"key-{count}")
            assert await rows.claim(who, "f", Lease("o", 10, 20), expires_at=100) is None
            await rows.done(who, "o", 200, ["id"])
            count += 1
        return count

    async def upgrade() -> None:
        later = [
            Step("later/001", "ALTER TABLE idempotency ADD COLUMN note TEXT"),
            Step("later/002", "CREATE INDEX idempotency_note ON idempotency (note)"),
        ]
        assert await migrate(new, SystemClock(), wanted=[*steps(), *later]) == 2
        done.set()

    count, _ = await asyncio.gather(write(), upgrade())
    async with new.reading() as tx:
        kept = await tx.one("SELECT COUNT(*) AS many FROM idempotency WHERE note IS NULL")
    assert kept == {"many": count}
