"""Migrations: every step once, in order, under a lock, with the checksum of what was applied.

Steps are append-only within their list. What a start applies must leave brokers of the release
before at work, so those that *contract* wait for an operator who knows that none is left
(docs/decisions/0015-expand-and-contract.md). A fresh database gets everything in one transaction.
One in use gets one step a transaction, and a step that must wait for others' locks gives up soon:
behind a waiting ALTER TABLE everybody else would wait too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cloud_broker.clock import Clock
from cloud_broker.errors import (
    DatabaseBusy,
    DatabaseFailed,
    SchemaChanged,
    SchemaOutdated,
    SchemaTooNew,
)
from cloud_broker.storage import (
    accounts,
    audit,
    billing,
    connections,
    idempotency,
    instances,
    keycheck,
    push,
    sessions,
    signins,
)
from cloud_broker.storage.database import Database, Tx, to_ms
from cloud_broker.storage.steps import Area, Step, numbered

AREAS: tuple[Area, ...] = (
    ("keycheck", keycheck.STEPS),
    ("accounts", accounts.STEPS),
    ("connections", connections.STEPS),
    ("sessions", sessions.STEPS),
    ("signins", signins.STEPS),
    ("idempotency", idempotency.STEPS),
    ("audit", audit.STEPS),
    ("push", push.STEPS),
    ("instances", instances.STEPS),
    ("billing", billing.STEPS),
)

_TABLE = "schema_migrations"
_LEDGER = """
    CREATE TABLE schema_migrations (
      name TEXT PRIMARY KEY,
      checksum TEXT NOT NULL,
      applied_at BIGINT NOT NULL
    )
"""
_OF_THE_LEDGER: Area = (
    "ledger",
    ["ALTER TABLE schema_migrations ADD COLUMN kind TEXT NOT NULL DEFAULT 'expand'"],
)
_KINDS = "ledger/001"  # the step since which the ledger knows kinds
LOCK_S = 2.0  # how long one step may hold up those who queue behind it
STATEMENT_S = 10.0
PATIENCE_S = 60.0
PAUSE_S = 1.0  # in which those who queued behind a step are served


@dataclass(frozen=True, slots=True)
class _Ledger:
    """Checksums by name, and the names of steps that contract."""

    checksums: Mapping[str, str]
    contracted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """What a database lacks of the wanted steps, and names of steps that a later release added."""

    missing: tuple[Step, ...]
    later: tuple[str, ...]

    def lacks(self, *, contract: bool) -> tuple[Step, ...]:
        """The steps to apply; those that contract only if asked for."""
        return tuple(step for step in self.missing if contract or step.kind == "expand")


def steps(areas: Sequence[Area] | None = None) -> list[Step]:
    """Every step in the order of application; the ledger's own come first."""
    return numbered((_OF_THE_LEDGER, *(AREAS if areas is None else areas)))


async def migrate(
    database: Database, *, now: int, wanted: Sequence[Step] | None = None, contract: bool = False
) -> int:
    """Apply what is missing; return how many steps that was.

    Raises SchemaTooNew or SchemaChanged before touching anything, DatabaseBusy where others hold a
    lock. Steps before one that failed stay; the next try goes on from there.
    """
    applied = 0
    while count := await _advance(database, now, wanted, contract=contract):
        applied += count
    return applied


async def migrate_patiently(database: Database, clock: Clock, *, contract: bool = False) -> int:
    """Migrate; let those who hold locks through, and try again for a minute. Raises as above."""
    applied, until = 0, clock.monotonic() + PATIENCE_S
    while True:
        try:
            count = await _advance(database, to_ms(clock.now()), None, contract=contract)
        except DatabaseBusy:
            if clock.monotonic() >= until:
                raise
            await clock.sleep(PAUSE_S)
            continue
        if not count:
            return applied
        applied += count


async def standing(database: Database, *, wanted: Sequence[Step] | None = None) -> SchemaStatus:
    """Look, and change nothing. Raises SchemaTooNew or SchemaChanged."""
    async with database.reading() as tx:
        ledger = await _read(tx) if await tx.has_table(_TABLE) else _Ledger({})
    return _compared(ledger, steps() if wanted is None else wanted)


async def check(database: Database, *, wanted: Sequence[Step] | None = None) -> SchemaStatus:
    """As ``standing``. Raises SchemaOutdated when this release cannot work with what is there."""
    found = await standing(database, wanted=wanted)
    lacks = found.lacks(contract=False)
    if lacks:
        names = ", ".join(step.name for step in lacks)
        raise SchemaOutdated(f"Migrations are missing: {names}.", hint="Run: cloud-broker migrate")
    return found


async def _advance(
    database: Database, now: int, wanted: Sequence[Step] | None, *, contract: bool
) -> int:
    """One transaction: everything in a fresh database, else the first step that is missing."""
    async with database.transaction() as tx:
        await tx.give_up_after(lock_s=LOCK_S, statement_s=STATEMENT_S)
        await tx.lock("migrations")
        if not await tx.has_table(_TABLE):
            await tx.execute(_LEDGER)
        ledger = await _read(tx)
        found = _compared(ledger, steps() if wanted is None else wanted)
        todo = found.lacks(contract=contract)[:1] if ledger.checksums else found.missing
        for step in todo:
            await _apply(tx, step, database.blob_type, now)
    return len(todo)


async def _apply(tx: Tx, step: Step, blob_type: str, now: int) -> None:
    try:
        await tx.execute(step.sql.replace("{blob}", blob_type))
    except DatabaseBusy as error:
        raise DatabaseBusy(
            f"{step.name} waits for what others hold. {error.detail}",
            hint="Look for transactions that stay open, then try again.",
        ) from error
    except DatabaseFailed as error:
        raise DatabaseFailed(f"{step.name} was not applied. {error.detail}") from error
    await tx.execute(
        """
        INSERT INTO schema_migrations (name, checksum, applied_at, kind)
        VALUES (:name, :checksum, :now, :kind)
        """,
        name=step.name,
        checksum=step.checksum,
        now=now,
        kind=step.kind,
    )


async def _read(tx: Tx) -> _Ledger:
    """What was applied. A ledger of the earlier form has no ``kind``: its steps all expand."""
    rows = await tx.all("SELECT name, checksum FROM schema_migrations")
    checksums = {str(row["name"]): str(row["checksum"]) for row in rows}
    if _KINDS not in checksums:
        return _Ledger(checksums)
    rows = await tx.all("SELECT name FROM schema_migrations WHERE kind <> 'expand'")
    return _Ledger(checksums, frozenset(str(row["name"]) for row in rows))


def _compared(ledger: _Ledger, wanted: Sequence[Step]) -> SchemaStatus:
    applied = ledger.checksums
    later = sorted(applied.keys() - {step.name for step in wanted})
    gone = [name for name in later if name in ledger.contracted]
    if gone:
        raise SchemaTooNew(
            f"A later version took away what this one needs: {', '.join(gone)}.",
            hint="Run the later version of the broker, or restore a backup.",
        )
    for step in wanted:
        if applied.get(step.name, step.checksum) != step.checksum:
            raise SchemaChanged(f"{step.name} was applied with another text.")
    return SchemaStatus(tuple(step for step in wanted if step.name not in applied), tuple(later))
