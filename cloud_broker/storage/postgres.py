"""Implements the database port on PostgreSQL: a connection pool, READ COMMITTED, advisory locks.

Placeholders ``:name`` become ``$1``. asyncpg prepares each statement once per connection. Behind a
pooler in transaction mode that loses them (PgBouncer before 1.21), the broker stops preparing.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import asyncpg

from cloud_broker.errors import DatabaseBusy, DatabaseFailed, Duplicate
from cloud_broker.settings.postgres_url import PostgresUrl, parse_postgres_url
from cloud_broker.storage.database import Row, Tx

log = logging.getLogger(__name__)
T = TypeVar("T")
if TYPE_CHECKING:
    _Pooled = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

CONNECT_S = 10.0  # seconds
STATEMENT_S = 30.0  # seconds
ACQUIRE_S = 10.0  # seconds to wait for a pooled connection
BEGIN_S = 5.0  # seconds; a connection that is silent for longer is dead
LIFE_S = 600.0  # seconds; then every connection is replaced, as the address may lead elsewhere
READ_ONLY = "25006"
_UNPREPARED = frozenset({"26000", "42P05"})  # the pooler lost or kept a prepared statement
# After these, another connection may succeed: read-only server, shutdown, idle time-outs, pooler.
_ENDING = _UNPREPARED | {READ_ONLY, "25P03", "53300"}
_ENDING_CLASSES = ("08", "57P")  # connection exceptions; operator intervention
_PART = re.compile(r"'(?:[^']|'')*'|::|:([A-Za-z_][A-Za-z0-9_]*)")


class _Connection(asyncpg.Connection):
    def _get_unique_id(self, prefix: str) -> str:
        """Return a name that no other process uses: a pooler may share the server's connection."""
        return f"__asyncpg_{prefix}_{uuid4().hex}__"


class PostgresDatabase:
    """A PostgreSQL database, durable at each commit as the server's settings say."""

    blob_type = "BYTEA"

    def __init__(
        self, pool: asyncpg.Pool[asyncpg.Record], url: PostgresUrl, life_s: float = LIFE_S
    ) -> None:
        """Take an open pool; call ``open_postgres`` instead."""
        self._pool = pool
        self._url = url
        self._prepares = url.prepares
        self._life_s = life_s
        self._renew_at = asyncio.get_running_loop().time() + life_s
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
        except Exception:  # every error of the driver: the connections must go
            self._pool.terminate()

    @asynccontextmanager
    async def _block(self, begin: str) -> AsyncIterator[_Pooled]:
        connection = await self._begun(begin)
        failure: DatabaseFailed | None = None
        try:
            yield connection
        except DatabaseFailed as error:
            failure = error
            raise
        finally:
            await self._leave(connection, failure)

    async def _begun(self, begin: str) -> _Pooled:
        """Return a connection in a transaction; replace one that has ended in the pool, once."""
        if asyncio.get_running_loop().time() >= self._renew_at:
            await self._expire()
        is_last = False
        while True:
            connection = await _run(self._pool.acquire(timeout=ACQUIRE_S))
            failure: DatabaseFailed | None = None
            try:
                if begin == "BEGIN":
                    _refuse_read_only(connection)
                await _run(connection.execute(begin, timeout=BEGIN_S))
                return connection
            except DatabaseFailed as error:
                failure = error
            except BaseException:
                await self._leave(connection, None)
                raise
            await self._leave(connection, failure)
            if is_last or not failure.ends_connection:
                raise failure
            is_last = True

    async def _leave(self, connection: _Pooled, failure: DatabaseFailed | None) -> None:
        has_ended = failure is not None and failure.ends_connection
        if failure is not None and has_ended:
            await self._expire()  # the others are connected to the same server
            if failure.sqlstate in _UNPREPARED and self._prepares:
                self._stop_preparing(failure)
        # Shielded: a cancelled caller must not stop the release half-way.
        releasing = asyncio.ensure_future(self._release(connection, has_ended))
        self._releasing.add(releasing)
        releasing.add_done_callback(self._releasing.discard)
        await asyncio.shield(releasing)

    async def _expire(self) -> None:
        """Let every connection be replaced at its next use."""
        self._renew_at = asyncio.get_running_loop().time() + self._life_s
        await self._pool.expire_connections()

    def _stop_preparing(self, failure: DatabaseFailed) -> None:
        self._prepares = False
        self._pool.set_connect_args(self._url.dsn, **_connect_args(self._url, prepares=False))
        log.warning(
            "A connection pooler loses prepared statements, so the broker stops using them."
            " Add statement_cache_size=0 to the parameters of BROKER_DATABASE_URL, or set"
            " max_prepared_statements in PgBouncer 1.21 or later.",
            exc_info=failure,
        )

    async def _release(self, connection: _Pooled, has_ended: bool) -> None:
        """Give the connection back. Never raises: the caller's result or error is what counts.

        asyncpg takes a lost connection away from its proxy, whose methods then raise.
        """
        try:
            if not has_ended and connection.is_in_transaction():
                await asyncio.wait_for(connection.execute("ROLLBACK"), STATEMENT_S)
        except Exception:  # the connection goes, and the server rolls back
            has_ended = True
        if has_ended:
            with suppress(Exception):
                connection.terminate()
        with suppress(Exception):
            await self._pool.release(connection)


async def open_postgres(url: str, *, connections: int, life_s: float = LIFE_S) -> PostgresDatabase:
    """Connect to ``postgresql://…`` with at most ``connections``. Raises DatabaseFailed."""
    address = parse_postgres_url(url)
    if address.ignored:
        named = ", ".join(address.ignored)
        log.warning("The broker ignores these parameters of BROKER_DATABASE_URL: %s.", named)
    pool = await _run(_opened(address, connections))
    return PostgresDatabase(pool, address, life_s)


async def _opened(url: PostgresUrl, connections: int) -> asyncpg.Pool[asyncpg.Record]:
    return await asyncpg.create_pool(
        url.dsn,
        min_size=1,
        max_size=connections,
        max_inactive_connection_lifetime=300.0,
        connection_class=_Connection,
        reset=_no_reset,  # no statement here changes the session
        **_connect_args(url, prepares=url.prepares),
    )


def _connect_args(url: PostgresUrl, *, prepares: bool) -> dict[str, Any]:
    settings = {"application_name": "cloud-broker", "timezone": "UTC", **url.server_settings}
    return {
        "timeout": url.connect_s or CONNECT_S,
        "command_timeout": STATEMENT_S,
        "server_settings": settings,
        **({} if prepares else {"statement_cache_size": 0}),
    }


def _refuse_read_only(connection: _Pooled) -> None:
    """Raise DatabaseFailed when the server has reported (from 14 on) that it takes no writes."""
    reported = connection.get_settings()
    for name in ("in_hot_standby", "default_transaction_read_only"):
        if getattr(reported, name, "off") == "on":
            raise _failed(f"The database is read-only: {name} is on.", READ_ONLY, ends=True)


async def _no_reset(_: object) -> None:
    pass


class _PostgresTx:
    def __init__(self, connection: _Pooled) -> None:
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
    """Await ``work`` and translate its errors, without the server's text: it may quote values.

    The driver raises other families too when a connection ends in the middle of something:
    InternalClientError, RuntimeError, AttributeError.
    """
    try:
        return await work
    except asyncpg.UniqueViolationError as error:
        raise Duplicate("A row with this key exists.") from error
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise DatabaseBusy("Another transaction holds the lock.") from error
    except asyncpg.InsufficientPrivilegeError as error:
        # This text names objects only, "permission denied for table users".
        text = f"The role of BROKER_DATABASE_URL lacks a right: {error} (42501)."
        failed = _failed(text, error.sqlstate, ends=False)
        failed.hint = "Grant it, or make the role the owner: docs/runbook.md#rights."
        raise failed from error
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        ends = state in _ENDING or state.startswith(_ENDING_CLASSES)
        code = f"{state} {type(error).__name__}"
        raise _failed(f"The database failed: {code}.", error.sqlstate, ends=ends) from error
    except Exception as error:
        text = f"The database failed: {type(error).__name__}."
        raise _failed(text, None, ends=not isinstance(error, asyncpg.DataError)) from error


def _failed(text: str, sqlstate: str | None, *, ends: bool) -> DatabaseFailed:
    failed = DatabaseFailed(text)
    failed.sqlstate, failed.ends_connection = sqlstate, ends
    return failed
