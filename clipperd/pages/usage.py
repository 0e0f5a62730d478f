"""Reads and writes favourites and page use in outbox.db, so they survive a lost cache.db."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from clipperd.model import Scope

_HALF_LIFE_S = 14 * 86400.0  # seconds; a use counts half after two weeks


class Use(msgspec.Struct, frozen=True):
    """How often a page was clipped to; ``weight`` is the decayed count at ``last_used_at``."""

    page_id: str
    uses: int
    weight: float
    last_used_at: float

    def frecency(self, now: float) -> float:
        """Return the decayed count at ``now``, which combines frequency and recency."""
        age = max(0.0, now - self.last_used_at)
        return float(self.weight * 0.5 ** (age / _HALF_LIFE_S))


def record_use(connection: sqlite3.Connection, scope: Scope, page_id: str, now: float) -> None:
    """Count one clip to the page; may run inside another write to outbox.db."""
    keys = _keys(scope, page=page_id, now=now)
    row = connection.execute(
        """SELECT page_id, uses, weight, last_used_at FROM page_use
            WHERE user_id = :user AND workspace_id = :workspace AND page_id = :page""",
        keys,
    ).fetchone()
    weight = 1.0 if row is None else Use(**dict(row)).frecency(now) + 1.0
    connection.execute(
        """INSERT INTO page_use (user_id, workspace_id, page_id, uses, weight, last_used_at)
            VALUES (:user, :workspace, :page, 1, :weight, :now)
            ON CONFLICT (user_id, workspace_id, page_id)
            DO UPDATE SET uses = uses + 1, weight = :weight, last_used_at = :now""",
        {**keys, "weight": weight},
    )


def uses(connection: sqlite3.Connection, scope: Scope) -> list[Use]:
    """Return the use of every page, last used first."""
    rows = connection.execute(
        """SELECT page_id, uses, weight, last_used_at FROM page_use
            WHERE user_id = :user AND workspace_id = :workspace
            ORDER BY last_used_at DESC, page_id DESC""",
        _keys(scope),
    )
    return [Use(**dict(row)) for row in rows.fetchall()]


def favorites(connection: sqlite3.Connection, scope: Scope) -> list[tuple[str, float]]:
    """Return favourite page ids and when they were added, newest first."""
    rows = connection.execute(
        """SELECT page_id, added_at FROM favorite
            WHERE user_id = :user AND workspace_id = :workspace
            ORDER BY added_at DESC, page_id DESC""",
        _keys(scope),
    )
    return [(row["page_id"], row["added_at"]) for row in rows.fetchall()]


def set_favorite(
    connection: sqlite3.Connection, scope: Scope, page_id: str, now: float, *, on: bool
) -> None:
    """Set or clear a favourite; idempotent."""
    if on:
        connection.execute(
            """INSERT INTO favorite (user_id, workspace_id, page_id, added_at)
                VALUES (:user, :workspace, :page, :now) ON CONFLICT DO NOTHING""",
            _keys(scope, page=page_id, now=now),
        )
    else:
        connection.execute(
            """DELETE FROM favorite
                WHERE user_id = :user AND workspace_id = :workspace AND page_id = :page""",
            _keys(scope, page=page_id),
        )


def _keys(scope: Scope, **more: Any) -> dict[str, Any]:
    return {"user": scope.user_id, "workspace": scope.workspace_id, **more}
