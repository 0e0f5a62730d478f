"""Migrations: every step once, in order, under a lock, with the checksum of what was applied.

A step is one DDL statement. Steps are append-only within their list, and work beside the previous
release (expand first, contract a release later).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cloud_broker.errors import SchemaChanged, SchemaOutdated, SchemaTooNew
from cloud_broker.storage import (
    accounts,
    audit,
    connections,
    idempotency,
    instances,
    keycheck,
    push,
    sessions,
    signins,
)
from cloud_broker.storage.database import Database, Tx

AREAS: tuple[tuple[str, Sequence[str]], ...] = (
    ("keycheck", keycheck.STEPS),
    ("accounts", accounts.STEPS),
    ("connections", connections.STEPS),
    ("sessions", sessions.STEPS),
    ("signins", signins.STEPS),
    ("idempotency", idempotency.STEPS),
    ("audit", audit.STEPS),
    ("push", push.STEPS),
    ("instances", instances.STEPS),
)

_LEDGER = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
      name TEXT PRIMARY KEY,
      checksum TEXT NOT NULL,
      applied_at BIGINT NOT NULL
    )
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One statement with its name, ``area/number``."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the statement, white space aside."""
        return hashlib.sha256(" ".join(self.sql.split()).encode()).hexdigest()


def steps(areas: Sequence[tuple[str, Sequence[str]]] = AREAS) -> list[Step]:
    """Every step in the order of application."""
    return [
        Step(f"{area}/{number:03d}", sql)
        for area, statements in areas
        for number, sql in enumerate(statements, 1)
    ]


async def migrate(database: Database, *, now: int, wanted: Sequence[Step] | None = None) -> int:
    """Apply what is missing, all or nothing; return how many steps that was.

    Raises SchemaTooNew or SchemaChanged before touching anything.
    """
    todo = steps() if wanted is None else wanted
    async with database.transaction() as tx:
        await tx.lock("migrations")
        await tx.execute(_LEDGER)
        missing = await _missing(tx, todo)
        for step in missing:
            await tx.execute(step.sql.replace("{blob}", database.blob_type))
            await tx.execute(
                """
                INSERT INTO schema_migrations (name, checksum, applied_at)
                VALUES (:name, :checksum, :now)
                """,
                name=step.name,
                checksum=step.checksum,
                now=now,
            )
    return len(missing)


async def check(database: Database, *, wanted: Sequence[Step] | None = None) -> None:
    """Raise SchemaOutdated when steps are missing, SchemaTooNew or SchemaChanged as above."""
    async with database.transaction() as tx:
        await tx.lock("migrations")
        await tx.execute(_LEDGER)
        missing = await _missing(tx, steps() if wanted is None else wanted)
    if missing:
        raise SchemaOutdated(
            f"{len(missing)} migrations are missing, the first is {missing[0].name}.",
            hint="Run: cloud-broker migrate",
        )


async def _missing(tx: Tx, wanted: Sequence[Step]) -> list[Step]:
    rows = await tx.all("SELECT name, checksum FROM schema_migrations")
    applied = {row["name"]: row["checksum"] for row in rows}
    unknown = sorted(applied.keys() - {step.name for step in wanted})
    if unknown:
        raise SchemaTooNew(
            f"The database holds {len(unknown)} migrations that this version does not know, such"
            f" as {unknown[0]}.",
            hint="Run the newer version of the broker, or restore a backup.",
        )
    for step in wanted:
        if applied.get(step.name, step.checksum) != step.checksum:
            raise SchemaChanged(f"{step.name} was applied with another text.")
    return [step for step in wanted if step.name not in applied]
