"""Holds the SQL of the values that prove the key ring, and of the rows that each key seals."""

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
    # One row for each encryption key ever used; no user's row depends on it.
    """
    CREATE TABLE key_proofs (
      kid TEXT PRIMARY KEY,
      wrapped_key {blob} NOT NULL,
      value_sealed {blob} NOT NULL,
      created_at BIGINT NOT NULL
    )
    """,
]


async def rewrite_proofs(tx: Tx) -> None:
    """Write what is there already: fails where the broker could not work."""
    await tx.execute("UPDATE key_proofs SET created_at = created_at")


async def keep_or_read(
    tx: Tx, *, name: str, kid: str, wrapped_key: bytes, value: bytes, now: int
) -> Row:
    """Store the value unless one exists; return the stored row."""
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
    """Store the value, replacing an existing one."""
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
    """Return a stored value, sealed, or None."""
    return await tx.one(
        "SELECT kid, wrapped_key, value_sealed FROM broker_state WHERE name = :name", name=name
    )


async def keep_or_read_proof(
    tx: Tx, *, kid: str, wrapped_key: bytes, value: bytes, now: int
) -> Row:
    """Store a key's proof unless one exists; return the stored row."""
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
    """Delete the proofs of all keys but one; return the ids of the deleted."""
    rows = await tx.all("DELETE FROM key_proofs WHERE kid <> :kid RETURNING kid", kid=but)
    return sorted(row["kid"] for row in rows)


async def rows_by_key(tx: Tx) -> dict[str, int]:
    """Return the number of rows that each encryption key seals, over all tables."""
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
