"""SQL about the brokers that are alive: a row each, renewed by its broker."""

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
    """Note that ``instance`` is alive at ``now`` (ms)."""
    await tx.execute(
        """
        INSERT INTO broker_instances (id, seen_at) VALUES (:id, :now)
        ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
        """,
        id=instance,
        now=now,
    )


async def alive(tx: Tx, *, since: int) -> int:
    """How many were seen after ``since`` (ms)."""
    row = await tx.one(
        "SELECT COUNT(*) AS many FROM broker_instances WHERE seen_at > :since", since=since
    )
    assert row is not None
    return int(row["many"])


async def leave(tx: Tx, instance: str) -> None:
    """Forget a broker that stops."""
    await tx.execute("DELETE FROM broker_instances WHERE id = :id", id=instance)


async def sweep(tx: Tx, *, before: int) -> None:
    """Forget those not seen since ``before`` (ms)."""
    await tx.execute("DELETE FROM broker_instances WHERE seen_at < :before", before=before)
