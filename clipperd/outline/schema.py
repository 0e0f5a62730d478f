"""Defines the tables of the stored outlines, in cache.db."""

from __future__ import annotations

import sqlite3


def m002_outlines(connection: sqlite3.Connection) -> None:
    """Create a snapshot per page: ids, types and headings, never the text of paragraphs."""
    connection.execute(
        """CREATE TABLE outline (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            title TEXT,
            stamp TEXT,
            read_at REAL,
            fetched_at REAL NOT NULL,
            verified_at REAL NOT NULL,
            moved INTEGER NOT NULL CHECK (moved IN (0, 1)),
            shallow INTEGER NOT NULL CHECK (shallow IN (0, 1)),
            tree BLOB NOT NULL,
            PRIMARY KEY (user_id, workspace_id, page_id)
        ) STRICT"""
    )
