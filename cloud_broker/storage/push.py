"""Holds the SQL of received webhooks and of the log that daemons read: ids, never content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloud_broker.storage.database import Row, Tx

LOG_LOCK = "push log"
"""Held by each transaction that moves events into the log or removes names from it."""

STEPS = [
    # Notion's events: the id to detect duplicates, the rest until the log has it.
    """
    CREATE TABLE webhook_events (
      id TEXT PRIMARY KEY,
      received_at BIGINT NOT NULL,
      is_pending BIGINT NOT NULL CHECK (is_pending IN (0, 1)),
      workspace_id TEXT NOT NULL,
      page_id TEXT NOT NULL,
      what TEXT NOT NULL,
      bots TEXT,
      accessible_by TEXT
    )
    """,
    "CREATE INDEX webhook_events_pending ON webhook_events (received_at) WHERE is_pending = 1",
    "CREATE INDEX webhook_events_received ON webhook_events (received_at)",
    # One row, locked by each append, so that sequence numbers are committed in order.
    """
    CREATE TABLE push_state (
      name TEXT PRIMARY KEY,
      head BIGINT NOT NULL,
      floor BIGINT NOT NULL
    )
    """,
    "INSERT INTO push_state (name, head, floor) VALUES ('log', 0, 0)",
    """
    CREATE TABLE push_log (
      seq BIGINT PRIMARY KEY,
      at BIGINT NOT NULL,
      workspace_id TEXT NOT NULL,
      page_id TEXT NOT NULL,
      what TEXT NOT NULL,
      bots TEXT,
      accessible_by TEXT
    )
    """,
    "CREATE INDEX push_log_at ON push_log (at)",
]


async def is_connected(tx: Tx, workspace_id: str) -> bool:
    """Return whether any account has a connection to the workspace."""
    row = await tx.one(
        "SELECT 1 AS one FROM notion_connections WHERE workspace_id = :id", id=workspace_id
    )
    return row is not None


async def take(tx: Tx, event: Mapping[str, Any]) -> bool:
    """Store an event of Notion's; False for a duplicate id."""
    return bool(
        await tx.execute(
            """
            INSERT INTO webhook_events (id, received_at, is_pending, workspace_id, page_id, what,
              bots, accessible_by)
            VALUES (:id, :now, 1, :workspace_id, :page_id, :what, :bots, :accessible_by)
            ON CONFLICT (id) DO NOTHING
            """,
            **event,
        )
    )


async def is_left_behind(tx: Tx, *, before: int) -> bool:
    """Return whether an event received before ``before`` (ms) still waits for the log."""
    row = await tx.one(
        """
        SELECT 1 AS one FROM webhook_events
        WHERE is_pending = 1 AND received_at < :before LIMIT 1
        """,
        before=before,
    )
    return row is not None


async def pending(tx: Tx, limit: int) -> list[Row]:
    """Take the pending events, oldest first; their ids stay, to detect duplicates."""
    rows = await tx.all(
        """
        SELECT id, workspace_id, page_id, what, bots, accessible_by FROM webhook_events
        WHERE is_pending = 1 ORDER BY received_at, id LIMIT :limit
        """,
        limit=limit,
    )
    await tx.execute_many(
        """
        UPDATE webhook_events SET is_pending = 0, workspace_id = '', page_id = '',
          bots = NULL, accessible_by = NULL WHERE id = :id
        """,
        [{"id": row["id"]} for row in rows],
    )
    return rows


async def advance(tx: Tx, count: int) -> int:
    """Reserve ``count`` sequence numbers and return the last; locks the log until commit."""
    row = await tx.one(
        "UPDATE push_state SET head = head + :count WHERE name = 'log' RETURNING head", count=count
    )
    assert row is not None
    return int(row["head"])


async def append(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows with reserved sequence numbers."""
    await tx.execute_many(
        """
        INSERT INTO push_log (seq, at, workspace_id, page_id, what, bots, accessible_by)
        VALUES (:seq, :at, :workspace_id, :page_id, :what, :bots, :accessible_by)
        """,
        rows,
    )


async def state(tx: Tx) -> Row:
    """Return ``head``, the last sequence number, and ``floor``: the log is complete above it."""
    row = await tx.one("SELECT head, floor FROM push_state WHERE name = 'log'")
    assert row is not None
    return row


async def since(tx: Tx, seq: int, limit: int) -> list[Row]:
    """Return the log above ``seq``, in order."""
    return await tx.all(
        """
        SELECT seq, workspace_id, page_id, what, bots, accessible_by FROM push_log
        WHERE seq > :seq ORDER BY seq LIMIT :limit
        """,
        seq=seq,
        limit=limit,
    )


async def sweep(tx: Tx, *, log_before: int, events_before: int) -> None:
    """Delete old rows (times in ms), and those of workspaces without a connection."""
    await tx.execute(
        """
        UPDATE push_state SET floor = COALESCE(
          (SELECT MAX(seq) FROM push_log WHERE at < :before), floor)
        WHERE name = 'log'
        """,
        before=log_before,
    )
    await tx.execute("DELETE FROM push_log WHERE at < :before", before=log_before)
    await tx.execute(
        "DELETE FROM webhook_events WHERE received_at < :before AND is_pending = 0",
        before=events_before,
    )
    await delete_orphans(tx)


async def delete_orphans(tx: Tx) -> int:
    """Delete the rows of workspaces without a connection: no daemon may read them any more."""
    gone = await tx.execute(
        """
        DELETE FROM push_log WHERE workspace_id NOT IN
          (SELECT workspace_id FROM notion_connections)
        """
    )
    await tx.execute(
        """
        DELETE FROM webhook_events WHERE is_pending = 1 AND workspace_id NOT IN
          (SELECT workspace_id FROM notion_connections)
        """
    )
    return gone


async def erase(tx: Tx, user_id: str) -> int:  # noqa: ARG001 (the signature of an eraser)
    """Delete an erased account's events: its connections are already deleted."""
    return await delete_orphans(tx)


async def forget_party(tx: Tx, workspace_id: str, party: str) -> None:
    """Remove one bot or user from the rows of a workspace that others are connected to.

    Locks the log: an event moves between the two tables in one transaction, and a concurrent
    statement would miss the new row.
    """
    await tx.lock(LOG_LOCK)
    for table in ("push_log", "webhook_events"):
        await tx.execute(
            f"""
            UPDATE {table} SET
              bots = TRIM(REPLACE(' ' || bots || ' ', :party, ' ')),
              accessible_by = TRIM(REPLACE(' ' || accessible_by || ' ', :party, ' '))
            WHERE workspace_id = :workspace AND (' ' || COALESCE(bots, '') || ' '
              || COALESCE(accessible_by, '') || ' ') LIKE '%' || :party || '%'
            """,  # noqa: S608 (constants)
            workspace=workspace_id,
            party=f" {party} ",
        )


async def connections(tx: Tx, user_ids: Sequence[str]) -> list[Row]:
    """Return the connections of several users, without sealed columns."""
    marks = ", ".join(f":u{number}" for number in range(len(user_ids)))
    return await tx.all(
        f"""
        SELECT user_id, workspace_id, bot_id, notion_owner_id, reauth_required
        FROM notion_connections WHERE user_id IN ({marks})
        """,  # noqa: S608 (placeholders)
        **{f"u{number}": user_id for number, user_id in enumerate(user_ids)},
    )


async def subscriptions(tx: Tx, user_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the tier and status of several users."""
    marks = ", ".join(f":u{number}" for number in range(len(user_ids)))
    rows = await tx.all(
        f"SELECT user_id, tier, status FROM subscriptions WHERE user_id IN ({marks})",  # noqa: S608
        **{f"u{number}": user_id for number, user_id in enumerate(user_ids)},
    )
    return {row["user_id"]: (row["tier"], row["status"]) for row in rows}


async def living(tx: Tx, session_ids: Sequence[str], *, now: int) -> set[str]:
    """Return those of the sessions that are neither revoked nor expired."""
    marks = ", ".join(f":s{number}" for number in range(len(session_ids)))
    rows = await tx.all(
        f"""
        SELECT id FROM sessions
        WHERE id IN ({marks}) AND revoked_at IS NULL AND expires_at > :now
        """,  # noqa: S608 (placeholders)
        now=now,
        **{f"s{number}": session_id for number, session_id in enumerate(session_ids)},
    )
    return {row["id"] for row in rows}
