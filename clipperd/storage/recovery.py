"""Opening the queue's file whatever state it is in: sound, damaged, or halfway through a rescue.

A damaged file is never repaired in place. A new one is filled beside it with what can be read; only
when that is whole on disk does the damaged one move to quarantine and the new one take its name.
A crash at any moment leaves a state from which the next start goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import asdict

from clipperd.storage import salvage
from clipperd.storage.backup import Backups, sync_file, sync_folder
from clipperd.storage.database import Database
from clipperd.storage.disk import translate
from clipperd.storage.migration import Step, refuse_newer

_log = logging.getLogger(__name__)

REPORT = "report.json"
TOLD_S = 30 * 86400.0
"""So long is a rescue told of, and its damaged file kept for whoever needs it."""

_CHECKED_BYTES = 64 << 20  # a larger file is checked at start only after a crash
_LOGS = ("-wal", "-shm")


class Report(msgspec.Struct, frozen=True):
    """What a rescue came to; kept as report.json beside the damaged file. Counts are rows."""

    at: float
    quarantine: str
    from_copy: str | None
    rows: dict[str, int]
    unreadable: int
    undecided: int
    without_content: int
    without_place: int
    leftover: int


class Mending(msgspec.Struct, frozen=True):
    """What the repair of the new file's rows found; see ``outbox/repair.py``."""

    undecided: int
    without_content: int
    without_place: int
    leftover: Sequence[bytes]


Mend = Callable[[sqlite3.Connection, bool, Path | None], Mending]
"""Repairs the rows of a new file. The flag says that they come from the newest copy, which is the
path (None: there is no copy)."""


class Recovery:
    """Knows the file, its copies and its quarantine."""

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        steps: Sequence[Step],
        backups: Backups,
        quarantine: Path,
        mend: Mend,
    ) -> None:
        """``path`` may be absent; ``name`` and ``steps`` are the database's."""
        self._path = path
        self._name = name
        self._steps = steps
        self._backups = backups
        self._quarantine = quarantine
        self._mend = mend
        self._making = path.with_name(path.name + ".salvage")
        self._made = path.with_name(path.name + ".rescued")

    def open(self, now: float) -> Database:
        """Open the file, rescued before if need be, copied before its schema changes.

        ``now``: epoch seconds. Raises as ``Database.open`` does; StorageFull and OSError also where
        there is no room for a rescue, which then has changed nothing.
        """
        refuse_newer(self._path, self._name, self._steps)
        if self._made.exists():
            self._swap(now)
        elif self._is_damaged():
            self._rescue(now)
        elif self._will_change():
            self._backups.make(now)
        return Database.open(
            self._path,
            name=self._name,
            steps=self._steps,
            synchronous="FULL",
            damaged_text="replaced",
        )

    def _is_damaged(self) -> bool:
        if not self._path.exists():
            return False
        if self._path.is_file() and self._path.stat().st_size == 0:
            return bool(self._backups.all())  # never so after the first start
        log = self._path.with_name(self._path.name + "-wal")
        crashed = log.is_file() and log.stat().st_size > 0
        if self._path.is_file() and self._path.stat().st_size > _CHECKED_BYTES and not crashed:
            return False
        try:
            return not salvage.is_sound(self._path)
        except sqlite3.Error as error:
            raise translate(error) from error

    def _will_change(self) -> bool:
        """Whether opening it will bring the schema of an existing file up to date."""
        if not self._path.exists():
            return False
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        return 0 < version < len(self._steps)

    def _rescue(self, now: float) -> None:
        _log.error("the queue's file is damaged; what can be read of it is brought to a new one")
        self._clear()
        place = self._new_place(now)
        work = place / "work"
        work.mkdir(mode=0o700)
        Database.open(self._making, name=self._name, steps=self._steps, synchronous="FULL").close()
        copy = next(iter(self._backups.all()), None)
        with contextlib.closing(sqlite3.connect(self._making, isolation_level=None)) as into:
            into.execute("PRAGMA synchronous=FULL")
            into.execute("PRAGMA foreign_keys=OFF")
            into.execute("BEGIN")
            report = self._fill(into, copy, work, place, now)
            into.execute("COMMIT")
            into.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        shutil.rmtree(work)
        (place / REPORT).write_text(json.dumps(asdict(report), indent=2), "utf-8")
        sync_file(self._making)
        self._making.replace(self._made)
        self._swap(now)

    def _fill(
        self, into: sqlite3.Connection, copy: Path | None, work: Path, place: Path, now: float
    ) -> Report:
        _empty(into)
        found = salvage.harvest(self._path, into, copy=copy, work=work)
        outdated = not any(found.rows.values()) and copy is not None
        if outdated and copy is not None:
            found = salvage.harvest(copy, into, copy=None, work=work)
        mended = self._mend(into, outdated, copy)
        if mended.leftover:
            leftover = place / "leftover.json"
            leftover.touch(mode=0o600)
            texts = [content.decode("utf-8", "replace") for content in mended.leftover]
            leftover.write_text(json.dumps(texts, ensure_ascii=False, indent=2), "utf-8")
        return Report(
            at=now,
            quarantine=place.name,
            from_copy=copy.name if outdated and copy is not None else None,
            rows=found.rows,
            unreadable=sum(map(len, found.lost.values())),
            undecided=mended.undecided,
            without_content=mended.without_content,
            without_place=mended.without_place,
            leftover=len(mended.leftover),
        )

    def _swap(self, now: float) -> None:
        """Put the damaged file away and the new one in its place; both steps can be repeated."""
        if self._path.exists():
            place = self._latest_place() or self._new_place(now)
            for suffix in (*_LOGS, ""):  # its name goes last: as long as it is there, so is the log
                file = self._path.with_name(self._path.name + suffix)
                if file.exists():
                    file.rename(place / file.name)
            sync_folder(place)
        self._made.rename(self._path)
        sync_folder(self._path.parent)

    def _clear(self) -> None:
        for suffix in ("", *_LOGS):
            self._making.with_name(self._making.name + suffix).unlink(missing_ok=True)

    def _new_place(self, now: float) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        self._quarantine.mkdir(mode=0o700, exist_ok=True)
        for again in range(1000):
            place = self._quarantine / (f"{stamp}-{again}" if again else stamp)
            with contextlib.suppress(FileExistsError):
                place.mkdir(mode=0o700)
                return place
        raise FileExistsError(f"{self._quarantine} is full of {stamp}")

    def _latest_place(self) -> Path | None:
        places = [
            place for place in sorted(self._quarantine.glob("*")) if (place / REPORT).exists()
        ]
        return places[-1] if places else None


def discard(quarantine: Path, now: float, keep_s: float) -> None:
    """Remove damaged files that were told of for long enough, and for ``keep_s`` at least.

    The report stays, and so do texts without a clip: nobody knows whether they were delivered.
    """
    for file in quarantine.glob(f"*/{REPORT}"):
        report = _read(file)
        if report is not None and now - report.at > max(TOLD_S, keep_s):
            for damaged in file.parent.glob("*.db*"):
                damaged.unlink()


def latest_report(quarantine: Path) -> Report | None:
    """What the last rescue came to; None when there was none, or its report cannot be read."""
    for file in sorted(quarantine.glob(f"*/{REPORT}"), reverse=True):
        report = _read(file)
        if report is not None:
            return report
    return None


def _read(file: Path) -> Report | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Report(**json.loads(file.read_text("utf-8")))
    return None


def _empty(into: sqlite3.Connection) -> None:
    """Take out the rows that the schema itself begins with: they are among what is salvaged."""
    for (table,) in into.execute(salvage.TABLES).fetchall():
        into.execute(f"DELETE FROM {table}")  # noqa: S608 (of the schema)
