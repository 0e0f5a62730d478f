"""Erased content is in no file of the home: the tests search every byte."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest

from clipperd.outbox import actions, retention
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.purge import Purge
from clipperd.outbox.records import Draft
from clipperd.storage.backup import Backups
from clipperd.storage.database import Database
from clipperd.storage.recovery import REPORTED_S
from tests.clipperd.drafts import a_draft
from tests.clipperd.storage.recovery.damaged_home import NOW, PAGE, SCOPE, DamagedHome
from tests.clocks import ManualClock

P = ParamSpec("P")
T = TypeVar("T")

KEEP_S = 7 * 86400.0
COUNT = 48


def canary(number: int, edition: int = 1) -> str:
    return f"canary-{number:03d}-{edition}-yranac"


def draft(number: int, edition: int = 1) -> Draft:
    """A clip of 300 bytes to 60 KB; its canary is behind the 200 characters that history keeps."""
    size = Random(number).choice((0, 50, 300, 1_000, 5_000))
    words = " ".join(f"{number}.{n}" for n in range(60 + size))
    return a_draft(SCOPE, PAGE, f"{words} {canary(number, edition)} {words}")


class Home:
    """A queue in use, with copies and a quarantine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.clock.wall = NOW
        self.house = DamagedHome(folder)
        self.db: Database = self.house.open()
        ids = itertools.count(1)
        self.outbox = Outbox(
            self.db, self.clock, new_id=lambda: f"id-{next(ids)}", publish=lambda *_: None
        )
        self.erasure = Purge(
            self.outbox,
            self.house.backups,
            self.house.quarantine,
            self.clock,
            keep_content_s=KEEP_S,
        )

    async def fill(self) -> None:
        """Clips one by one, as they come; every third is edited, every second delivered."""
        for number in range(COUNT):
            view, _, _ = await self.outbox.accept(draft(number))
            if number == COUNT // 2:
                self.house.backups.make(NOW - 86_400.0)
            if number % 3 == 0:
                await self.edit(view.id, number)
        await self.db.write(self._deliver)
        self.house.backups.make(NOW)

    async def edit(self, clip_id: str, number: int) -> None:
        newer = draft(number, 2)

        def work(connection: sqlite3.Connection) -> None:
            actions.edit(
                connection,
                actions.rows_of(connection, SCOPE.user_id, clip_id, None),
                version=1,
                now=NOW,
                content=(newer.accepted, newer.prepared, newer.plan),
                priority=None,
                not_before=None,
            )

        await self.outbox.act(SCOPE.user_id, clip_id, work)

    def _deliver(self, connection: sqlite3.Connection) -> None:
        """Half of the clips; the requests that carried them are there for a while, and go."""
        for seq, accepted in connection.execute(
            "SELECT clip_seq, accepted FROM content WHERE clip_seq % 2 = 0"
        ).fetchall():
            connection.execute(
                "INSERT INTO request VALUES (?, 'u', 'w', ?, 'append', 'p', ?, 'x', NULL, 'end', 0,"
                " '[]', '[]', 'sending', 0, NULL, 0, NULL, NULL)",
                (f"key-{seq}", f"lane-{seq}", accepted),
            )
        connection.execute("DELETE FROM request")
        connection.execute(
            "UPDATE delivery SET state = 'delivered', delivered_at = ? WHERE seq % 2 = 0", (NOW,)
        )
        connection.execute("UPDATE clip SET updated_at = ?", (NOW,))

    def found(self) -> set[str]:
        """Every canary that is in any file below the home."""
        wholes = b"\n".join(file.read_bytes() for file in self.folder.rglob("*") if file.is_file())
        return {
            name
            for number in range(COUNT)
            for name in (canary(number), canary(number, 2))
            if name.encode() in wholes
        }


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    made = Home(tmp_path)
    await made.fill()
    yield made
    made.db.close()


EVEN = {name for n in range(1, COUNT, 2) for name in (canary(n), canary(n, 2))}  # clip.seq is even
ALL = {canary(n, 2 if n % 3 == 0 else 1) for n in range(COUNT)}


async def test_content_whose_time_is_over_is_in_no_file_any_more(home: Home) -> None:
    assert home.found() >= ALL
    assert await home.erasure.once()
    assert home.found() >= ALL  # it is not over yet
    home.clock.wall += KEEP_S + 1
    assert await home.erasure.once()
    assert home.found() & EVEN == set()
    assert home.found() >= ALL - EVEN  # what waits has no such time
    before = home.house.path.stat().st_mtime_ns
    assert await home.erasure.once()
    assert home.house.path.stat().st_mtime_ns == before  # nothing is written anew for nothing
    copies = home.house.backups.all()
    assert len(copies) == 2
    for copy in copies:
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_text_that_an_edit_replaced_is_in_the_queue_no_more(home: Home) -> None:
    shutil.rmtree(home.house.backups.all()[0].parent)
    assert await home.db.erase_deleted()
    assert home.found() == ALL


async def test_content_of_a_clip_that_a_person_deletes_goes_from_every_file_too(home: Home) -> None:
    await home.db.write(lambda c: retention.delete_many(c, SCOPE.user_id, ["delivered"], None))
    assert await home.erasure.once()
    assert home.found() & EVEN == set()


async def test_a_clip_that_a_person_deletes_leaves_no_title_in_any_file(home: Home) -> None:
    await home.db.write(
        lambda c: c.execute("UPDATE clip SET title = 'title-' || seq || '-eltit'").rowcount
    )
    home.house.backups.make(NOW + 1)
    await home.db.write(lambda c: retention.delete_many(c, SCOPE.user_id, ["delivered"], None))
    assert await home.erasure.once()
    wholes = b"".join(file.read_bytes() for file in home.folder.rglob("*") if file.is_file())
    kept = [seq for seq in range(1, COUNT + 1) if f"title-{seq}-eltit".encode() in wholes]
    assert kept == list(range(1, COUNT + 1, 2))
    for copy in home.house.backups.all():
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


class Busy(Outbox):
    """Right after each reading a clip comes, and a copy is made."""

    backups: Backups

    async def read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        found = await super().read(query, *args, **kwargs)
        await self.accept(draft(1_000))
        self.backups.make(NOW + 1)
        return found


async def test_a_copy_that_is_made_meanwhile_keeps_the_newest_clips(home: Home) -> None:
    ids = itertools.count(1)
    busy = Busy(home.db, home.clock, new_id=lambda: f"new-{next(ids)}", publish=lambda *_: None)
    busy.backups = home.house.backups
    erasure = Purge(
        busy, home.house.backups, home.house.quarantine, home.clock, keep_content_s=KEEP_S
    )
    assert await erasure.once()
    with contextlib.closing(sqlite3.connect(home.house.backups.all()[0])) as newest:
        texts = newest.execute("SELECT accepted FROM content ORDER BY clip_seq DESC").fetchall()
    assert len(texts) == COUNT + 1
    assert canary(1_000).encode() in texts[0][0]


async def test_a_log_that_somebody_reads_is_emptied_later(home: Home) -> None:
    home.clock.wall += KEEP_S + 1
    with contextlib.closing(sqlite3.connect(home.house.path)) as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM clip").fetchone()
        assert not await home.erasure.once()
        await home.outbox.accept(draft(1_000))  # who clips does not wait for that
    assert await home.erasure.once()
    assert home.found() & EVEN == set()


async def test_a_damaged_file_is_kept_as_long_as_it_is_told_of(home: Home) -> None:
    place = home.house.quarantine / "20260101T000000Z"
    place.mkdir(parents=True)
    report: dict[str, Any] = {
        "at": NOW,
        "quarantine": place.name,
        "from_copy": None,
        "rows": {},
        **dict.fromkeys(("unreadable", "undecided", "without_content", "without_place"), 0),
        "leftover": 1,
    }
    (place / "report.json").write_text(json.dumps(report))
    (place / "leftover.json").write_text('["a text without a clip"]')
    for name in ("outbox.db", "outbox.db-wal", "outbox.db-shm"):
        (place / name).write_bytes(b"damaged")
    home.clock.wall = NOW + REPORTED_S
    assert await home.erasure.once()
    assert len(list(place.iterdir())) == 5
    home.clock.wall += 1
    assert await home.erasure.once()
    assert sorted(file.name for file in place.iterdir()) == ["leftover.json", "report.json"]
