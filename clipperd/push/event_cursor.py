"""Stores the cursor of each account's event stream in cache.db."""

from __future__ import annotations

import sqlite3


def load(connection: sqlite3.Connection, user_id: str) -> str | None:
    """Return the id of the last event read, or None."""
    row = connection.execute(
        "SELECT last_id FROM push_position WHERE user_id = :user", {"user": user_id}
    ).fetchone()
    return None if row is None else str(row["last_id"])


def save(connection: sqlite3.Connection, user_id: str, last_id: str) -> None:
    """Store ``last_id`` as the last event read."""
    connection.execute(
        """INSERT INTO push_position (user_id, last_id) VALUES (:user, :last_id)
            ON CONFLICT (user_id) DO UPDATE SET last_id = :last_id""",
        {"user": user_id, "last_id": last_id},
    )
