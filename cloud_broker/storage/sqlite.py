"""Implements the database port on SQLite: one writer and a few readers, each in its own thread.

SQLite's calls block, so each connection has a thread of its own. All writes of this process queue
for one connection; a second process waits in ``busy_timeout``. Several readers keep one long read
(an export) from blocking the others.

Thread hops dominate the cost of a short transaction: BEGIN travels with the first statement, and
the end of a read is not awaited.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from cloud_broker.errors import DatabaseBusy, DatabaseFailed, Duplicate
from cloud_broker.storage.database import Row, Tx

T = TypeVar("T")
BUSY_MS = 10_000  # milliseconds to wait for another process
TIDY_MS = 500  # milliseconds for a checkpoint, which blocks writers
READERS = 3
TOGETHER = 50  # rows of one statement: each statement releases and takes the GIL
_ONE_ROW = re.compile(r"\bVALUES\s*(\([^()]*\))\s*\Z")
_NAME = re.compile(r":([a-z_]+)")


class SqliteDatabase:
    """A SQLite file in WAL mode, durable at each commit (``synchronous=FULL``)."""

    blob_type = "BLOB"

    def __init__(self, writer: _Connection, readers: Sequence[_Connection]) -> None:
        """Take open connections; call ``open_sqlite`` instead."""
        self._writer = writer
        self._readers = tuple(readers)
        self._idle: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        for reader in readers:
            self._idle.put_nowait(reader)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Open a write transaction; see the port."""
        async with self._writer.writing() as tx:
            yield tx

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """Open a read-only snapshot; see the port."""
        reader = await self._idle.get()
        try:
            with reader.reading() as tx:
                yield tx
        finally:
            self._idle.put_nowait(reader)

    async def tidy(self) -> None:
        """Checkpoint and truncate the write-ahead log, which keeps old pages; see the port.

        In the file itself ``secure_delete`` overwrites deleted rows immediately.
        """
        await self._writer.checkpoint()

    async def close(self) -> None:
        """Close every connection after its current work."""
        for connection in (*self._readers, self._writer):
            await connection.close()


async def open_sqlite(path: Path) -> SqliteDatabase:
    """Open or create the file (mode 0600). Raises DatabaseFailed."""
    writer = _Connection("broker-sqlite-writer")
    readers = [_Connection(f"broker-sqlite-reader-{number}") for number in range(READERS)]
    try:
        await writer.open(path, read_only=False)
        for reader in readers:
            await reader.open(path, read_only=True)
    except BaseException:
        for connection in (*readers, writer):
            await connection.close()
        raise
    return SqliteDatabase(writer, readers)


class _Connection:
    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._lock = asyncio.Lock()
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

        self._connection = await self.run(connect)

    async def close(self) -> None:
        def shut() -> None:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

        await self.run(shut)
        self._thread.shutdown(wait=False)

    async def checkpoint(self) -> None:
        """Checkpoint and truncate the log; waits up to TIDY_MS for readers that need it."""

        def run() -> None:
            self.live.execute(f"PRAGMA busy_timeout={TIDY_MS}")
            try:
                self.live.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self.live.execute(f"PRAGMA busy_timeout={BUSY_MS}")

        async with self._lock:
            await self.run(run)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Tx]:
        async with self._lock:
            self.live  # noqa: B018  (raises when closed, even for a block without a statement)
            tx = _SqliteTx(self, "BEGIN IMMEDIATE")
            try:
                yield tx
                if tx.has_begun:
                    await self.run(lambda: self.live.execute("COMMIT"))
            except BaseException:
                self._end()
                raise

    @contextmanager
    def reading(self) -> Iterator[Tx]:
        self.live  # noqa: B018
        try:
            yield _SqliteTx(self, "BEGIN")
        finally:
            self._end()

    @property
    def live(self) -> sqlite3.Connection:
        if self._connection is None:
            raise DatabaseFailed("The database is closed.")
        return self._connection

    def _end(self) -> None:
        """Roll back an open transaction after the thread's current work and before any other.

        Submitted to the thread directly: a task in the event loop could be cancelled.
        """
        with suppress(RuntimeError):  # closed, and with that rolled back
            self._thread.submit(self._undo)

    def _undo(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def run(self, work: Callable[[], T]) -> T:
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
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                raise DatabaseBusy("Another process is writing.") from error
            raise DatabaseFailed(f"The database failed: {error}.") from error
        except (sqlite3.Error, OSError) as error:
            raise DatabaseFailed(f"The database failed: {error}.") from error
        except RuntimeError as error:
            raise DatabaseFailed("The database is closed.") from error


@lru_cache(maxsize=2 * TOGETHER)
def multi_row(sql: str, count: int) -> tuple[str, tuple[str, ...]]:
    """Turn ``INSERT … VALUES (:a, :b)`` into one statement for ``count`` rows.

    Returns it with the names of a row's values in order; no names when ``sql`` has another form.
    """
    found = _ONE_ROW.search(sql)
    if found is None:
        return sql, ()
    row = _NAME.sub("?", found[1])
    return sql[: found.start(1)] + ", ".join([row] * count), tuple(_NAME.findall(found[1]))


class _SqliteTx:
    """The statements of one block. Only the thread sets ``has_begun``."""

    def __init__(self, connection: _Connection, begin: str) -> None:
        self._connection = connection
        self._begin = begin
        self.has_begun = False

    async def execute(self, sql: str, **params: Any) -> int:
        return (await self._query(sql, params))[1]

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        def run() -> None:
            live = self._ready()
            for first in range(0, len(rows), TOGETHER):
                group = rows[first : first + TOGETHER]
                text, names = multi_row(sql, len(group))
                if names:
                    live.execute(text, [row[name] for row in group for name in names])
                else:
                    live.executemany(sql, group)

        await self._connection.run(run)

    async def one(self, sql: str, **params: Any) -> Row | None:
        rows, _ = await self._query(sql, params)
        return rows[0] if rows else None

    async def all(self, sql: str, **params: Any) -> list[Row]:
        return (await self._query(sql, params))[0]

    async def lock(self, name: str) -> None:  # noqa: ARG002 (the port's signature)
        """Begin the transaction: it excludes every other write."""
        await self._connection.run(self._ready)

    async def give_up_after(self, *, lock_s: float, statement_s: float) -> None:
        """Do nothing: a transaction that has begun waits for no lock."""

    async def has_table(self, name: str) -> bool:
        sql = "SELECT 1 AS one FROM sqlite_master WHERE type = 'table' AND name = :name"
        return await self.one(sql, name=name) is not None

    async def _query(self, sql: str, params: dict[str, Any]) -> tuple[list[Row], int]:
        def run() -> tuple[list[Row], int]:
            cursor = self._ready().execute(sql, params)
            names = [column[0] for column in cursor.description or ()]
            rows = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
            return rows, max(cursor.rowcount, 0)

        return await self._connection.run(run)

    def _ready(self) -> sqlite3.Connection:
        live = self._connection.live
        if not self.has_begun:
            live.execute(self._begin)
            self.has_begun = True
        elif not live.in_transaction:  # SQLite rolls back the whole transaction on some errors
            raise DatabaseFailed("The transaction was rolled back.")
        return live
