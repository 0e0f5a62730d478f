"""Holds the SQL of live brokers: one row each, renewed by heartbeats."""

from __future__ import annotations

from cloud_broker.storage.database import Tx

STEPS = [
    """
    CREATE TABLE broker_instances (
      id TEXT PRIMARY KEY,
      seen_at BIGINT NOT NULL
    )
    """,
]


async def beat(tx: Tx, instance: str, *, now: int) -> None:
    """Record a heartbeat of ``instance`` at ``now`` (ms)."""
    await tx.execute(
        """
        INSERT INTO broker_instances (id, seen_at) VALUES (:id, :now)
        ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
        """,
        id=instance,
        now=now,
    )


async def alive(tx: Tx, *, since: int) -> int:
    """Return the number of brokers seen after ``since`` (ms)."""
    row = await tx.one(
        "SELECT COUNT(*) AS many FROM broker_instances WHERE seen_at > :since", since=since
    )
    assert row is not None
    return int(row["many"])


async def leave(tx: Tx, instance: str) -> None:
    """Delete a broker that stops."""
    await tx.execute("DELETE FROM broker_instances WHERE id = :id", id=instance)


async def sweep(tx: Tx, *, before: int) -> None:
    """Delete brokers not seen since ``before`` (ms)."""
    await tx.execute("DELETE FROM broker_instances WHERE seen_at < :before", before=before)
