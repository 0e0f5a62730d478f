"""SQLite behind the database port: one writing and one reading connection, a thread each.

SQLite's calls block, so each connection lives in a thread of its own and never leaves it. All
writes of this process queue for one connection; a second process waits in ``busy_timeout``.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from cloud_broker.errors import DatabaseFailed, Duplicate
from cloud_broker.storage.database import Row, Tx

T = TypeVar("T")
BUSY_MS = 10_000


class SqliteDatabase:
    """A SQLite file in WAL mode, durable at each commit (``synchronous=FULL``)."""

    blob_type = "BLOB"

    def __init__(self, writer: _Connection, reader: _Connection) -> None:
        """Use ``open_sqlite``."""
        self._writer = writer
        self._reader = reader

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Open a write transaction; see the port."""
        async with self._writer.session("BEGIN IMMEDIATE") as tx:
            yield tx

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """Open a read-only view; see the port."""
        async with self._reader.session("BEGIN") as tx:
            yield tx

    async def close(self) -> None:
        """Close both connections after what they are doing."""
        await self._reader.close()
        await self._writer.close()


async def open_sqlite(path: Path) -> SqliteDatabase:
    """Open or create the file (mode 0600). Raises DatabaseFailed."""
    writer = _Connection("broker-sqlite-writer")
    reader = _Connection("broker-sqlite-reader")
    try:
        await writer.open(path, read_only=False)
        await reader.open(path, read_only=True)
    except BaseException:
        await reader.close()
        await writer.close()
        raise
    return SqliteDatabase(writer, reader)


class _Connection:
    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._turn = asyncio.Lock()
        self._connection: sqlite3.Connection | None = None

    async def open(self, path: Path, *, read_only: bool) -> None:
        def connect() -> sqlite3.Connection:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA foreign_keys=ON")
                connection.execute("PRAGMA secure_delete=ON")  # destroyed ciphertext is gone
                if read_only:
                    connection.execute("PRAGMA query_only=ON")
            except BaseException:
                connection.close()
                raise
            return connection

        self._connection = await self._run(connect)

    async def close(self) -> None:
        def shut() -> None:
            if self._connection is not None:
                self._connection.close()

        await self._run(shut)
        self._thread.shutdown(wait=False)

    @asynccontextmanager
    async def session(self, begin: str) -> AsyncIterator[Tx]:
        async with self._turn:
            try:
                await self._run(lambda: self._live.execute(begin))
                yield _SqliteTx(self)
                await self._run(lambda: self._live.execute("COMMIT"))
            except BaseException:
                # Queued behind whatever the thread still does, so a cancelled block is undone
                # before the next one begins, even if nobody waits for this.
                await self._run(self._undo)
                raise

    async def query(self, sql: str, params: dict[str, Any]) -> tuple[list[Row], int]:
        def run() -> tuple[list[Row], int]:
            cursor = self._live.execute(sql, params)
            names = [column[0] for column in cursor.description or ()]
            rows = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
            return rows, max(cursor.rowcount, 0)

        return await self._run(run)

    @property
    def _live(self) -> sqlite3.Connection:
        if self._connection is None:
            raise DatabaseFailed("The database is not open.")
        return self._connection

    def _undo(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def _run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname in {
                "SQLITE_CONSTRAINT_UNIQUE",
                "SQLITE_CONSTRAINT_PRIMARYKEY",
            }:
                raise Duplicate("A row with this key exists.") from error
            raise DatabaseFailed("The database refused a row.") from error
        except (sqlite3.Error, OSError) as error:
            raise DatabaseFailed(f"The database failed: {error}.") from error
        except RuntimeError as error:
            raise DatabaseFailed("The database is closed.") from error


class _SqliteTx:
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, **params: Any) -> int:
        return (await self._connection.query(sql, params))[1]

    async def one(self, sql: str, **params: Any) -> Row | None:
        rows, _ = await self._connection.query(sql, params)
        return rows[0] if rows else None

    async def all(self, sql: str, **params: Any) -> list[Row]:
        return (await self._connection.query(sql, params))[0]

    async def lock(self, name: str) -> None:
        """Nothing to do: a write transaction excludes every other one already."""
