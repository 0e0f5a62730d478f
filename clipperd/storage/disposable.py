"""cache.db as it is used: whatever befalls the file, it is made anew, and filled again behind.

Nothing is lost with it but time: every row can be read again from Notion.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from clipperd.errors import ClipperdError, SchemaTooNew, StorageFull
from clipperd.storage.database import Connection, ConnectionThread, Database, Executor, Work
from clipperd.storage.disk import trouble
from clipperd.storage.migration import Step

_log = logging.getLogger(__name__)

T = TypeVar("T")
Hire = Callable[[str, Connection], Executor]

_PATIENCE_S = 0.25  # nobody waits longer for another program to let go of what is disposable
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")


class Cache:
    """Reads and writes as a Database does; one that turns out damaged is replaced under way."""

    def __init__(self, path: Path, steps: Sequence[Step], hire: Hire) -> None:
        """Use :func:`open_cache`. ``on_renewed`` may be set: it is told that the cache is empty."""
        self.path = path
        self.on_renewed: Callable[[], None] = lambda: None
        self._steps = steps
        self._hire = hire
        self._renewing = asyncio.Lock()
        self._is_closed = False
        self._database: Database | None = _open_or_renew(path, steps, hire)

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction. Raises StorageFull as a Database does."""
        return await self._do("write", work)

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on the query-only connection."""
        return await self._do("read", work)

    def close(self) -> None:
        """Leave one clean file behind. Call once."""
        self._is_closed = True
        if self._database is not None:
            self._database.close()

    async def _do(self, how: Literal["read", "write"], work: Work[T]) -> T:
        database = self._database or await self._renew(None)
        try:
            return await _ask(database, how, work)
        except ClipperdError:
            raise
        except Exception as error:  # rows that do not fit together show as any error
            # Somebody may have replaced it meanwhile; then nobody answers for the old one.
            is_old = self._database is not database
            if self._is_closed or not (is_old or await _is_spoilt(database, self._steps, error)):
                raise
        return await _ask(await self._renew(database), how, work)

    async def _renew(self, spoilt: Database | None) -> Database:
        """Replace the file, unless somebody has done so meanwhile. Raises StorageFull."""
        async with self._renewing:
            if self._database is None or self._database is spoilt:
                # From here on nobody asks the old one; what it was asked before is answered.
                self._database = None
                _log.warning("the cache is damaged; it is made anew")
                try:
                    made = await asyncio.to_thread(
                        _replace, spoilt, self.path, self._steps, self._hire
                    )
                except OSError as error:
                    raise trouble(error) or _no_place() from error
                self._database = made
                self.on_renewed()
            return self._database


def open_cache(path: Path, steps: Sequence[Step], *, hire: Hire = ConnectionThread) -> Cache:
    """Open cache.db, starting an empty one when it cannot be used as it is. Raises StorageFull."""
    return Cache(path, steps, hire)


async def _ask(database: Database, how: Literal["read", "write"], work: Work[T]) -> T:
    return await (database.read(work) if how == "read" else database.write(work))


async def _is_spoilt(database: Database, steps: Sequence[Step], error: Exception) -> bool:
    """Whether the file is at fault: unreadable, at odds with itself, or not of our tables."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_DAMAGE):
        return True
    if not name and isinstance(error, sqlite3.OperationalError):
        return True  # the module's own sentence: text that is not UTF-8
    try:
        if name != "SQLITE_ERROR":
            return await database.read(_is_at_odds)
        found = await database.read(_shape)
    except sqlite3.DatabaseError:
        return True
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        for step in steps:
            step(fresh)
        return found != _shape(fresh)


def _is_at_odds(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok")


def _shape(connection: sqlite3.Connection) -> set[str]:
    """What the tables, indexes and triggers are, those aside that count the steps."""
    sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> '_sqlite_migrations'"
    return {row[0] for row in connection.execute(sql)}


def _no_place() -> StorageFull:
    return StorageFull("The cache cannot be made anew.", hint="Look after clipperd's folder.")


def _replace(spoilt: Database | None, path: Path, steps: Sequence[Step], hire: Hire) -> Database:
    if spoilt is not None:
        spoilt.close()
    _remove(path)
    return _open(path, steps, hire)


def _open_or_renew(path: Path, steps: Sequence[Step], hire: Hire) -> Database:
    """Open it, or remove what cannot be opened and begin anew.

    Only a full disk (SQLITE_FULL) leaves the file as it is, and is raised. Whatever else the disk
    refuses with, a folder in its place or a file that may not be opened, removes it too.
    """
    try:
        return _open(path, steps, hire)
    except StorageFull as error:
        if error.params["cause"] == "SQLITE_FULL":  # the file is well, and there is no room
            raise
    except (sqlite3.DatabaseError, SchemaTooNew):
        pass
    _remove(path)
    return _open(path, steps, hire)


def _open(path: Path, steps: Sequence[Step], hire: Hire) -> Database:
    return Database.open(
        path,
        name="cache",
        steps=steps,
        synchronous="NORMAL",
        patience_s=_PATIENCE_S,
        hire=hire,
    )


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
