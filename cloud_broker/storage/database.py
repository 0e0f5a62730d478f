"""The port to SQL storage: what the broker needs from a database, whichever it is.

SQL is written once, in the subset that SQLite >= 3.40 and PostgreSQL >= 15 share: types TEXT,
BIGINT and ``{blob}`` (DDL only; the adapter fills in its name), ``:name`` placeholders,
``RETURNING``, ``ON CONFLICT … DO UPDATE``. Columns are named, never ``*``: PostgreSQL refuses a
prepared ``SELECT *`` once a later release has added a column. Truth values are BIGINT 0 or 1;
moments are BIGINT milliseconds since the epoch. Every change of state is one statement guarded by
the old state and decided by its row count, so that READ COMMITTED isolation is enough.
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
        """Run one statement for each of ``rows``, in order. Raises as ``execute``."""

    async def one(self, sql: str, **params: Any) -> Row | None:
        """Return the first row of a query (or of RETURNING), or None."""

    async def all(self, sql: str, **params: Any) -> list[Row]:
        """Return every row of a query (or of RETURNING)."""

    async def lock(self, name: str) -> None:
        """Hold the lock ``name`` against every other process until this transaction ends."""

    async def give_up_after(self, *, lock_s: float, statement_s: float) -> None:
        """From now on wait so long at most for others' locks, and so long for a statement.

        After it ``execute`` and ``lock`` raise DatabaseBusy for a lock, DatabaseFailed for a
        statement. SQLite has one lock, had when a transaction begins: nothing changes there.
        """

    async def has_table(self, name: str) -> bool:
        """Whether there is a table of this name."""


class Database(Protocol):
    """A database that is open."""

    blob_type: str  # what ``{blob}`` becomes in DDL

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction: committed and durable when the block ends, undone if it raises.

        Keep it short: no network call inside. Raises DatabaseFailed.
        """

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        """Open a read-only view that sees one moment and never waits for writers.

        Like a transaction, it must not be opened inside another by the same task.
        """

    async def tidy(self) -> None:
        """Let go of what deleted rows have left behind, as far as no read under way needs it."""

    async def close(self) -> None:
        """Finish what is running and let go of the database."""


def to_ms(seconds: float) -> int:
    """Turn epoch ``seconds`` into the stored form, milliseconds.

    By way of microseconds, as dates are rendered: 27.091 is not 27.0909999 on the way.
    """
    return round(seconds * 1_000_000) // 1000
