"""Copies of a SQLite file, made while it is in use and known to be whole."""

from __future__ import annotations

import calendar
import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clipperd.errors import StorageFull
from clipperd.storage.salvage import is_damage
from clipperd.storage.wal import REWRITTEN_BYTES

KEPT = 3
EVERY_S = 86400.0
_OLDEST_S = 7 * 86400.0  # what was erased in the queue is gone from its copies a week later
_STAMP = "%Y%m%dT%H%M%SZ"


class Backups:
    """The copies of one file, in a folder of their own; the newest three are kept."""

    def __init__(self, source: Path, folder: Path) -> None:
        """``source`` is open elsewhere, in WAL mode; the folder is made when it is needed."""
        self._source = source
        self._folder = folder

    def all(self) -> Sequence[Path]:
        """Every copy, newest first; the name tells the moment (UTC)."""
        return sorted(self._folder.glob(f"{self._source.stem}-*.db"), reverse=True)

    def wait_s(self, now: float) -> float:
        """Seconds until the next copy is due: a day after the last one, if anything changed."""
        newest = next(iter(self.all()), None)
        if newest is None:
            return 0.0
        made = _made_at(newest)
        if self._changed_at() <= made:
            return EVERY_S
        return max(0.0, min(EVERY_S, made + EVERY_S - now))

    def make(self, now: float) -> Path:
        """Copy one moment of the file, prove the copy, and drop the oldest; blocking.

        Readers and the writer go on meanwhile. ``now``: epoch seconds. Raises StorageFull, and
        sqlite3.DatabaseError when the source or the copy is damaged; copies made before stay.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if shutil.disk_usage(self._folder).free < 2 * self._source.stat().st_size:
            raise StorageFull("There is no room for a copy of the queue.", hint="Free some space.")
        making = self._folder / "making.tmp"
        making.unlink(missing_ok=True)
        try:
            _copy(self._source, making)
            final = self._folder / f"{self._source.stem}-{_stamp(now)}.db"
            making.replace(final)
        finally:
            making.unlink(missing_ok=True)
        sync_folder(self._folder)
        self._prune(now)
        return final

    def amend(self, copies: Sequence[Path], work: Callable[[sqlite3.Connection], object]) -> None:
        """Change ``copies``, overwriting what is deleted; one that is damaged is dropped.

        Blocking. Raises sqlite3.Error where the disk is in trouble; each copy stays whole.
        """
        for copy in copies:
            if not copy.exists():  # pruned meanwhile
                continue
            try:
                with contextlib.closing(sqlite3.connect(copy)) as connection:
                    connection.execute("PRAGMA secure_delete=ON")
                    connection.execute("PRAGMA foreign_keys=ON")
                    with connection:
                        work(connection)
                    if connection.total_changes and copy.stat().st_size <= REWRITTEN_BYTES:
                        connection.execute("VACUUM")  # as in the file itself: see wal.py
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                copy.unlink()

    def _prune(self, now: float) -> None:
        for place, copy in enumerate(self.all()):
            if place >= KEPT or (place > 0 and now - _made_at(copy) > _OLDEST_S):
                copy.unlink(missing_ok=True)

    def _changed_at(self) -> float:
        changed = 0.0
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                file = self._source.with_name(self._source.name + suffix)
                changed = max(changed, file.stat().st_mtime)
        return changed


def _copy(source: Path, target: Path) -> None:
    target.touch(mode=0o600)
    with (
        contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True)) as original,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        original.execute("PRAGMA query_only=ON")
        original.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError("the copy is not whole")
    sync_file(target)


def sync_file(path: Path) -> None:
    """Have the disk take what the file holds."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Have the disk take the folder's names; where a folder cannot be opened, the system does."""
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _stamp(now: float) -> str:
    return time.strftime(_STAMP, time.gmtime(now))


def _made_at(copy: Path) -> float:
    try:
        moment = time.strptime(copy.stem.rpartition("-")[2], _STAMP)
    except ValueError:
        return copy.stat().st_mtime
    return float(calendar.timegm(moment))
