"""An outbox with some hundred clips, closed, and ways to damage it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from clipperd.daemon.schema import STEPS
from clipperd.model import Scope
from clipperd.outbox import accept
from clipperd.outbox.records import NO_PLAN
from clipperd.outbox.repair import repair_outbox
from clipperd.storage.backup import Backups
from clipperd.storage.database import Database
from clipperd.storage.recovery import Recovery, RepairResult
from tests.clipperd.drafts import a_draft

SCOPE = Scope("user-1", "33333333-3333-4333-8333-333333333333")
PAGE = "44444444-4444-4444-8444-444444444444"
NOW = 1_790_000_000.0
CLIPS = 120


class DamagedHome:
    """The outbox of a daemon's home, with its backups and quarantine."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.db"
        self.quarantine = folder / "quarantine"
        self.backups = Backups(self.path, folder / "backups")
        self._ids = itertools.count(1)

    def open(self) -> Database:
        """Open the outbox like the daemon does."""
        return self.opening().open(NOW)

    def opening(self) -> Recovery:
        return Recovery(
            self.path,
            name="outbox",
            steps=STEPS,
            backups=self.backups,
            quarantine=self.quarantine,
            repair=self._repair,
        )

    def fill(self, clips: int = CLIPS) -> None:
        """Store clips of about a page each; every second one is delivered."""
        database = self.open()
        try:
            asyncio.run(_fill(database, clips))
        finally:
            database.close()

    def rows(self, sql: str, *values: object) -> list[Any]:
        """Return rows of the closed file."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql, values).fetchall()

    def write(self, sql: str, *values: object) -> None:
        """Change a closed file."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(sql, values)

    def states(self) -> dict[str, str]:
        """Return the state of each clip's only delivery, by the clip's id."""
        return dict(
            self.rows("SELECT clip.id, d.state FROM clip JOIN delivery d ON d.clip_seq = clip.seq")
        )

    def texts(self) -> dict[str, tuple[bytes, bytes]]:
        """Return each clip's content and plan by the clip's id, except lost ones."""
        found = self.rows(
            "SELECT id, accepted, plan FROM clip JOIN content ON clip_seq = seq WHERE plan <> ?",
            NO_PLAN,
        )
        return {clip: (accepted, plan) for clip, accepted, plan in found}

    def overwrite(self, page: int, filling: bytes) -> None:
        """Damage a page (from 1)."""
        size = self.rows("PRAGMA page_size")[0][0]
        with self.path.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write((filling * size)[:size])

    def page_count(self) -> int:
        return int(self.rows("PRAGMA page_count")[0][0])

    def check(self) -> None:
        """Check that the file is sound and consistent."""
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
        assert self.rows("PRAGMA foreign_key_check") == []
        assert self.rows("SELECT count(*) FROM turn_counter") == [(1,)]

    def _repair(
        self, connection: sqlite3.Connection, outdated: bool, copy: Path | None
    ) -> RepairResult:
        return repair_outbox(
            connection,
            outdated=outdated,
            copy=copy,
            now=NOW,
            new_id=lambda: f"new-{next(self._ids)}",
        )


async def _fill(database: Database, clips: int) -> None:
    chance = Random(3)

    def work(connection: sqlite3.Connection) -> None:
        for number in range(clips):
            words = " ".join(str(chance.random()) for _ in range(150))
            draft = a_draft(SCOPE, PAGE, f"Clip {number}. {words}")
            accept.accept(
                connection, draft, clip_id=f"clip-{number}", ids=[f"d-{number}"], now=NOW + number
            )
        connection.execute(
            "UPDATE delivery SET state = 'delivered', chunks_done = 1, delivered_at = created_at"
            " WHERE seq % 2 = 0"
        )

    await database.write(work)


def rescued(house: DamagedHome, damage: Callable[[], None]) -> dict[str, str]:
    """Damage the closed file, open it like a start, close it; return the remaining states."""
    damage()
    house.open().close()
    house.check()
    return house.states()


@contextlib.contextmanager
def no_growth(_: Path) -> Iterator[None]:
    """Refuse every write of this process in the block, like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
