"""Files of every earlier version: migrated with all their rows, and used afterwards."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipperd.daemon.schema import CACHE_STEPS
from clipperd.model import Scope
from clipperd.outbox import views
from clipperd.pages import store as pages
from clipperd.storage.database import Database
from clipperd.storage.disposable import open_cache
from tests.clipperd.schemas.freeze import ADDED, FILES, FIRST, FOLDER, early, tables
from tests.clipperd.storage.recovery.damaged_home import DamagedHome

EVERY = [
    (name, count) for name, steps in FILES.items() for count in range(FIRST[name], len(steps) + 1)
]
FETCHED_AGAIN = {"page", "page_index", "page_count", "page_words", "page_grams", "page_term"}
"""Tables that the cache's m005 and m006 empty on purpose."""
THROWN_AWAY_UNTIL = 6

Rows = dict[str, list[dict[str, Any]]]


@contextlib.contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def left_by(name: str, count: int, folder: Path) -> Path:
    """Create the file as that version left it."""
    file = folder / f"{name}.db"
    with opened(file) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript((FOLDER / f"{name}-{count}.sql").read_text("utf-8"))
    return file


def rows_of(file: Path) -> Rows:
    with opened(file) as connection:
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
            for table in tables(connection)
        }


def shape_of(file: Path) -> set[tuple[str, ...]]:
    """Return tables, indexes and triggers, regardless of whitespace and order."""
    with opened(file) as connection:
        found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return {tuple(" ".join(str(part).replace('"', "").split()) for part in row) for row in found}


def brought_up(name: str, file: Path) -> None:
    """Open the file like a start does."""
    if name == "cache":
        open_cache(file, CACHE_STEPS).close()
    else:
        DamagedHome(file.parent).open().close()


def test_every_version_is_frozen_and_no_step_is_missing_or_gone() -> None:
    for name, steps in FILES.items():
        assert {step.__name__ for step in steps} == set(ADDED[name]), (
            "a step came or went: name it in ADDED, then python -m tests.clipperd.schemas.freeze"
        )
    frozen = {file.stem for file in FOLDER.glob("*.sql")}
    assert frozen == {f"{name}-{count}" for name, count in EVERY}


@pytest.mark.parametrize(("name", "count"), EVERY)
def test_a_file_of_an_earlier_version_comes_to_todays_schema_with_every_row(
    name: str, count: int, tmp_path: Path
) -> None:
    file = left_by(name, count, tmp_path)
    before = rows_of(file)
    assert all(before.values()), "each table has a row, or this proves nothing"
    brought_up(name, file)
    after = rows_of(file)
    for table, rows in before.items():
        if name == "cache" and count < THROWN_AWAY_UNTIL and table in FETCHED_AGAIN:
            assert after[table] == []
            continue
        told = [{column: row[column] for column in rows[0]} for row in after[table]]
        assert told == rows, table

    fresh = tmp_path / "fresh" / file.name
    fresh.parent.mkdir()
    brought_up(name, fresh)
    assert shape_of(file) == shape_of(fresh)
    with opened(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(FILES[name])


@pytest.mark.parametrize("count", range(FIRST["outbox"], len(FILES["outbox"])))
def test_the_queue_of_an_earlier_version_is_copied_first_and_shows_its_clips(
    count: int, tmp_path: Path
) -> None:
    file = left_by("outbox", count, tmp_path)
    before = rows_of(file)
    house = DamagedHome(tmp_path)
    database = house.open()
    database.close()
    (copy,) = house.backups.all()
    assert rows_of(copy) == before
    older = tmp_path / "older.db"  # whoever goes back to the earlier version goes on with that
    shutil.copyfile(copy, older)
    steps = early("outbox", count)
    Database.open(older, name="outbox", steps=steps, synchronous="FULL").close()
    with opened(file) as connection:
        found, _ = views.page(connection, "a user_id", views.Filter(), limit=10, cursor=None)
    assert [clip.id for clip in found] == ["a id"]
    assert [delivery.id for clip in found for delivery in clip.deliveries] == ["a id"]


@pytest.mark.parametrize("count", range(FIRST["cache"], len(FILES["cache"])))
async def test_a_cache_of_an_earlier_version_is_filled_on(count: int, tmp_path: Path) -> None:
    file = left_by("cache", count, tmp_path)
    cache = open_cache(file, CACHE_STEPS)
    scope = Scope("a user_id", "a workspace_id")
    assert await cache.read(lambda c: pages.data_source(c, scope, "a data_source_id")) is not None
    status = await cache.read(lambda c: pages.index_status(c, scope))
    assert (status.state, status.count) == ("never", 0)
    cache.close()


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    file = left_by("outbox", len(FILES["outbox"]), tmp_path)
    with opened(file) as connection:
        connection.execute("PRAGMA user_version = 1000")
    before = file.read_bytes()
    with pytest.raises(Exception, match="schema 1000"):
        DamagedHome(tmp_path).open()
    assert file.read_bytes() == before
    assert not (tmp_path / "backups").exists()
    assert not (tmp_path / "quarantine").exists()
