"""Backs up a SQLite file while it is in use, and checks every copy."""

from __future__ import annotations

import calendar
import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clipperd.errors import StorageFull
from clipperd.storage.disk import sync_file, sync_folder
from clipperd.storage.files import copying
from clipperd.storage.salvage import is_damage
from clipperd.storage.wal import VACUUM_MAX_BYTES

KEPT = 3  # copies
EVERY_S = 86400.0  # one copy a day
_OLDEST_S = 7 * 86400.0  # so that text deleted from the queue is in no copy after a week
_STAMP = "%Y%m%dT%H%M%SZ"


class Backups:
    """The three newest copies of one file, in a folder of their own."""

    def __init__(self, source: Path, folder: Path) -> None:
        """``source``: a file in WAL mode, open elsewhere; :meth:`make` creates the folder."""
        self._source = source
        self._folder = folder

    def all(self) -> Sequence[Path]:
        """Return every copy, newest first; a name holds the time of its copy (UTC)."""
        return sorted(self._folder.glob(f"{self._source.stem}-*.db"), reverse=True)

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next copy: a day after the last, if the file changed."""
        newest = next(iter(self.all()), None)
        if newest is None:
            return 0.0
        made = _made_at(newest)
        if self._changed_at() <= made:
            return EVERY_S
        return max(0.0, min(EVERY_S, made + EVERY_S - now))

    def make(self, now: float) -> Path:
        """Copy a snapshot of the file, check it and drop the oldest copy. Blocks.

        Reads and writes continue meanwhile. ``now``: epoch seconds. Raises StorageFull, and
        sqlite3.DatabaseError when source or copy is damaged; earlier copies stay.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if shutil.disk_usage(self._folder).free < 2 * self._source.stat().st_size:
            raise StorageFull(
                "There is no room for a backup of the queue.", hint="Free some space."
            )
        making = self._folder / "making.tmp"
        making.unlink(missing_ok=True)
        try:
            with copying:
                _copy(self._source, making)
            final = self._folder / f"{self._source.stem}-{stamp(now)}.db"
            making.replace(final)
        finally:
            making.unlink(missing_ok=True)
        sync_folder(self._folder)
        self._prune(now)
        return final

    def amend(self, copies: Sequence[Path], work: Callable[[sqlite3.Connection], object]) -> None:
        """Run ``work`` on each copy, overwriting deleted rows; delete a damaged copy. Blocks.

        Raises sqlite3.Error on a disk error; each copy stays consistent.
        """
        for copy in copies:
            if not copy.exists():  # pruned since
                continue
            try:
                with contextlib.closing(sqlite3.connect(copy)) as connection:
                    connection.execute("PRAGMA secure_delete=ON")
                    connection.execute("PRAGMA foreign_keys=ON")
                    with connection:
                        work(connection)
                    if connection.total_changes and copy.stat().st_size <= VACUUM_MAX_BYTES:
                        connection.execute("VACUUM")  # as WriteAheadLog.erase_deleted does
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
        copy.execute("PRAGMA journal_mode=DELETE")  # a single file, without a log
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError("the copy is damaged")
    sync_file(target)


def stamp(now: float) -> str:
    """Return the time of a copy as it stands in file names, in UTC."""
    return time.strftime(_STAMP, time.gmtime(now))


def _made_at(copy: Path) -> float:
    try:
        moment = time.strptime(copy.stem.rpartition("-")[2], _STAMP)
    except ValueError:
        return copy.stat().st_mtime
    return float(calendar.timegm(moment))
