"""Implements the database port on PostgreSQL: a connection pool, READ COMMITTED, advisory locks.

Placeholders ``:name`` become ``$1``. asyncpg prepares each statement once per connection, so a
connection pooler in transaction mode must allow that (PgBouncer >= 1.21 does with
``max_prepared_statements``).
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

CONNECT_S = 10.0  # seconds
STATEMENT_S = 30.0  # seconds
ACQUIRE_S = 10.0  # seconds to wait for a pooled connection
_PART = re.compile(r"'(?:[^']|'')*'|::|:([A-Za-z_][A-Za-z0-9_]*)")


class PostgresDatabase:
    """A PostgreSQL database, durable at each commit as the server's settings say."""

    blob_type = "BYTEA"

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        """Take an open pool; call ``open_postgres`` instead."""
        self._pool = pool
        self._releasing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Open a READ COMMITTED transaction; see the port."""
        async with self._block("BEGIN") as connection:
            yield _PostgresTx(connection)
            await _run(connection.execute("COMMIT"))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """Open a read-only snapshot; see the port."""
        async with self._block("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield _PostgresTx(connection)

    async def tidy(self) -> None:
        """Do nothing: the server's autovacuum removes old row versions; see the port."""

    async def close(self) -> None:
        """Let running statements finish, then close every connection."""
        if self._releasing:
            await asyncio.wait(self._releasing)
        try:
            await asyncio.wait_for(self._pool.close(), ACQUIRE_S)
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self._pool.terminate()

    @asynccontextmanager
    async def _block(self, begin: str) -> AsyncIterator[_Connection]:
        connection = await _run(self._pool.acquire(timeout=ACQUIRE_S))
        try:
            await _run(connection.execute(begin))
            yield connection
        finally:
            # Shielded: a cancelled caller must not stop the release half-way.
            releasing = asyncio.ensure_future(self._release(connection))
            self._releasing.add(releasing)
            releasing.add_done_callback(self._releasing.discard)
            await asyncio.shield(releasing)

    async def _release(self, connection: _Connection) -> None:
        try:
            if connection.is_in_transaction():
                await asyncio.wait_for(connection.execute("ROLLBACK"), STATEMENT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            connection.terminate()  # the server rolls back
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._pool.release(connection)


async def open_postgres(url: str, *, connections: int) -> PostgresDatabase:
    """Connect to ``postgresql://…`` with at most ``connections``. Raises DatabaseFailed."""
    return PostgresDatabase(await _run(_opened(url, connections)))


async def _opened(url: str, connections: int) -> asyncpg.Pool[asyncpg.Record]:
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=connections,
        timeout=CONNECT_S,
        command_timeout=STATEMENT_S,
        max_inactive_connection_lifetime=300.0,
        reset=_no_reset,  # no statement here changes the session
        server_settings={"application_name": "cloud-broker", "timezone": "UTC"},
    )


async def _no_reset(_: object) -> None:
    pass


class _PostgresTx:
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, **params: Any) -> int:
        text, names = positional(sql)
        status: str = await _run(self._connection.execute(text, *(params[n] for n in names)))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        text, names = positional(sql)
        await _run(self._connection.executemany(text, [[row[n] for n in names] for row in rows]))

    async def one(self, sql: str, **params: Any) -> Row | None:
        text, names = positional(sql)
        row = await _run(self._connection.fetchrow(text, *(params[n] for n in names)))
        return None if row is None else dict(row)

    async def all(self, sql: str, **params: Any) -> list[Row]:
        text, names = positional(sql)
        rows = await _run(self._connection.fetch(text, *(params[n] for n in names)))
        return [dict(row) for row in rows]

    async def lock(self, name: str) -> None:
        sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
        await _run(self._connection.execute(sql, name))

    async def give_up_after(self, *, lock_s: float, statement_s: float) -> None:
        for name, seconds in (("lock_timeout", lock_s), ("statement_timeout", statement_s)):
            sql = "SELECT set_config($1, $2, true)"  # true: until this transaction ends
            await _run(self._connection.execute(sql, name, f"{round(seconds * 1000)}ms"))

    async def has_table(self, name: str) -> bool:
        return await _run(self._connection.fetchval("SELECT to_regclass($1)", name)) is not None


@lru_cache(maxsize=512)
def positional(sql: str) -> tuple[str, tuple[str, ...]]:
    """Replace ``:name`` by ``$1``, …; return the text and the names in order."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:  # a literal
            return match[0]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PART.sub(number, sql), tuple(names)


async def _run(work: Awaitable[T]) -> T:
    """Await ``work`` and translate its errors, without the server's text: it may quote values."""
    try:
        return await work
    except asyncpg.UniqueViolationError as error:
        raise Duplicate("A row with this key exists.") from error
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise DatabaseBusy("Another transaction holds the lock.") from error
    except asyncpg.PostgresError as error:
        code = f"{error.sqlstate} {type(error).__name__}"
        raise DatabaseFailed(f"The database failed: {code}.") from error
    except (asyncpg.InterfaceError, OSError, TimeoutError, UnicodeError) as error:
        raise DatabaseFailed(f"The database failed: {type(error).__name__}.") from error
