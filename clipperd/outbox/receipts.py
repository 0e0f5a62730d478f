"""Receipts for what we created at Notion other than by a clip."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

_NO_DELIVERY = -1


def note_others(connection: sqlite3.Connection, ids: Sequence[str], now: float) -> None:
    """These blocks or pages are our bot's but no clip's.

    Without a receipt they would be taken for what a clip's lost write left behind.
    """
    connection.executemany(
        "INSERT OR IGNORE INTO receipt (block_id, delivery_seq, print, created_at)"
        " VALUES (?, ?, '', ?)",
        [(each, _NO_DELIVERY, now) for each in ids],
    )
