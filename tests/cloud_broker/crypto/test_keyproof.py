"""Each key is verified at every start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.crypto.keyproof import prove
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.errors import KeysRefused
from cloud_broker.storage import keycheck
from cloud_broker.storage.database import Database
from cloud_broker.storage.migrations import migrate
from cloud_broker.storage.sqlite import open_sqlite
from tests.clocks import ManualClock

ONE, TWO = ("one", b"1" * 32), ("two", b"2" * 32)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_sqlite(tmp_path / "broker.db")
    await migrate(opened, SystemClock())
    yield opened
    await opened.close()


async def start(database: Database, *keys: tuple[str, bytes]) -> None:
    await prove(KeyRing(keys), database, clock=ManualClock())


async def seal_a_row(database: Database, kid: str) -> None:
    async with database.transaction() as tx:
        await keycheck.replace(tx, name="n", kid=kid, wrapped_key=b"", value=b"", now=0)


async def test_the_same_keys_in_any_order_start_again(database: Database) -> None:
    await start(database, ONE)
    await start(database, TWO, ONE)
    await start(database, ONE, TWO)


@pytest.mark.parametrize("mistyped", [("one", b"x" * 32), ("two", b"x" * 32)])
async def test_a_mistyped_key_is_refused_wherever_it_stands(
    database: Database, mistyped: tuple[str, bytes]
) -> None:
    await start(database, TWO, ONE)
    other = ONE if mistyped[0] == "two" else TWO
    for ring in ((mistyped, other), (other, mistyped)):
        with pytest.raises(KeysRefused, match=mistyped[0]):
            await start(database, *ring)
    await start(database, TWO, ONE)


async def test_a_refused_ring_leaves_no_proof_of_its_keys(database: Database) -> None:
    await start(database, ONE)
    with pytest.raises(KeysRefused):
        await start(database, ("two", b"x" * 32), ("one", b"x" * 32))
    await start(database, TWO, ONE)


async def test_a_key_that_a_row_needs_may_not_be_missing(database: Database) -> None:
    await start(database, TWO, ONE)
    await seal_a_row(database, "one")
    with pytest.raises(KeysRefused, match=r"does not hold: one \(1 rows\)"):
        await start(database, TWO)
    await start(database, TWO, ONE)
    await seal_a_row(database, "two")
    await start(database, TWO)
