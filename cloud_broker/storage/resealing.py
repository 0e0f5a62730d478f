"""Holds the SQL that moves sealed rows to another encryption key while brokers serve.

A row is replaced only if it has not changed since it was read: a token refresh in between wins.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloud_broker.storage.database import Row, Tx

Columns = Mapping[str, bytes | None]


async def connections_under_others(tx: Tx, *, kid: str, after: str, limit: int) -> list[Row]:
    """Return connections sealed with another key than ``kid``, by id, after the id ``after``."""
    return await tx.all(
        """
        SELECT id, user_id, workspace_id, kid, wrapped_key, access_token_sealed,
               refresh_token_sealed, version
        FROM notion_connections WHERE kid <> :kid AND id > :after ORDER BY id LIMIT :limit
        """,
        kid=kid,
        after=after,
        limit=limit,
    )


async def reseal_connection(
    tx: Tx, row: Row, *, kid: str, wrapped_key: bytes, columns: Columns
) -> bool:
    """Replace the sealed columns of a connection; False when it has changed since it was read.

    The version stays: a refresh under way must still find it, or its new pair is lost.
    """
    return bool(
        await tx.execute(
            """
            UPDATE notion_connections SET kid = :kid, wrapped_key = :wrapped_key,
              access_token_sealed = :access, refresh_token_sealed = :refresh
            WHERE id = :id AND version = :version AND kid = :before
            """,
            kid=kid,
            wrapped_key=wrapped_key,
            access=columns["access_token_sealed"],
            refresh=columns["refresh_token_sealed"],
            id=row["id"],
            version=row["version"],
            before=row["kid"],
        )
    )


async def revocations_under_others(tx: Tx, *, kid: str, after: str, limit: int) -> list[Row]:
    """Return pending revocations sealed with another key than ``kid``."""
    return await tx.all(
        """
        SELECT id, kid, wrapped_key, token_sealed FROM pending_revocations
        WHERE kid <> :kid AND id > :after ORDER BY id LIMIT :limit
        """,
        kid=kid,
        after=after,
        limit=limit,
    )


async def reseal_revocation(
    tx: Tx, row: Row, *, kid: str, wrapped_key: bytes, columns: Columns
) -> bool:
    """Replace the sealed columns of a revocation; False when it has been deleted."""
    return bool(
        await tx.execute(
            """
            UPDATE pending_revocations SET kid = :kid, wrapped_key = :wrapped_key,
              token_sealed = :token
            WHERE id = :id AND kid = :before
            """,
            kid=kid,
            wrapped_key=wrapped_key,
            token=columns["token_sealed"],
            id=row["id"],
            before=row["kid"],
        )
    )


async def values_under_others(tx: Tx, *, kid: str, after: str, limit: int) -> list[Row]:
    """Return the broker's own values sealed with another key than ``kid``."""
    return await tx.all(
        """
        SELECT name AS id, kid, wrapped_key, value_sealed FROM broker_state
        WHERE kid <> :kid AND name > :after ORDER BY name LIMIT :limit
        """,
        kid=kid,
        after=after,
        limit=limit,
    )


async def reseal_value(tx: Tx, row: Row, *, kid: str, wrapped_key: bytes, columns: Columns) -> bool:
    """Replace the sealed columns of a value; False when it has changed since it was read."""
    return bool(
        await tx.execute(
            """
            UPDATE broker_state SET kid = :kid, wrapped_key = :wrapped_key, value_sealed = :value
            WHERE name = :id AND kid = :before AND wrapped_key = :wrapped_before
            """,
            kid=kid,
            wrapped_key=wrapped_key,
            value=columns["value_sealed"],
            id=row["id"],
            before=row["kid"],
            wrapped_before=row["wrapped_key"],
        )
    )
