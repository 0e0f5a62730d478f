"""A disposable database: if cache.db is damaged it is recreated and refilled in the background.

That costs only time: the daemon can read every row from Notion again.
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
from clipperd.storage.database import (
    ConnectionThread,
    Database,
    ExecutorFactory,
    Work,
)
from clipperd.storage.disk import translate_os_error
from clipperd.storage.files import lost_name
from clipperd.storage.migration import Step
from clipperd.storage.salvage import is_damage

_log = logging.getLogger(__name__)

T = TypeVar("T")

_BUSY_TIMEOUT_S = 0.25  # a call must not wait long for another program's lock on a cache


class Cache:
    """Reads and writes like a Database, and replaces a file that turns out damaged."""

    def __init__(self, path: Path, steps: Sequence[Step], make_executor: ExecutorFactory) -> None:
        """Use :func:`open_cache`. Set ``on_recreated`` to refill an emptied cache."""
        self.path = path
        self.on_recreated: Callable[[], None] = lambda: None
        self._steps = steps
        self._make_executor = make_executor
        self._recreate_lock = asyncio.Lock()
        self._is_closed = False
        self._database: Database | None = _open_or_recreate(path, steps, make_executor)

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction. Raises StorageFull as a Database does."""
        return await self._do("write", work)

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on the query-only connection."""
        return await self._do("read", work)

    def close(self) -> None:
        """Close the file. Call once."""
        self._is_closed = True
        if self._database is not None:
            self._database.close()

    async def _do(self, how: Literal["read", "write"], work: Work[T]) -> T:
        database = self._database or await self._recreate(None)
        try:
            return await _ask(database, how, work)
        except ClipperdError as error:
            if self._is_closed or not lost_name(error):
                raise
        except Exception as error:  # inconsistent rows can cause any error
            # Another call may have replaced the database since; then its error does not matter.
            is_old = self._database is not database
            if self._is_closed or not (is_old or await _is_damaged(database, self._steps, error)):
                raise
        return await _ask(await self._recreate(database), how, work)

    async def _recreate(self, damaged: Database | None) -> Database:
        """Replace the file, unless another call just did. Raises StorageFull."""
        async with self._recreate_lock:
            if self._database is None or self._database is damaged:
                # New calls wait for the new file; closing the old one answers its queued calls.
                self._database = None
                _log.warning("cache.db is damaged; recreating it")
                try:
                    made = await asyncio.to_thread(
                        _replace, damaged, self.path, self._steps, self._make_executor
                    )
                except OSError as error:
                    raise translate_os_error(error) or _not_recreated() from error
                self._database = made
                self.on_recreated()
            return self._database


def open_cache(
    path: Path, steps: Sequence[Step], *, make_executor: ExecutorFactory = ConnectionThread
) -> Cache:
    """Open cache.db, or replace an unusable one by an empty one. Raises StorageFull."""
    return Cache(path, steps, make_executor)


async def _ask(database: Database, how: Literal["read", "write"], work: Work[T]) -> T:
    return await (database.read(work) if how == "read" else database.write(work))


async def _is_damaged(database: Database, steps: Sequence[Step], error: Exception) -> bool:
    """Return whether the file is unreadable or inconsistent, or lacks our tables."""
    if isinstance(error, sqlite3.Error) and is_damage(error):
        return True
    try:
        if getattr(error, "sqlite_errorname", "") != "SQLITE_ERROR":
            return await database.read(_is_inconsistent)
        found = await database.read(_schema)
    except sqlite3.DatabaseError:
        return True
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        for step in steps:
            step(fresh)
        return found != _schema(fresh)


def _is_inconsistent(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok")


def _schema(connection: sqlite3.Connection) -> set[str]:
    """Return the DDL of tables, indexes and triggers, except the table of applied migrations."""
    sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> '_sqlite_migrations'"
    return {row[0] for row in connection.execute(sql)}


def _not_recreated() -> StorageFull:
    return StorageFull(
        "clipperd cannot recreate cache.db.", hint="Check the permissions of clipperd's folder."
    )


def _replace(
    damaged: Database | None, path: Path, steps: Sequence[Step], make_executor: ExecutorFactory
) -> Database:
    if damaged is not None:
        damaged.close()
    _remove(path)
    return _open(path, steps, make_executor)


def _open_or_recreate(
    path: Path, steps: Sequence[Step], make_executor: ExecutorFactory
) -> Database:
    """Open the file; remove one that cannot be opened and create an empty one.

    Raises StorageFull and keeps the file if the disk is full (SQLITE_FULL). Any other disk error,
    for example a folder in the file's place, removes it.
    """
    try:
        return _open(path, steps, make_executor)
    except StorageFull as error:
        if error.params["cause"] == "SQLITE_FULL":  # the file is sound
            raise
    except (sqlite3.DatabaseError, SchemaTooNew):
        pass
    _remove(path)
    return _open(path, steps, make_executor)


def _open(path: Path, steps: Sequence[Step], make_executor: ExecutorFactory) -> Database:
    return Database.open(
        path,
        name="cache",
        steps=steps,
        synchronous="NORMAL",
        busy_timeout_s=_BUSY_TIMEOUT_S,
        make_executor=make_executor,
    )


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
