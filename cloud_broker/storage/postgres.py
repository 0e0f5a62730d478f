"""PostgreSQL behind the database port: a pool of connections, READ COMMITTED, advisory locks.

Statements are written once, with ``:name`` placeholders; here they become ``$1``. asyncpg prepares
each one once a connection, so a connection pooler in transaction mode must allow that (PgBouncer
>= 1.21 does with ``max_prepared_statements``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from cloud_broker.errors import DatabaseBusy, DatabaseFailed, Duplicate
from cloud_broker.storage.database import Row, Tx

T = TypeVar("T")
if TYPE_CHECKING:
    _Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

CONNECT_S = 10.0
STATEMENT_S = 30.0
ACQUIRE_S = 10.0
_PART = re.compile(r"'(?:[^']|'')*'|::|:([A-Za-z_][A-Za-z0-9_]*)")


class PostgresDatabase:
    """A PostgreSQL database, durable at each commit as the server's settings say."""

    blob_type = "BYTEA"

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        """Use ``open_postgres``."""
        self._pool = pool
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Open a READ COMMITTED transaction; see the port."""
        async with self._block("BEGIN") as connection:
            yield _PostgresTx(connection)
            await _said(connection.execute("COMMIT"))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """Open a read-only view of one moment; see the port."""
        async with self._block("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield _PostgresTx(connection)

    async def tidy(self) -> None:
        """Nothing: the server's autovacuum overwrites old row versions; see the port."""

    async def close(self) -> None:
        """Let running statements finish, then close every connection."""
        if self._leaving:
            await asyncio.wait(self._leaving)
        try:
            await asyncio.wait_for(self._pool.close(), ACQUIRE_S)
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self._pool.terminate()

    @asynccontextmanager
    async def _block(self, begin: str) -> AsyncIterator[_Connection]:
        connection = await _said(self._pool.acquire(timeout=ACQUIRE_S))
        try:
            await _said(connection.execute(begin))
            yield connection
        finally:
            # However often the caller is cancelled meanwhile, this goes on to its end.
            leaving = asyncio.ensure_future(self._leave(connection))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            await asyncio.shield(leaving)

    async def _leave(self, connection: _Connection) -> None:
        try:
            if connection.is_in_transaction():
                await asyncio.wait_for(connection.execute("ROLLBACK"), STATEMENT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            connection.terminate()  # what it was doing is undone by the server
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._pool.release(connection)


async def open_postgres(url: str, *, connections: int) -> PostgresDatabase:
    """Connect to ``postgresql://…``, at most so many ``connections``. Raises DatabaseFailed."""
    return PostgresDatabase(await _said(_opened(url, connections)))


async def _opened(url: str, connections: int) -> asyncpg.Pool[asyncpg.Record]:
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=connections,
        timeout=CONNECT_S,
        command_timeout=STATEMENT_S,
        max_inactive_connection_lifetime=300.0,
        reset=_nothing,  # no statement here leaves anything behind in a session
        server_settings={"application_name": "cloud-broker", "timezone": "UTC"},
    )


async def _nothing(_: object) -> None:
    """Reset nothing."""


class _PostgresTx:
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, **params: Any) -> int:
        text, names = numbered(sql)
        status: str = await _said(self._connection.execute(text, *(params[n] for n in names)))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        text, names = numbered(sql)
        await _said(self._connection.executemany(text, [[row[n] for n in names] for row in rows]))

    async def one(self, sql: str, **params: Any) -> Row | None:
        text, names = numbered(sql)
        row = await _said(self._connection.fetchrow(text, *(params[n] for n in names)))
        return None if row is None else dict(row)

    async def all(self, sql: str, **params: Any) -> list[Row]:
        text, names = numbered(sql)
        rows = await _said(self._connection.fetch(text, *(params[n] for n in names)))
        return [dict(row) for row in rows]

    async def lock(self, name: str) -> None:
        sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
        await _said(self._connection.execute(sql, name))

    async def give_up_after(self, *, lock_s: float, statement_s: float) -> None:
        for name, seconds in (("lock_timeout", lock_s), ("statement_timeout", statement_s)):
            sql = "SELECT set_config($1, $2, true)"  # true: until this transaction ends
            await _said(self._connection.execute(sql, name, f"{round(seconds * 1000)}ms"))

    async def has_table(self, name: str) -> bool:
        return await _said(self._connection.fetchval("SELECT to_regclass($1)", name)) is not None


@lru_cache(maxsize=512)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """Turn ``:name`` into ``$1``, …: the text, and the names in the order of their numbers."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:  # a literal
            return match[0]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PART.sub(number, sql), tuple(names)


async def _said(work: Awaitable[T]) -> T:
    """Await ``work``; its errors in our words. A server's own text may quote values: left out."""
    try:
        return await work
    except asyncpg.UniqueViolationError as error:
        raise Duplicate("A row with this key exists.") from error
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise DatabaseBusy("Others hold the locks for it.") from error
    except asyncpg.PostgresError as error:
        sign = f"{error.sqlstate} {type(error).__name__}"
        raise DatabaseFailed(f"The database failed: {sign}.") from error
    except (asyncpg.InterfaceError, OSError, TimeoutError, UnicodeError) as error:
        raise DatabaseFailed(f"The database failed: {type(error).__name__}.") from error
