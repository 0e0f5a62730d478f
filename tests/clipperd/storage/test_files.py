"""A database whose file is deleted, moved, replaced or cut while it is open."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from clipperd.errors import StorageFull
from clipperd.storage.backup import Backups
from clipperd.storage.database import Database
from tests.clipperd.storage.test_database import count, insert, m001_items


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "test.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    path.parent.mkdir()
    database = Database.open(
        path,
        name="test",
        steps=(m001_items,),
        synchronous="FULL",
        quarantine=path.parent / "quarantine",
    )
    yield database
    database.close()


def rows_after_a_kill(path: Path, into: Path) -> int:
    """Count the rows that a start finds after kill -9: the files of the names, nothing else."""
    into.mkdir()
    for suffix in ("", "-wal"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            shutil.copy(file, into / file.name)
    with closing(sqlite3.connect(into / path.name)) as connection:
        return count(connection)


def all_deleted(path: Path) -> None:
    for file in path.parent.glob("test.db*"):
        file.unlink()


def replaced_by_an_older_copy(path: Path) -> None:
    Backups(path, path.parent / "backups").make(1e9)
    (copy,) = (path.parent / "backups").iterdir()
    copy.replace(path)


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def without(suffix: str) -> Callable[[Path], None]:
    def delete(path: Path) -> None:
        path.with_name(path.name + suffix).unlink()

    return delete


def moved_away(path: Path) -> None:
    path.rename(path.with_name("test.old"))


def log_moved_away(path: Path) -> None:
    path.with_name("test.db-wal").rename(path.with_name("log.old"))


@pytest.mark.parametrize(
    "happens",
    [
        without(""),
        without("-wal"),
        without("-shm"),
        all_deleted,
        moved_away,
        log_moved_away,
        replaced_by_an_older_copy,
        replaced_by_a_folder,
    ],
)
async def test_what_is_answered_is_in_the_file_of_the_name(
    db: Database, path: Path, tmp_path: Path, happens: Callable[[Path], None]
) -> None:
    await db.write(insert(1))
    happens(path)
    await db.write(insert(2))
    assert rows_after_a_kill(path, tmp_path / "copy") == 2
    assert await db.read(count) == 2
    assert db.put_back == 1
    await db.write(insert(3))
    assert rows_after_a_kill(path, tmp_path / "again") == 3
    assert db.put_back == 1


async def test_a_write_during_which_the_file_goes_is_put_back_too(
    db: Database, path: Path, tmp_path: Path
) -> None:
    def delete_and_insert(connection: sqlite3.Connection) -> None:
        insert(1)(connection)
        path.unlink()

    await db.write(delete_and_insert)
    assert rows_after_a_kill(path, tmp_path / "copy") == 1


def replaced_by_foreign_text(path: Path) -> None:
    path.unlink()
    path.write_text("foreign")


async def test_a_foreign_file_is_kept_in_quarantine(db: Database, path: Path) -> None:
    replaced_by_foreign_text(path)
    await db.write(insert(1))
    kept = path.parent / "quarantine" / "replaced-1" / "test.db"
    assert kept.read_text() == "foreign"


async def test_a_file_gone_before_a_clean_end_is_back_after_it(path: Path, db: Database) -> None:
    await db.write(insert(1))
    all_deleted(path)
    db.close()
    with closing(sqlite3.connect(path)) as connection:
        assert count(connection) == 1
    assert [file.name for file in path.parent.glob("test.db*")] == ["test.db"]


async def test_in_a_renamed_folder_nothing_is_accepted_until_it_is_back(
    db: Database, path: Path, tmp_path: Path
) -> None:
    await db.write(insert(1))
    path.parent.rename(tmp_path / "elsewhere")
    path.parent.mkdir()  # another clipperd may run there now
    with pytest.raises(StorageFull, match="was deleted, moved or replaced"):
        await db.write(insert(2))
    assert list(path.parent.iterdir()) == []
    path.parent.rmdir()
    (tmp_path / "elsewhere").rename(path.parent)
    await db.write(insert(3))
    assert await db.read(count) == 2


@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_a_cut_file_is_never_written_to(db: Database, path: Path, suffix: str) -> None:
    for n in range(20):
        await db.write(insert(n, "x" * 4000))
    os.truncate(path.with_name(path.name + suffix), 0)
    with pytest.raises(StorageFull, match="another program has cut it"):
        await db.write(insert(100))


async def test_many_writes_and_checkpoints_never_look_like_a_replacement(db: Database) -> None:
    for n in range(700):
        await db.write(insert(n, "x" * 2000))
    await db.erase_deleted()
    await db.write(insert(1000))
    assert db.put_back == 0
