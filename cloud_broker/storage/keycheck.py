"""SQL about the values that prove the key-ring at start, and about which key seals what."""

from __future__ import annotations

from cloud_broker.storage.database import Row, Tx

STEPS = [
    """
    CREATE TABLE broker_state (
      name TEXT PRIMARY KEY,
      kid TEXT NOT NULL,
      wrapped_key {blob} NOT NULL,
      value_sealed {blob} NOT NULL,
      created_at BIGINT NOT NULL
    )
    """,
    # One row for each encryption key that was ever met; no row of anybody's depends on it.
    """
    CREATE TABLE key_proofs (
      kid TEXT PRIMARY KEY,
      wrapped_key {blob} NOT NULL,
      value_sealed {blob} NOT NULL,
      created_at BIGINT NOT NULL
    )
    """,
]


async def keep_or_read(
    tx: Tx, *, name: str, kid: str, wrapped_key: bytes, value: bytes, now: int
) -> Row:
    """Store the value unless one is there; return the one that is there."""
    await tx.execute(
        """
        INSERT INTO broker_state (name, kid, wrapped_key, value_sealed, created_at)
        VALUES (:name, :kid, :wrapped_key, :value, :now) ON CONFLICT (name) DO NOTHING
        """,
        name=name,
        kid=kid,
        wrapped_key=wrapped_key,
        value=value,
        now=now,
    )
    row = await tx.one(
        "SELECT kid, wrapped_key, value_sealed FROM broker_state WHERE name = :name", name=name
    )
    assert row is not None
    return row


async def replace(
    tx: Tx, *, name: str, kid: str, wrapped_key: bytes, value: bytes, now: int
) -> None:
    """Store the value, in place of one that is there."""
    await tx.execute(
        """
        INSERT INTO broker_state (name, kid, wrapped_key, value_sealed, created_at)
        VALUES (:name, :kid, :wrapped_key, :value, :now)
        ON CONFLICT (name) DO UPDATE SET kid = excluded.kid, wrapped_key = excluded.wrapped_key,
          value_sealed = excluded.value_sealed, created_at = excluded.created_at
        """,
        name=name,
        kid=kid,
        wrapped_key=wrapped_key,
        value=value,
        now=now,
    )


async def value(tx: Tx, name: str) -> Row | None:
    """A stored value, sealed; None when there is none."""
    return await tx.one(
        "SELECT kid, wrapped_key, value_sealed FROM broker_state WHERE name = :name", name=name
    )


async def keep_or_read_proof(
    tx: Tx, *, kid: str, wrapped_key: bytes, value: bytes, now: int
) -> Row:
    """Store a key's proof unless one is there; return the one that is there."""
    await tx.execute(
        """
        INSERT INTO key_proofs (kid, wrapped_key, value_sealed, created_at)
        VALUES (:kid, :wrapped_key, :value, :now) ON CONFLICT (kid) DO NOTHING
        """,
        kid=kid,
        wrapped_key=wrapped_key,
        value=value,
        now=now,
    )
    row = await tx.one("SELECT wrapped_key, value_sealed FROM key_proofs WHERE kid = :k", k=kid)
    assert row is not None
    return row


async def drop_proofs(tx: Tx, *, but: str) -> list[str]:
    """Forget every key but one; return the ids of those forgotten."""
    rows = await tx.all("DELETE FROM key_proofs WHERE kid <> :kid RETURNING kid", kid=but)
    return sorted(row["kid"] for row in rows)


async def rows_by_key(tx: Tx) -> dict[str, int]:
    """How many rows each encryption key seals, in every table that needs it to be read."""
    rows = await tx.all(
        """
        SELECT kid, COUNT(*) AS many FROM (
          SELECT kid FROM broker_state
          UNION ALL SELECT kid FROM notion_connections
          UNION ALL SELECT kid FROM pending_revocations
        ) AS sealed GROUP BY kid
        """
    )
    return {row["kid"]: row["many"] for row in rows}
