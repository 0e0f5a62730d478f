"""Applies each step of the schema once, in order, under a lock, and records its checksum.

Steps are append-only within their list. A starting broker applies only steps that the previous
release can work with; steps that *contract* wait for an operator who knows that no older broker
is left (docs/decisions/0015-expand-and-contract.md). A fresh database gets all steps in one
transaction. A database in use gets one step per transaction, and a step that waits for a lock
gives up soon: every other statement would queue behind a waiting ALTER TABLE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

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
    outboxes,
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
    ("outboxes", outboxes.STEPS),
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
_LEDGER_AREA: Area = (
    "ledger",
    ["ALTER TABLE schema_migrations ADD COLUMN kind TEXT NOT NULL DEFAULT 'expand'"],
)
_KINDS = "ledger/001"  # the step that added the column ``kind``
LOCK_S = 2.0  # seconds: a step that waits for a lock delays every other statement
STATEMENT_S = 10.0  # seconds
PATIENCE_S = 60.0  # seconds of retries
PAUSE_S = 1.0  # seconds between retries, for the statements that queued behind a step


@dataclass(frozen=True, slots=True)
class _Ledger:
    """The applied steps: checksums by name, and the names of steps that contract."""

    checksums: Mapping[str, str]
    contracted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The wanted steps that are missing, and the names of steps that a later release added."""

    missing: tuple[Step, ...]
    later: tuple[str, ...]

    def lacks(self, *, contract: bool) -> tuple[Step, ...]:
        """Return the steps to apply; with ``contract`` also those that contract."""
        return tuple(step for step in self.missing if contract or step.kind == "expand")


def steps(areas: Sequence[Area] | None = None) -> list[Step]:
    """Return all steps in the order of application, the ledger's own first."""
    return numbered((_LEDGER_AREA, *(AREAS if areas is None else areas)))


async def migrate(
    database: Database,
    clock: Clock,
    *,
    wanted: Sequence[Step] | None = None,
    contract: bool = False,
) -> int:
    """Apply the missing steps and return their number.

    For a minute it waits for locks that others hold. Steps before one that failed stay applied;
    the next run continues there. Raises SchemaTooNew or SchemaChanged before any change;
    DatabaseBusy or DatabaseFailed.
    """
    until = clock.monotonic() + PATIENCE_S
    retrying = AsyncRetrying(
        sleep=clock.sleep,
        wait=wait_fixed(PAUSE_S),
        stop=lambda _: clock.monotonic() >= until,
        retry=retry_if_exception_type(DatabaseBusy),
        reraise=True,
    )

    async def advance() -> int:
        return await _advance(database, to_ms(clock.now()), wanted, contract=contract)

    applied = 0
    while True:
        count: int = await retrying(advance)
        if not count:
            return applied
        applied += count


async def schema_status(
    database: Database, *, wanted: Sequence[Step] | None = None
) -> SchemaStatus:
    """Compare without changes. Raises SchemaTooNew or SchemaChanged."""
    async with database.reading() as tx:
        ledger = await _read(tx) if await tx.has_table(_TABLE) else _Ledger({})
    return _compared(ledger, steps() if wanted is None else wanted)


async def check(database: Database, *, wanted: Sequence[Step] | None = None) -> SchemaStatus:
    """As ``schema_status``; raises SchemaOutdated when this release needs missing steps."""
    found = await schema_status(database, wanted=wanted)
    lacks = found.lacks(contract=False)
    if lacks:
        names = ", ".join(step.name for step in lacks)
        raise SchemaOutdated(f"Migrations are missing: {names}.", hint="Run: cloud-broker migrate")
    return found


async def _advance(
    database: Database, now: int, wanted: Sequence[Step] | None, *, contract: bool
) -> int:
    """Apply in one transaction: all steps to a fresh database, else the first missing step."""
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
            f"Migration {step.name} waits for a lock. {error.detail}",
            hint="Look for open transactions and end them, then try again.",
        ) from error
    except DatabaseFailed as error:
        raise DatabaseFailed(
            f"The migration {step.name} was not applied. {error.detail}"
        ) from error
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
    """Read the applied steps. In a ledger without ``kind`` all steps expand."""
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
            f"A later version removed tables or columns that this one needs: {', '.join(gone)}.",
            hint="Run the later version of the broker, or restore a backup.",
        )
    for step in wanted:
        if applied.get(step.name, step.checksum) != step.checksum:
            raise SchemaChanged(f"Migration {step.name} was applied with another text.")
    return SchemaStatus(tuple(step for step in wanted if step.name not in applied), tuple(later))
