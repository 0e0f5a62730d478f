"""Creates the table of event cursors in cache.db."""

from __future__ import annotations

import sqlite3


def m004_push(connection: sqlite3.Connection) -> None:
    """Create push_position."""
    connection.execute(
        """CREATE TABLE push_position (user_id TEXT PRIMARY KEY, last_id TEXT NOT NULL)
            STRICT, WITHOUT ROWID"""
    )
