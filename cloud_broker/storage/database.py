"""Defines the port to the SQL database, SQLite or PostgreSQL.

SQL is written once, in the subset that SQLite >= 3.40 and PostgreSQL >= 15 share: types TEXT,
BIGINT and ``{blob}`` (DDL only; the adapter fills in its name), ``:name`` placeholders,
``RETURNING``, ``ON CONFLICT … DO UPDATE``. Name all columns, never use ``*``: PostgreSQL refuses a
prepared ``SELECT *`` after a later release has added a column. Booleans are BIGINT 0 or 1; times
are BIGINT milliseconds since the epoch. Each change of state is one statement that tests the old
state and reports success by its row count, so READ COMMITTED isolation is enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Row = dict[str, Any]


class Tx(Protocol):
    """One open transaction."""

    async def execute(self, sql: str, **params: Any) -> int:
        """Run one statement and return the number of rows it changed (0 for DDL).

        Raises Duplicate when a unique key is taken, else DatabaseFailed.
        """

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run one statement for each of ``rows``, in order. Raises the errors of ``execute``."""

    async def one(self, sql: str, **params: Any) -> Row | None:
        """Return the first row of a query (or of RETURNING), or None."""

    async def all(self, sql: str, **params: Any) -> list[Row]:
        """Return every row of a query (or of RETURNING)."""

    async def lock(self, name: str) -> None:
        """Hold the lock ``name`` until this transaction ends; it excludes every other process."""

    async def give_up_after(self, *, lock_s: float, statement_s: float) -> None:
        """Limit the wait for a lock and for a statement in the rest of this transaction.

        ``execute`` and ``lock`` then raise DatabaseBusy for a lock, DatabaseFailed for a
        statement. On SQLite nothing changes: a transaction takes its only lock when it begins.
        """

    async def has_table(self, name: str) -> bool:
        """Return whether a table of this name exists."""


class Database(Protocol):
    """An open database."""

    blob_type: str  # replaces ``{blob}`` in DDL

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction: committed and durable when the block ends, rolled back if it raises.

        Keep it short: no network call inside. Raises DatabaseFailed.
        """

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        """Open a read-only snapshot that never waits for writers.

        A task must not open it, or a transaction, inside another one.
        """

    async def tidy(self) -> None:
        """Remove the remains of deleted rows, unless a running read needs them."""

    async def close(self) -> None:
        """Finish running statements and close the database."""


def to_ms(seconds: float) -> int:
    """Convert epoch ``seconds`` to stored milliseconds.

    Rounds to microseconds first, as dates are rendered: 27.091 s must not become 27090 ms.
    """
    return round(seconds * 1_000_000) // 1000
