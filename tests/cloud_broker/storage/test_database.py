"""The database port, over SQLite and PostgreSQL alike: atomic, with and without cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.errors import DatabaseFailed, Duplicate
from cloud_broker.storage.database import Database, Tx
from tests.servers.broker_database import open_kept


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_kept(tmp_path)
    async with opened.transaction() as tx:
        await tx.execute("CREATE TABLE t (id TEXT PRIMARY KEY, n BIGINT)")
    yield opened
    await opened.close()


async def ids(database: Database) -> list[str]:
    async with database.reading() as tx:
        return [row["id"] for row in await tx.all("SELECT id FROM t ORDER BY id")]


async def add(database: Database, *names: str) -> None:
    async with database.transaction() as tx:
        for name in names:
            await tx.execute("INSERT INTO t (id) VALUES (:id)", id=name)


async def test_statements_tell_what_they_changed(database: Database) -> None:
    await add(database, "a", "b")
    async with database.transaction() as tx:
        assert await tx.execute("UPDATE t SET n = 1") == 2
        assert await tx.execute("UPDATE t SET n = 1 WHERE id = 'none'") == 0
        assert await tx.one("DELETE FROM t WHERE id = 'a' RETURNING id, n") == {"id": "a", "n": 1}
        assert await tx.one("SELECT id FROM t WHERE id = 'a'") is None


async def test_an_error_undoes_the_whole_block(database: Database) -> None:
    with pytest.raises(Duplicate):
        await add(database, "a", "a")
    assert await ids(database) == []
    await add(database, "b")
    assert await ids(database) == ["b"]


async def test_a_cancelled_block_is_undone(database: Database) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO t (id) VALUES ('lost')")
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(hang())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await add(database, "kept")
    assert await ids(database) == ["kept"]


async def test_a_reader_sees_one_moment_and_waits_for_nobody(database: Database) -> None:
    await add(database, "a")
    async with database.reading() as before:
        assert len(await before.all("SELECT id FROM t")) == 1
        await add(database, "b")
        assert len(await before.all("SELECT id FROM t")) == 1
    assert await ids(database) == ["a", "b"]


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseFailed):
        async with database.reading() as tx:
            await tx.execute("INSERT INTO t (id) VALUES ('x')")


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    database = await open_kept(tmp_path)
    await database.close()
    with pytest.raises(DatabaseFailed):
        async with database.transaction():
            pass


async def test_a_long_read_holds_up_no_other(database: Database) -> None:
    async with database.reading() as export:
        await export.all("SELECT id FROM t")
        assert await ids(database) == []


@pytest.mark.parametrize("count", [0, 1, 2, 50, 123])
async def test_rows_written_together_stand_in_order(database: Database, count: int) -> None:
    rows = [{"n": -number, "id": f"{number:03d}"} for number in range(count)]
    async with database.transaction() as tx:
        await tx.execute_many("INSERT INTO t (id, n) VALUES (:id, :n)", rows)
        found = await tx.all("SELECT id, n FROM t ORDER BY id")
    assert found == [{"id": row["id"], "n": row["n"]} for row in rows]


async def test_of_rows_written_together_all_stand_or_none(database: Database) -> None:
    rows = [{"id": f"{number % 60}"} for number in range(61)]
    with pytest.raises(Duplicate):
        async with database.transaction() as tx:
            await tx.execute_many("INSERT INTO t (id) VALUES (:id)", rows)
    assert await ids(database) == []


async def test_many_changes_made_together_are_all_made(database: Database) -> None:
    await add(database, *map(str, range(60)))
    async with database.transaction() as tx:
        await tx.execute_many(
            "UPDATE t SET n = :n WHERE id = :id", [{"id": str(i), "n": i} for i in range(60)]
        )
        assert await tx.all("SELECT n FROM t WHERE n <> CAST(id AS BIGINT)") == []
        assert len(await tx.all("SELECT n FROM t WHERE n IS NOT NULL")) == 60


async def test_a_lock_is_held_until_the_block_ends(tmp_path: Path, database: Database) -> None:
    other = await open_kept(tmp_path)
    order: list[str] = []
    held = asyncio.Event()

    async def first() -> None:
        async with database.transaction() as tx:
            await tx.lock("turn")
            held.set()
            await add_in(tx, "a")
            order.append("first")

    async def second() -> None:
        await held.wait()
        async with other.transaction() as tx:
            await tx.lock("turn")
            order.append("second")
            assert [row["id"] for row in await tx.all("SELECT id FROM t")] == ["a"]

    await asyncio.gather(first(), second())
    await other.close()
    assert order == ["first", "second"]


async def add_in(tx: Tx, name: str) -> None:
    await tx.execute("INSERT INTO t (id) VALUES (:id)", id=name)


async def test_a_colon_in_a_text_is_no_placeholder(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO t (id) VALUES ('a :name isn''t :one')")
        row = await tx.one("SELECT id, n FROM t WHERE id LIKE :form AND n IS NULL", form="a :%")
    assert row == {"id": "a :name isn't :one", "n": None}


async def test_a_name_used_twice_is_one_value(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO t (id, n) VALUES (:id, :n)", id="a", n=1)
        moved = "UPDATE t SET n = CASE WHEN n < :n THEN :n ELSE n END WHERE id = :id RETURNING n"
        assert await tx.one(moved, id="a", n=5) == {"n": 5}
        assert await tx.one(moved, id="a", n=3) == {"n": 5}


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (id) VALUES (:value)",  # twice
        "INSERT INTO t (id, n) VALUES ('a', CAST(:value AS BIGINT) + :value)",
        "INSERT INTO t (id, n) VALUES (:value, :value)",
        "INSERT INTO nowhere (id) VALUES (:value)",
        "INSERT INTO kept (id, n) VALUES (:value, NULL)",
        "INSERT INTO kept (id, n) VALUES (:value, -1)",
    ],
)
async def test_an_error_of_the_database_quotes_no_value(database: Database, sql: str) -> None:
    canary = "canary-value"
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE kept (id TEXT, n BIGINT NOT NULL CHECK (n > 0))")
        await tx.execute("INSERT INTO t (id) VALUES (:value)", value=canary)
    told = ""
    try:
        async with database.transaction() as tx:
            await tx.execute(sql, value=canary)
    except DatabaseFailed as error:
        told = f"{error} {error!r} {error.detail} {error.hint}"
    assert canary not in told
