"""SQLite only: one writer, a private file, automatic rollback."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.errors import DatabaseFailed
from cloud_broker.storage.sqlite import SqliteDatabase, open_sqlite


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = await open_sqlite(tmp_path / "folder" / "test.db")
    async with opened.transaction() as tx:
        await tx.execute("CREATE TABLE t (id TEXT PRIMARY KEY, n BIGINT)")
    yield opened
    await opened.close()


async def ids(database: SqliteDatabase) -> list[str]:
    async with database.reading() as tx:
        return [row["id"] for row in await tx.all("SELECT id FROM t ORDER BY id")]


async def add(database: SqliteDatabase, *names: str) -> None:
    async with database.transaction() as tx:
        for name in names:
            await tx.execute("INSERT INTO t (id) VALUES (:id)", id=name)


async def test_many_writers_take_turns(database: SqliteDatabase) -> None:
    names = [f"{number:02d}" for number in range(50)]
    await asyncio.gather(*(add(database, name) for name in names))
    assert await ids(database) == names


async def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    database = await open_sqlite(tmp_path / "b.db")
    await database.close()
    assert stat.S_IMODE((tmp_path / "b.db").stat().st_mode) == 0o600


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.db").write_bytes(b"this is no database, but long enough to be looked at" * 9)
    with pytest.raises(DatabaseFailed):
        await open_sqlite(tmp_path / "b.db")


SLOW = """
    WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000)
    SELECT COUNT(*) AS many FROM c
"""


async def test_a_block_cancelled_twice_in_the_middle_of_a_statement_is_undone(
    database: SqliteDatabase,
) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO t (id) VALUES ('lost')")
            begun.set()
            await tx.one(SLOW)

    task = asyncio.ensure_future(work())
    await begun.wait()
    for _ in range(3):  # again while the block is being left
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await add(database, "kept")
    assert await ids(database) == ["kept"]


async def test_a_block_that_sqlite_has_undone_does_not_go_on_by_itself(
    database: SqliteDatabase,
) -> None:
    async def work() -> None:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO t (id) VALUES ('lost')")
            await tx.execute("ROLLBACK")  # as SQLite does by itself on a full disk
            await tx.execute("INSERT INTO t (id) VALUES ('half')")

    with pytest.raises(DatabaseFailed):
        await work()
    assert await ids(database) == []
