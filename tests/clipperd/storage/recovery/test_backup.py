"""Copies of the queue's file: complete, few, and made only after a change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from clipperd.errors import StorageFull
from clipperd.storage.backup import EVERY_S, Backups
from tests.clipperd.storage.recovery.damaged_home import CLIPS, NOW, DamagedHome, no_growth


def test_a_copy_of_an_open_file_is_whole_and_private(house: DamagedHome) -> None:
    database = house.open()
    try:
        asyncio.run(database.write(lambda c: c.execute("UPDATE clip SET title = 'seen'").rowcount))
        copy = house.backups.make(NOW)
    finally:
        database.close()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(path.name for path in copy.parent.iterdir()) == [copy.name]
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    counted = connection.execute("SELECT count(*) FROM clip WHERE title = 'seen'").fetchone()
    connection.close()
    assert counted == (CLIPS,)


def test_the_newest_three_are_kept_and_none_but_the_newest_for_long(house: DamagedHome) -> None:
    made = [house.backups.make(NOW + day * EVERY_S) for day in range(5)]
    assert list(house.backups.all()) == made[:1:-1]
    last = house.backups.make(NOW + 30 * EVERY_S)
    assert list(house.backups.all()) == [last]


def test_one_is_due_a_day_after_the_last_if_anything_changed(house: DamagedHome) -> None:
    assert house.backups.wait_s(NOW) == 0
    os.utime(house.path, (NOW - 10, NOW - 10))
    house.backups.make(NOW)
    assert house.backups.wait_s(NOW + 2 * EVERY_S) == EVERY_S
    os.utime(house.path, (NOW + 10, NOW + 10))
    assert house.backups.wait_s(NOW + 60) == EVERY_S - 60
    assert house.backups.wait_s(NOW + 2 * EVERY_S) == 0


def test_a_damaged_file_is_not_copied_over_a_whole_copy(house: DamagedHome) -> None:
    good = house.backups.make(NOW)
    house.overwrite(house.page_count() // 2, b"\xa5")
    with pytest.raises(sqlite3.DatabaseError):
        house.backups.make(NOW + EVERY_S)
    assert list(house.backups.all()) == [good]


def test_a_copy_with_text_that_cannot_be_read_is_dropped(house: DamagedHome) -> None:
    made = [house.backups.make(NOW + day) for day in range(2)]
    with contextlib.closing(sqlite3.connect(made[0])) as copy, copy:
        copy.execute("UPDATE clip SET title = CAST(x'ec' AS TEXT)")
    house.backups.amend(made, lambda copy: copy.execute("SELECT title FROM clip").fetchall())
    assert list(house.backups.all()) == made[1:]


def test_a_schema_is_changed_only_after_a_copy_was_made(house: DamagedHome) -> None:
    house.write("PRAGMA user_version = 1")
    house.open().close()
    assert len(house.backups.all()) == 1


def test_without_room_for_the_copy_the_schema_stays_as_it_is(house: DamagedHome) -> None:
    house.write("PRAGMA user_version = 1")
    before = house.states()
    with no_growth(house.path), pytest.raises((StorageFull, sqlite3.OperationalError)):
        house.open()
    assert house.rows("PRAGMA user_version") == [(1,)]
    assert house.states() == before
    house.open().close()
    assert len(house.backups.all()) == 1


def test_nothing_is_copied_where_there_is_nothing(tmp_path: Path) -> None:
    assert Backups(tmp_path / "outbox.db", tmp_path / "backups").all() == []
