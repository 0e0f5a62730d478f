"""SQL that moves sealed rows from one encryption key to another, beside everything else.

A row is replaced only if it still is what was read: a refresh that stored a new pair meanwhile
wins.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloud_broker.storage.database import Row, Tx

Columns = Mapping[str, bytes | None]


async def connections_under_others(tx: Tx, *, kid: str, after: str, limit: int) -> list[Row]:
    """Connections sealed with another key than ``kid``, by id, after the id ``after``."""
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
    """Replace what seals a connection; False when it has changed since it was read.

    The version stays: a refresh that is under way must still find it, or its new pair is lost.
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
    """Waiting revocations sealed with another key than ``kid``."""
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
    """Replace what seals a revocation; False when it is gone."""
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
    """Values of the broker itself sealed with another key than ``kid``."""
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
    """Replace what seals a value; False when it has changed since it was read."""
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
