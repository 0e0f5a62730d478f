"""Both packages' databases on the simulation's clock: real SQLite, and its state after a kill."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from clipperd.storage.database import Connection, Job
from cloud_broker.errors import DatabaseFailed
from cloud_broker.storage import idempotency, outboxes
from cloud_broker.storage.database import Row, Tx
from tests.chaos.sim.loop import Process
from tests.chaos.sim.machine import Machine


class Clerk:
    """Runs a database connection's jobs in the loop's own thread, after the disk's delay.

    What waits at its turn shares a commit, as with the thread. The answer comes in a later
    callback than the commit, so a kill between the two leaves what nobody was told of.
    """

    def __init__(self, machine: Machine, process: Process, connection: Connection) -> None:
        """Ends with ``process``."""
        self._machine = machine
        self._process = process
        self._connection = connection
        self._waiting: list[Job] = []
        process.on_death.append(self._die)

    def start(self) -> None:
        """Open the connection, at once."""
        self._connection.open()

    def put(self, job: Job) -> None:
        """Take it in."""
        if self._process.state == "dead":
            return
        self._waiting.append(job)
        if len(self._waiting) == 1:
            self._machine.loop.call_later(self._machine.disk_s(), self._turn)

    def stop(self) -> None:
        """Do what waits, then close."""
        if self._process.state != "dead":
            self._turn()
            self._connection.close()

    def full(self, *, on: bool, wholly: bool) -> None:
        """Let the file grow no further, or refuse every write ``wholly``; or let all pass again."""
        size = self._connection.sqlite.execute("PRAGMA page_count").fetchone()[0]
        self._connection.sqlite.execute(f"PRAGMA max_page_count={size if on else 1 << 30}")
        if type(self._connection) is not Connection:
            word = "ON" if on and wholly else "OFF"
            self._connection.sqlite.execute(f"PRAGMA query_only={word}")

    def _turn(self) -> None:
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        self._connection.execute(batch)
        if type(self._connection) is Connection:  # it only reads: nothing can be left half told
            _settle(batch)
        else:
            self._machine.loop.call_later(0.0001, _settle, batch)
            self._connection.idle(is_busy=False)

    def _die(self) -> None:
        """Only what was committed is in the file."""
        self._waiting.clear()
        if self._connection.is_open:
            self._connection.sqlite.close()


def _settle(batch: Sequence[Job]) -> None:
    for job in batch:
        job.settle()


def executor_factory(
    machine: Machine, process: Process, clerks: list[Clerk]
) -> Callable[[str, Connection], Clerk]:
    """Return a ``make_executor`` for ``Database.open`` that adds each clerk to ``clerks``."""

    def make_executor(_name: str, connection: Connection) -> Clerk:
        clerk = Clerk(machine, process, connection)
        clerks.append(clerk)
        return clerk

    return make_executor


class SharedRows:
    """The broker's database port: one SQLite database in memory, as durable as the run.

    It stands for a server that all brokers share: it outlives each of them. A transaction is
    applied as a whole when its block ends; a broker that is killed before has changed nothing.
    """

    blob_type = "BLOB"

    def __init__(self, rng: random.Random, failing: float) -> None:
        """Make the table. ``failing``: of transactions, the share that fails, half after commit."""
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._rng = rng
        self._failing = failing
        self._connection.row_factory = sqlite3.Row
        for step in (*idempotency.STEPS, *outboxes.STEPS):
            self._connection.execute(step)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Open a transaction; see the port. Its block must wait for nothing but statements."""
        draw = self._rng.random()
        await asyncio.sleep(self._rng.uniform(0.0002, 0.003))
        if draw < self._failing / 2:
            raise DatabaseFailed("The database was not reached.")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield _Tx(self._connection)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        await asyncio.sleep(self._rng.uniform(0.0002, 0.003))
        if draw > 1.0 - self._failing / 2:
            raise DatabaseFailed("The database's answer was lost.")

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """Open a read-only view; see the port."""
        await asyncio.sleep(self._rng.uniform(0.0002, 0.003))
        yield _Tx(self._connection)

    async def tidy(self) -> None:
        """Nothing is left behind."""

    async def close(self) -> None:
        """Let go of it."""
        self._connection.close()


class _Tx:
    """Statements of one block, each at once: nothing else happens in between."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, **params: Any) -> int:
        return max(self._run(sql, params).rowcount, 0)

    async def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(sql, rows)

    async def one(self, sql: str, **params: Any) -> Row | None:
        row = self._run(sql, params).fetchone()
        return None if row is None else dict(row)

    async def all(self, sql: str, **params: Any) -> list[Row]:
        return [dict(row) for row in self._run(sql, params)]

    async def lock(self, name: str) -> None:
        """A write transaction excludes every other one."""

    async def give_up_after(self, *, lock_s: float, statement_s: float) -> None:
        """Nothing is waited for."""

    async def has_table(self, name: str) -> bool:
        found = self._run("SELECT 1 FROM sqlite_master WHERE name = :name", {"name": name})
        return found.fetchone() is not None

    def _run(self, sql: str, params: Mapping[str, Any]) -> sqlite3.Cursor:
        return self._connection.execute(sql, params)
