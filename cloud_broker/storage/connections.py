"""Holds the SQL of connections to Notion workspaces and of pending revocations."""

from __future__ import annotations

from cloud_broker.storage.database import Row, Tx

STEPS = [
    """
    CREATE TABLE notion_connections (
      id TEXT PRIMARY KEY,
      user_id TEXT NOT NULL REFERENCES user_profiles (id) ON DELETE CASCADE,
      workspace_id TEXT NOT NULL,
      workspace_name TEXT,
      workspace_icon TEXT,
      bot_id TEXT NOT NULL,
      notion_owner_id TEXT NOT NULL,
      kid TEXT NOT NULL,
      wrapped_key {blob} NOT NULL,
      access_token_sealed {blob} NOT NULL,
      refresh_token_sealed {blob},
      version BIGINT NOT NULL DEFAULT 1,
      reauth_required BIGINT NOT NULL DEFAULT 0 CHECK (reauth_required IN (0, 1)),
      lease_owner TEXT,
      lease_until BIGINT NOT NULL DEFAULT 0,
      created_at BIGINT NOT NULL,
      updated_at BIGINT NOT NULL,
      UNIQUE (user_id, workspace_id)
    )
    """,
    """
    CREATE TABLE pending_revocations (
      id TEXT PRIMARY KEY,
      kid TEXT NOT NULL,
      wrapped_key {blob} NOT NULL,
      token_sealed {blob} NOT NULL,
      attempts BIGINT NOT NULL DEFAULT 0,
      next_attempt_at BIGINT NOT NULL,
      created_at BIGINT NOT NULL
    )
    """,
    "CREATE INDEX pending_revocations_due ON pending_revocations (next_attempt_at)",
]

_COLUMNS = """
    id, user_id, workspace_id, workspace_name, workspace_icon, bot_id, kid, wrapped_key,
    access_token_sealed, refresh_token_sealed, version, reauth_required, lease_owner, lease_until
"""
_BY_ID = f"SELECT {_COLUMNS} FROM notion_connections WHERE id = :id"  # noqa: S608  (constants)
_TAKE = f"DELETE FROM notion_connections WHERE id = :id RETURNING {_COLUMNS}"  # noqa: S608  (constants)
_BY_USER = f"""
    SELECT {_COLUMNS} FROM notion_connections WHERE user_id = :user_id
    ORDER BY created_at, id
"""  # noqa: S608  (constants)


async def connection_by_id(tx: Tx, connection_id: str) -> Row | None:
    """Return one connection with its sealed columns."""
    return await tx.one(_BY_ID, id=connection_id)


async def connections_of(tx: Tx, user_id: str) -> list[Row]:
    """Return the user's connections with their sealed columns, oldest first."""
    return await tx.all(_BY_USER, user_id=user_id)


async def of_user(tx: Tx, user_id: str) -> list[Row]:
    """Return the user's connections without sealed columns, for an export."""
    return await tx.all(
        """
        SELECT id AS connection_id, workspace_id AS id, workspace_name AS name,
               workspace_icon AS icon, bot_id, notion_owner_id, reauth_required, created_at,
               updated_at
        FROM notion_connections WHERE user_id = :user_id ORDER BY created_at, id
        """,
        user_id=user_id,
    )


async def workspaces_of(tx: Tx, user_id: str) -> list[Row]:
    """Return the user's workspaces without sealed columns, oldest first."""
    return await tx.all(
        """
        SELECT workspace_id AS id, workspace_name AS name, workspace_icon AS icon, bot_id,
               reauth_required, created_at, updated_at
        FROM notion_connections WHERE user_id = :user_id ORDER BY created_at, id
        """,
        user_id=user_id,
    )


async def is_bot_connected(tx: Tx, bot_id: str) -> bool:
    """Return whether any connection uses this bot."""
    sql = "SELECT 1 AS one FROM notion_connections WHERE bot_id = :bot LIMIT 1"
    return await tx.one(sql, bot=bot_id) is not None


async def connection_id_for(tx: Tx, user_id: str, workspace_id: str, *, new_id: str) -> str:
    """Return the id of the user's connection to the workspace, or ``new_id`` if none exists."""
    row = await tx.one(
        "SELECT id FROM notion_connections WHERE user_id = :u AND workspace_id = :w",
        u=user_id,
        w=workspace_id,
    )
    return str(row["id"]) if row else new_id


async def save_connection(
    tx: Tx,
    *,
    connection_id: str,
    user_id: str,
    workspace_id: str,
    workspace_name: str | None,
    workspace_icon: str | None,
    bot_id: str,
    notion_owner_id: str,
    kid: str,
    wrapped_key: bytes,
    access: bytes,
    refresh: bytes | None,
    now: int,
) -> None:
    """Store a new grant: insert a connection, or replace the tokens of an existing one."""
    await tx.execute(
        """
        INSERT INTO notion_connections
          (id, user_id, workspace_id, workspace_name, workspace_icon, bot_id, notion_owner_id,
           kid, wrapped_key, access_token_sealed, refresh_token_sealed, created_at, updated_at)
        VALUES (:connection_id, :user_id, :workspace_id, :workspace_name, :workspace_icon,
           :bot_id, :notion_owner_id, :kid, :wrapped_key, :access, :refresh, :now, :now)
        ON CONFLICT (id) DO UPDATE SET
          workspace_name = excluded.workspace_name, workspace_icon = excluded.workspace_icon,
          bot_id = excluded.bot_id, kid = excluded.kid, wrapped_key = excluded.wrapped_key,
          access_token_sealed = excluded.access_token_sealed,
          refresh_token_sealed = excluded.refresh_token_sealed,
          version = notion_connections.version + 1, reauth_required = 0,
          lease_owner = NULL, lease_until = 0, updated_at = excluded.updated_at
        """,
        connection_id=connection_id,
        user_id=user_id,
        workspace_id=workspace_id,
        workspace_name=workspace_name,
        workspace_icon=workspace_icon,
        bot_id=bot_id,
        notion_owner_id=notion_owner_id,
        kid=kid,
        wrapped_key=wrapped_key,
        access=access,
        refresh=refresh,
        now=now,
    )


async def take_lease(
    tx: Tx, connection_id: str, *, version: int, owner: str, now: int, until: int
) -> bool:
    """Take the lease to refresh this version of the tokens; False when another holds it."""
    taken = await tx.execute(
        """
        UPDATE notion_connections SET lease_owner = :owner, lease_until = :until
        WHERE id = :id AND version = :version AND reauth_required = 0 AND lease_until <= :now
        """,
        id=connection_id,
        version=version,
        owner=owner,
        now=now,
        until=until,
    )
    return bool(taken)


async def drop_lease(tx: Tx, connection_id: str, *, owner: str) -> None:
    """Release the lease without a new version."""
    await tx.execute(
        """
        UPDATE notion_connections SET lease_owner = NULL, lease_until = 0
        WHERE id = :id AND lease_owner = :owner
        """,
        id=connection_id,
        owner=owner,
    )


async def store_refreshed(
    tx: Tx,
    connection_id: str,
    *,
    version: int,
    kid: str,
    wrapped_key: bytes,
    access: bytes,
    refresh: bytes | None,
    now: int,
) -> bool:
    """Replace the tokens of ``version``; False when the row has another version."""
    stored = await tx.execute(
        """
        UPDATE notion_connections SET
          kid = :kid, wrapped_key = :wrapped_key, access_token_sealed = :access,
          refresh_token_sealed = :refresh, version = version + 1,
          lease_owner = NULL, lease_until = 0, updated_at = :now
        WHERE id = :id AND version = :version
        """,
        id=connection_id,
        version=version,
        kid=kid,
        wrapped_key=wrapped_key,
        access=access,
        refresh=refresh,
        now=now,
    )
    return bool(stored)


async def mark_reauth(tx: Tx, connection_id: str, *, version: int, now: int) -> bool:
    """Record that the grant of ``version`` has ended; False when the row has another version."""
    marked = await tx.execute(
        """
        UPDATE notion_connections SET reauth_required = 1, version = version + 1,
          lease_owner = NULL, lease_until = 0, updated_at = :now
        WHERE id = :id AND version = :version
        """,
        id=connection_id,
        version=version,
        now=now,
    )
    return bool(marked)


async def take_connection(tx: Tx, connection_id: str) -> Row | None:
    """Delete the row with its ciphertext; return the deleted row."""
    return await tx.one(_TAKE, id=connection_id)


async def add_revocation(
    tx: Tx, *, revocation_id: str, kid: str, wrapped_key: bytes, token: bytes, now: int
) -> None:
    """Store a token that Notion must still revoke."""
    await tx.execute(
        """
        INSERT INTO pending_revocations
          (id, kid, wrapped_key, token_sealed, next_attempt_at, created_at)
        VALUES (:id, :kid, :wrapped_key, :token, :now, :now)
        """,
        id=revocation_id,
        kid=kid,
        wrapped_key=wrapped_key,
        token=token,
        now=now,
    )


async def claim_revocations(tx: Tx, *, now: int, again_at: int, limit: int) -> list[Row]:
    """Claim the due revocations until ``again_at``."""
    return await tx.all(
        """
        UPDATE pending_revocations SET next_attempt_at = :again_at, attempts = attempts + 1
        WHERE id IN (
          SELECT id FROM pending_revocations WHERE next_attempt_at <= :now
          ORDER BY next_attempt_at LIMIT :limit
        ) AND next_attempt_at <= :now
        RETURNING id, kid, wrapped_key, token_sealed, attempts, created_at
        """,
        now=now,
        again_at=again_at,
        limit=limit,
    )


async def postpone_revocation(tx: Tx, revocation_id: str, *, until: int) -> None:
    """Schedule the next attempt for ``until``."""
    await tx.execute(
        "UPDATE pending_revocations SET next_attempt_at = :until WHERE id = :id",
        id=revocation_id,
        until=until,
    )


async def delete_revocation(tx: Tx, revocation_id: str) -> None:
    """Delete a finished revocation with its ciphertext."""
    await tx.execute("DELETE FROM pending_revocations WHERE id = :id", id=revocation_id)


async def count_revocations(tx: Tx) -> int:
    """Return the number of pending revocations."""
    row = await tx.one("SELECT COUNT(*) AS many FROM pending_revocations")
    return int(row["many"]) if row else 0


async def next_revocation_at(tx: Tx) -> int | None:
    """Return the time of the next due revocation in epoch ms, or None."""
    row = await tx.one("SELECT MIN(next_attempt_at) AS due FROM pending_revocations")
    return None if row is None or row["due"] is None else int(row["due"])
