"""The write-ahead log: checkpointed while no call waits for the file, and never left to grow."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipperd.storage.database import Database
from tests.clipperd.storage.test_database import count, insert, m001_items, open_db


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_db(tmp_path / "test.db")
    yield database
    database.close()


async def folded(db: Database, former: int = 0) -> int:
    """Wait for a checkpoint after ``former``; return its time (only then is the file written)."""
    # The file's own thread writes it, and tells nobody.
    while db.path.stat().st_mtime_ns <= former or db.path.stat().st_size < 4_000_000:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await db.write(lambda _: None)  # it is at rest: the folding has ended
    return db.path.stat().st_mtime_ns


async def test_a_restarted_log_is_not_checkpointed_after_every_write(db: Database) -> None:
    for n in range(6):
        await db.write(insert(n, "x" * 1_000_000))
    before = await folded(db)
    for n in range(20):
        await db.write(insert(100 + n))
    assert db.path.stat().st_mtime_ns == before


async def test_many_small_changes_are_checkpointed_too(db: Database) -> None:
    for n in range(6):
        await db.write(insert(n, "x" * 1_000_000))
    before = await folded(db)
    await db.write(lambda c: [insert(100 + n)(c) for n in range(2_100)])
    assert await folded(db, before) > before


async def test_no_writer_in_a_long_series_waits_for_a_checkpoint(
    tmp_path: Path,
) -> None:
    db = open_db(tmp_path / "test.db", checkpoint_idle_s=3600)
    for n in range(12):
        await db.write(insert(n, "x" * 1_000_000))
    assert db.path.stat().st_size < 1_000_000
    db.close()


async def test_the_log_stays_small_under_writes_that_never_pause(db: Database) -> None:
    for n in range(90):
        await db.write(insert(n, "x" * 1_000_000))
    assert db.path.with_name("test.db-wal").stat().st_size < 72_000_000


async def test_many_writers_and_readers_and_another_program_that_reads_meet_no_lock(
    db: Database,
) -> None:
    await db.write(insert(0))
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as shell:
        shell.execute("BEGIN")
        assert count(shell) == 1

        async def writer(number: int) -> None:
            for n in range(8):
                await db.write(insert(1 + number * 8 + n))

        async def reader() -> None:
            for _ in range(20):
                await db.read(count)

        await asyncio.gather(*(writer(n) for n in range(64)), *(reader() for _ in range(8)))
        assert count(shell) == 1  # it still sees what was there when it began
    assert await db.read(count) == 1 + 64 * 8


async def test_another_program_with_a_long_read_delays_no_write(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    db = Database.open(
        path, name="test", steps=(m001_items,), synchronous="FULL", busy_timeout_s=900
    )
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN")
        count(shell)
        async with asyncio.timeout(90):
            for n in range(80):  # past the size at which folding back waits for nobody's leave
                await db.write(insert(n, "x" * 1_000_000))
            await asyncio.gather(*(db.write(insert(100 + n)) for n in range(20)))
            await asyncio.to_thread(db.close)
    reopened = Database.open(path, name="test", steps=(m001_items,), synchronous="FULL")
    assert await reopened.read(count) == 100
    reopened.close()
    assert not path.with_name("test.db-wal").exists()
