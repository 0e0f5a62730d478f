"""Every way in which a disk refuses, from SQLite's and the system's errors to ours."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from clipperd.errors import StorageFull
from clipperd.storage.database import Database
from clipperd.storage.disk import translate, translate_os_error
from tests.clipperd.storage.recovery.damaged_home import no_growth


def m001_notes(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE note (text TEXT NOT NULL) STRICT")


def opened(path: Path) -> Database:
    return Database.open(
        path, name="t", steps=(m001_notes,), synchronous="FULL", busy_timeout_s=0.05
    )


@contextmanager
def held_by_another(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def pragma(word: str) -> Callable[[sqlite3.Connection], object]:
    return lambda connection: connection.execute(f"PRAGMA {word}").fetchall()


def note(text: str) -> Callable[[sqlite3.Connection], object]:
    return lambda connection: connection.execute("INSERT INTO note VALUES (?)", (text,)).rowcount


@pytest.mark.parametrize(
    ("name", "before", "around", "advice"),
    [
        ("SQLITE_FULL", "max_page_count=1", None, "Free some space"),
        ("SQLITE_READONLY", "query_only=ON", None, "writable"),
        ("SQLITE_IOERR_WRITE", "user_version=1", no_growth, "Free some space"),
        ("SQLITE_BUSY", "user_version=1", held_by_another, "Close that program"),
    ],
)
async def test_a_write_that_a_disk_refuses_says_what_to_do_and_passes_later(
    tmp_path: Path,
    name: str,
    before: str,
    around: Callable[[Path], AbstractContextManager[None]] | None,
    advice: str,
) -> None:
    path = tmp_path / "t.db"
    database = opened(path)
    await database.write(note("there"))
    await database.write(pragma(before))
    with around(path) if around else contextlib.nullcontext(), pytest.raises(StorageFull) as told:
        await database.write(note("x" * 20_000))
    assert told.value.params == {"cause": name}
    assert told.value.hint is not None
    assert advice in told.value.hint
    read = await database.read(lambda c: c.execute("SELECT text FROM note").fetchall())
    assert [row[0] for row in read] == ["there"]
    if around:
        await database.write(note("later"))
    database.close()
    again = opened(path)
    await again.write(note("at last"))
    again.close()


def test_an_unusable_path_is_reported_at_the_opening(tmp_path: Path) -> None:
    with pytest.raises(StorageFull) as told:
        opened(tmp_path)
    assert told.value.params == {"cause": "SQLITE_CANTOPEN"}


def test_an_error_other_than_the_disks_is_unchanged() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        with pytest.raises(sqlite3.OperationalError) as error:
            connection.execute("SELECT * FROM nothing")
        assert translate(error.value) is error.value
    cut = sqlite3.OperationalError("disk I/O error")
    cut.sqlite_errorname = "SQLITE_IOERR_SHORT_READ"  # a file that ends too early is damaged
    assert translate(cut) is cut
    assert translate_os_error(ConnectionResetError(errno.ECONNRESET, "reset")) is None
    assert translate_os_error(OSError("no number")) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_errors_of_the_system_are_reported_alike(number: int) -> None:
    full = translate_os_error(OSError(number, "refused"))
    assert full is not None
    assert full.params == {"cause": errno.errorcode[number]}
    assert full.hint is not None
    assert full.hint.endswith("continues automatically.")
