"""Reads and writes the outlines in cache.db; every function runs inside a database job."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from clipperd.model import Scope
from clipperd.outline.tree import Tree, decode, encode


class Snapshot(msgspec.Struct, frozen=True):
    """The outline of a page as it was read. Times are epoch seconds.

    ``stamp``: the page's last_edited_time, or None if it was never read. ``read_at``: server time
    before which no part was read, or None if unknown. ``changed_by_us``: we changed the page since,
    so its stamp is newer and does not exclude other edits. ``is_partial``: containers were not
    listed.
    """

    tree: Tree
    title: str | None
    stamp: str | None
    read_at: float | None
    fetched_at: float
    verified_at: float
    changed_by_us: bool = False
    is_partial: bool = False


def load(connection: sqlite3.Connection, scope: Scope, page_id: str) -> Snapshot | None:
    """Return the stored snapshot, or None if there is no readable one."""
    row = connection.execute(
        """SELECT title, stamp, read_at, fetched_at, verified_at, moved, shallow, tree
            FROM outline WHERE user_id = :user AND workspace_id = :workspace
            AND page_id = :page""",
        _keys(scope, page_id),
    ).fetchone()
    tree = None if row is None else decode(page_id, row["tree"])
    if tree is None:
        return None
    return Snapshot(
        tree=tree,
        title=row["title"],
        stamp=row["stamp"],
        read_at=row["read_at"],
        fetched_at=row["fetched_at"],
        verified_at=row["verified_at"],
        changed_by_us=bool(row["moved"]),
        is_partial=bool(row["shallow"]),
    )


def save(connection: sqlite3.Connection, scope: Scope, page_id: str, snapshot: Snapshot) -> None:
    """Replace the stored snapshot."""
    connection.execute(
        """INSERT INTO outline (user_id, workspace_id, page_id, title, stamp, read_at, fetched_at,
                verified_at, moved, shallow, tree)
            VALUES (:user, :workspace, :page, :title, :stamp, :read_at, :fetched_at,
                :verified_at, :moved, :shallow, :tree)
            ON CONFLICT (user_id, workspace_id, page_id) DO UPDATE SET title = :title,
                stamp = :stamp, read_at = :read_at, fetched_at = :fetched_at,
                verified_at = :verified_at, moved = :moved, shallow = :shallow, tree = :tree""",
        {
            **_keys(scope, page_id),
            "title": snapshot.title,
            "stamp": snapshot.stamp,
            "read_at": snapshot.read_at,
            "fetched_at": snapshot.fetched_at,
            "verified_at": snapshot.verified_at,
            "moved": int(snapshot.changed_by_us),
            "shallow": int(snapshot.is_partial),
            "tree": encode(snapshot.tree),
        },
    )


def confirm(connection: sqlite3.Connection, scope: Scope, held: Snapshot) -> None:
    """Store a confirmed title and stamp, unless the snapshot was replaced in the meantime."""
    connection.execute(
        """UPDATE outline SET title = :title, stamp = :stamp, verified_at = :verified_at
            WHERE user_id = :user AND workspace_id = :workspace AND page_id = :page
              AND read_at IS :read_at AND moved = 0""",
        {
            **_keys(scope, held.tree.page_id),
            "title": held.title,
            "stamp": held.stamp,
            "verified_at": held.verified_at,
            "read_at": held.read_at,
        },
    )


def forget(connection: sqlite3.Connection, scope: Scope, page_id: str) -> None:
    """Delete the snapshot of a page that is gone."""
    connection.execute(
        """DELETE FROM outline WHERE user_id = :user AND workspace_id = :workspace
            AND page_id = :page""",
        _keys(scope, page_id),
    )


def _keys(scope: Scope, page_id: str) -> dict[str, Any]:
    return {"user": scope.user_id, "workspace": scope.workspace_id, "page": page_id}
