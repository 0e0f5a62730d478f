"""Opens outbox.db, and recovers it first if it is damaged.

Recovery never changes the damaged file. It copies the readable rows to a new file, syncs that,
moves the damaged file to quarantine and renames the new one. After a crash at any point the next
start continues.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import asdict

from clipperd.storage import salvage
from clipperd.storage.backup import Backups, stamp
from clipperd.storage.database import Database
from clipperd.storage.disk import sync_file, sync_folder, translate
from clipperd.storage.files import LOGS, REPLACED, RESCUED, beside
from clipperd.storage.migration import Step, refuse_newer

_log = logging.getLogger(__name__)

REPORT = "report.json"
REPORTED_S = 30 * 86400.0
"""How long the status reports a recovery and the damaged file is kept."""

_CHECKED_BYTES = 64 << 20  # check a larger file at start only after a crash: it takes too long


class RecoveryReport(msgspec.Struct, frozen=True):
    """The result of a recovery, stored as report.json beside the damaged file; counts of rows."""

    at: float
    quarantine: str
    from_copy: str | None
    rows: dict[str, int]
    unreadable: int
    undecided: int
    without_content: int
    without_place: int
    leftover: int


class RepairResult(msgspec.Struct, frozen=True):
    """The findings of a repair of recovered rows; see ``outbox/repair.py``."""

    undecided: int
    without_content: int
    without_place: int
    leftover: Sequence[bytes]


Repair = Callable[[sqlite3.Connection, bool, Path | None], RepairResult]
"""Repairs the rows of a new file: (connection, whether the rows come from a backup, the newest
backup or None)."""


class Recovery:
    """Opens one database file, with its backups and its quarantine folder."""

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        steps: Sequence[Step],
        backups: Backups,
        quarantine: Path,
        repair: Repair,
    ) -> None:
        """``path`` may not exist yet; ``name`` and ``steps``: see ``Database.open``."""
        self._path = path
        self._name = name
        self._steps = steps
        self._backups = backups
        self._quarantine = quarantine
        self._repair = repair
        self._unfinished = path.with_name(path.name + ".salvage")
        self._finished = path.with_name(path.name + RESCUED)

    def open(self, now: float) -> Database:
        """Open the file: recover it if damaged, back it up before a migration.

        ``now``: epoch seconds. Raises as ``Database.open`` does, and StorageFull or OSError if
        there is no room for a recovery, which then changes nothing.
        """
        refuse_newer(self._path, self._name, self._steps)
        if self._finished.exists():
            self._swap(now)
        elif self._is_damaged():
            self._recover(now)
        elif self._will_migrate():
            self._backups.make(now)
        return Database.open(
            self._path,
            name=self._name,
            steps=self._steps,
            synchronous="FULL",
            damaged_text="replaced",
            quarantine=self._quarantine,
        )

    def _is_damaged(self) -> bool:
        if not self._path.exists():
            return False
        if self._path.is_file() and self._path.stat().st_size == 0:
            return bool(self._backups.all())  # an empty file is normal only at the first start
        log = self._path.with_name(self._path.name + "-wal")
        crashed = log.is_file() and log.stat().st_size > 0
        if self._path.is_file() and self._path.stat().st_size > _CHECKED_BYTES and not crashed:
            return False
        try:
            return not salvage.is_sound(self._path)
        except sqlite3.Error as error:
            raise translate(error) from error

    def _will_migrate(self) -> bool:
        """Return whether opening an existing file will change its schema."""
        if not self._path.exists():
            return False
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        return 0 < version < len(self._steps)

    def _recover(self, now: float) -> None:
        _log.error("outbox.db is damaged; copying its readable rows to a new file")
        self._remove_unfinished()
        folder = self._new_folder(now)
        work = folder / "work"
        work.mkdir(mode=0o700)
        Database.open(
            self._unfinished, name=self._name, steps=self._steps, synchronous="FULL"
        ).close()
        backup = next(iter(self._backups.all()), None)
        with contextlib.closing(sqlite3.connect(self._unfinished, isolation_level=None)) as into:
            into.execute("PRAGMA synchronous=FULL")
            into.execute("PRAGMA foreign_keys=OFF")
            into.execute("BEGIN")
            report = self._copy_rows(into, backup, folder, now)
            into.execute("COMMIT")
            into.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        shutil.rmtree(work)
        (folder / REPORT).write_text(json.dumps(asdict(report), indent=2), "utf-8")
        sync_file(self._unfinished)
        self._unfinished.replace(self._finished)
        self._swap(now)

    def _copy_rows(
        self, into: sqlite3.Connection, backup: Path | None, folder: Path, now: float
    ) -> RecoveryReport:
        work = folder / "work"
        _delete_initial_rows(into)
        found = salvage.recover_rows(self._path, into, backup=backup, work=work)
        source = None
        if backup is not None and not any(found.rows.values()):
            source = backup
            found = salvage.recover_rows(backup, into, backup=None, work=work)
        repaired = self._repair(into, source is not None, backup)
        if repaired.leftover:
            leftover = folder / "leftover.json"
            leftover.touch(mode=0o600)
            texts = [content.decode("utf-8", "replace") for content in repaired.leftover]
            leftover.write_text(json.dumps(texts, ensure_ascii=False, indent=2), "utf-8")
        return RecoveryReport(
            at=now,
            quarantine=folder.name,
            from_copy=None if source is None else source.name,
            rows=found.rows,
            unreadable=sum(map(len, found.lost.values())),
            undecided=repaired.undecided,
            without_content=repaired.without_content,
            without_place=repaired.without_place,
            leftover=len(repaired.leftover),
        )

    def _swap(self, now: float) -> None:
        """Quarantine the damaged file and rename the new one; a crash in between is harmless."""
        if any(beside(self._path, suffix).exists() for suffix in ("", *LOGS)):
            folder = self._latest_folder() or self._new_folder(now)
            if (folder / self._path.name).exists():  # of an earlier recovery
                folder = self._new_folder(now)
            for suffix in (*LOGS, ""):  # the database last: while it is there, this repeats
                file = self._path.with_name(self._path.name + suffix)
                if file.exists():
                    file.rename(folder / file.name)
            sync_folder(folder)
        self._finished.rename(self._path)
        sync_folder(self._path.parent)

    def _remove_unfinished(self) -> None:
        for suffix in ("", *LOGS):
            self._unfinished.with_name(self._unfinished.name + suffix).unlink(missing_ok=True)

    def _new_folder(self, now: float) -> Path:
        name = stamp(now)
        self._quarantine.mkdir(mode=0o700, exist_ok=True)
        for again in range(1000):
            folder = self._quarantine / (f"{name}-{again}" if again else name)
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                return folder
        raise FileExistsError(f"{self._quarantine} is full of {name}")

    def _latest_folder(self) -> Path | None:
        return max((file.parent for file in self._quarantine.glob(f"*/{REPORT}")), default=None)


def discard(quarantine: Path, now: float, keep_s: float) -> None:
    """Delete damaged files after ``REPORTED_S``, or after ``keep_s`` if that is longer.

    Keeps the report, and the texts without a clip: they may never have been delivered.
    """
    for file in quarantine.glob(f"*/{REPORT}"):
        report = _read(file)
        if report is not None and now - report.at > max(REPORTED_S, keep_s):
            for damaged in file.parent.glob("*.db*"):
                damaged.unlink()
    for folder in quarantine.glob(f"{REPLACED}-*"):
        if now - folder.stat().st_mtime > max(REPORTED_S, keep_s):
            shutil.rmtree(folder)


def latest_report(quarantine: Path) -> RecoveryReport | None:
    """Return the newest readable report, or None."""
    for file in sorted(quarantine.glob(f"*/{REPORT}"), reverse=True):
        report = _read(file)
        if report is not None:
            return report
    return None


def _read(file: Path) -> RecoveryReport | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return RecoveryReport(**json.loads(file.read_text("utf-8")))
    return None


def _delete_initial_rows(into: sqlite3.Connection) -> None:
    """Delete the rows that the migrations insert: the recovered rows include them."""
    for (table,) in into.execute(salvage.TABLES).fetchall():
        into.execute(f"DELETE FROM {table}")  # noqa: S608 (of the schema)
