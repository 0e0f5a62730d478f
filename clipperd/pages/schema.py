"""Favourites and use of pages: kept in outbox.db, because no call can fetch them again."""

from __future__ import annotations

import sqlite3


def p001_marks(connection: sqlite3.Connection) -> None:
    """Favourites, and how often and when each page was last clipped to. Times: epoch seconds."""
    connection.execute(
        """CREATE TABLE favorite (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            added_at REAL NOT NULL,
            PRIMARY KEY (user_id, workspace_id, page_id)
        ) STRICT, WITHOUT ROWID"""
    )
    connection.execute(
        """CREATE TABLE page_use (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            uses INTEGER NOT NULL,
            weight REAL NOT NULL,
            last_used_at REAL NOT NULL,
            PRIMARY KEY (user_id, workspace_id, page_id)
        ) STRICT, WITHOUT ROWID"""
    )


PAGE_STEPS = (p001_marks,)
"""Steps of outbox.db, in order."""
