"""Delete clips from the history, and erase expired content and keys."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from clipperd.errors import NotFinished
from clipperd.model import FINISHED, State
from clipperd.outbox.actions import rows_of
from clipperd.outbox.records import CLOSED_SQL, FINISHED_SQL
from clipperd.outbox.views import state_clause

Live = Mapping[tuple[str, str], frozenset[Any]]
"""The present rows by table: the values of the column that identifies them."""

# Deleting a clip deletes its deliveries; its content may be erased earlier.
_HELD = (("clip", "seq"), ("content", "clip_seq"), ("request", "key"))
_KEEP_KEYS = 31 * 86400.0  # seconds; an Idempotency-Key is valid for 30 days


def delete(connection: sqlite3.Connection, user_id: str, clip_id: str) -> None:
    """Delete a finished clip from the history. Raises NotFound, NotFinished."""
    rows = rows_of(connection, user_id, clip_id, None)
    if any(State(row["state"]) not in FINISHED or _undoing(row) for row in rows):
        raise NotFinished(
            "Only a clip that is delivered, failed or canceled can be deleted.",
            hint="Cancel it first.",
        )
    connection.execute("DELETE FROM clip WHERE seq = ?", (rows[0]["clip"],))


def delete_many(
    connection: sqlite3.Connection, user_id: str, states: Sequence[str], before: float | None
) -> int:
    """Delete finished clips accepted before a time; return how many."""
    values: dict[str, Any] = {"user_id": user_id, "before": before}
    chosen = state_clause(states, values)
    return connection.execute(
        "DELETE FROM clip WHERE user_id = :user_id AND (:before IS NULL OR created_at < :before)"
        f" AND {chosen} AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.clip_seq = clip.seq"
        " AND json_extract(d.undo, '$.state') = 'queued')",
        values,
    ).rowcount


def erase_expired(connection: sqlite3.Connection, now: float, keep_content_s: float) -> int:
    """Erase the content of finished clips after its retention; receipts stay.

    Deletes expired Idempotency-Keys too, unless their clip is unfinished.
    """
    done = "NOT EXISTS (SELECT 1 FROM delivery d WHERE d.clip_seq = clip.seq AND d.state NOT IN"
    connection.execute(
        "UPDATE clip SET content_expires_at = updated_at + ? WHERE content_expires_at IS NULL"
        f" AND {done} {CLOSED_SQL})",
        (keep_content_s,),
    )
    connection.execute(
        "DELETE FROM idempotency WHERE created_at < ? AND NOT EXISTS (SELECT 1 FROM clip"
        " WHERE clip.id = idempotency.clip_id"
        f" AND NOT {done} {FINISHED_SQL}))",
        (now - _KEEP_KEYS,),
    )
    return connection.execute(
        "DELETE FROM content WHERE clip_seq IN"
        " (SELECT seq FROM clip WHERE content_expires_at <= ?)",
        (now,),
    ).rowcount


def live(connection: sqlite3.Connection) -> Live:
    """Return the rows that the queue holds now."""
    return {
        (table, key): frozenset(row[0] for row in connection.execute(f"SELECT {key} FROM {table}"))
        for table, key in _HELD
    }


def keep_only(copy: sqlite3.Connection, held: Live) -> None:
    """Erase from an older copy the rows that the queue no longer holds; see :func:`live`."""
    for (table, key), kept in held.items():
        found = {row[0] for row in copy.execute(f"SELECT {key} FROM {table}")}
        copy.executemany(
            f"DELETE FROM {table} WHERE {key} = ?",
            [(value,) for value in found - kept],
        )


def _undoing(row: sqlite3.Row) -> bool:
    return row["undo"] is not None and json.loads(row["undo"])["state"] == "queued"
