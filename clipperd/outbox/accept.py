"""Accept a clip: one transaction makes it durable, once per Idempotency-Key."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from clipperd.errors import IdempotencyConflict, PageRefTaken, PageRefUnknown
from clipperd.model import Scope
from clipperd.outbox import views
from clipperd.outbox.records import GIVEN_UP_SQL, ClipView, Draft, LaneKey, Target, position_to_json
from clipperd.outbox.schema import DEFERRED


def accept(
    connection: sqlite3.Connection, draft: Draft, *, clip_id: str, ids: list[str], now: float
) -> tuple[ClipView, bool, list[LaneKey]]:
    """Store ``draft``; return its view, whether it is a replay, and the lanes it joins.

    ``ids``: one for each delivery. Raises IdempotencyConflict, PageRefUnknown, PageRefTaken, and
    stores nothing then.
    """
    earlier = _replayed(connection, draft)
    if earlier is not None:
        return views.get(connection, draft.scope.user_id, earlier), True, []
    clip = _insert_clip(connection, draft, clip_id, now)
    deliveries = [
        _insert_delivery(connection, draft, target, clip["seq"], delivery_id, now)
        for target, delivery_id in zip(draft.targets, ids, strict=True)
    ]
    if draft.idempotency_key is not None:
        connection.execute(
            "INSERT INTO idempotency (user_id, client_id, key, hash, clip_id, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                draft.scope.user_id,
                draft.client_id,
                draft.idempotency_key,
                draft.fingerprint,
                clip_id,
                now,
            ),
        )
    lanes = [(draft.scope.user_id, draft.scope.workspace_id, row["lane"]) for row in deliveries]
    return views.of_rows(clip, deliveries), False, lanes


def _replayed(connection: sqlite3.Connection, draft: Draft) -> str | None:
    if draft.idempotency_key is None:
        return None
    row = connection.execute(
        "SELECT hash, clip_id, EXISTS (SELECT 1 FROM clip WHERE clip.id = clip_id) AS stands"
        " FROM idempotency WHERE user_id = ? AND client_id = ? AND key = ?",
        (draft.scope.user_id, draft.client_id, draft.idempotency_key),
    ).fetchone()
    if row is None:
        return None
    if row["hash"] != draft.fingerprint:
        raise IdempotencyConflict(
            "This Idempotency-Key was used for a clip with other content.",
            hint="Use a new key for a new clip.",
        )
    if not row["stands"]:
        raise IdempotencyConflict(
            "The clip accepted under this Idempotency-Key was deleted.",
            hint="Use a new key for a new clip.",
        )
    return str(row["clip_id"])


def _insert_clip(
    connection: sqlite3.Connection, draft: Draft, clip_id: str, now: float
) -> sqlite3.Row:
    (row,) = connection.execute(
        "INSERT INTO clip (id, user_id, workspace_id, created_at, updated_at, format, title,"
        " preview, size_bytes, demotable, source, priority, not_before, first_level, elements,"
        " body_bytes, chunks) VALUES (:id, :user_id, :workspace_id, :now, :now, :format, :title,"
        " :preview, :size_bytes, :demotable, :source, :priority, :not_before, :first_level,"
        " :elements, :body_bytes, :chunks) RETURNING *",
        {
            "id": clip_id,
            "user_id": draft.scope.user_id,
            "workspace_id": draft.scope.workspace_id,
            "now": now,
            "format": draft.prepared.format,
            "title": draft.prepared.title,
            "preview": draft.prepared.preview,
            "size_bytes": len(draft.accepted),
            "demotable": int(draft.prepared.demotable),
            "source": msgspec.json.encode(draft.source).decode(),
            "priority": draft.priority,
            "not_before": draft.not_before,
            "first_level": len(draft.prepared.blocks),
            "elements": draft.plan.elements,
            "body_bytes": draft.plan.size_bytes,
            "chunks": len(draft.plan.chunks),
        },
    ).fetchall()
    connection.execute(
        "INSERT INTO content (clip_seq, accepted, plan) VALUES (?, ?, ?)",
        (row["seq"], draft.accepted, draft.plan.encoded),
    )
    return cast("sqlite3.Row", row)  # fetchall returns Any; the connection's row_factory makes rows


def _insert_delivery(
    connection: sqlite3.Connection,
    draft: Draft,
    target: Target,
    clip_seq: int,
    delivery_id: str,
    now: float,
) -> sqlite3.Row:
    page_id, page_ref, lane = locate(connection, draft.scope, target, delivery_id)
    queue_position = next_queue_position(connection)
    if draft.not_before is not None and draft.not_before > now:
        queue_position += DEFERRED
    (row,) = connection.execute(
        "INSERT INTO delivery (id, clip_seq, user_id, workspace_id, lane, turn, page_id, page_ref,"
        " page_title, new_page, position, state, created_at) VALUES (:id, :clip_seq, :user_id,"
        " :workspace_id, :lane, :turn, :page_id, :page_ref, :page_title, :new_page, :position,"
        " 'queued', :now) RETURNING *",
        {
            "id": delivery_id,
            "clip_seq": clip_seq,
            "user_id": draft.scope.user_id,
            "workspace_id": draft.scope.workspace_id,
            "lane": lane,
            "turn": queue_position,
            "page_id": page_id,
            "page_ref": page_ref,
            "page_title": title_of(connection, draft.scope, target),
            "new_page": _new_page_json(target.new_page),
            "position": position_to_json(target.position),
            "now": now,
        },
    ).fetchall()
    return cast("sqlite3.Row", row)


def locate(
    connection: sqlite3.Connection, scope: Scope, target: Target, delivery_id: str
) -> tuple[str | None, str | None, str]:
    """Return the page id, the page ref and the lane of a target."""
    if target.page_id is not None:
        return target.page_id, None, target.page_id
    if target.new_page is not None:
        ref = target.new_page.get("ref") or f"new-{delivery_id}"
        if creator(connection, scope, ref) is not None:
            raise PageRefTaken(
                "Another new page has this ref. Choose another.", params={"ref": ref}
            )
        parent_ref = (target.new_page.get("parent") or {}).get("page_ref")
        if parent_ref is not None:
            _must_exist(connection, scope, parent_ref)
        return None, ref, f"ref:{ref}"
    ref = str(target.page_ref)
    row = _must_exist(connection, scope, ref)
    return row["page_id"], ref, str(row["lane"])


def title_of(connection: sqlite3.Connection, scope: Scope, target: Target) -> str | None:
    """Return the title of a located target's page, if known."""
    if target.new_page is not None:
        return str(target.new_page["title"])
    if target.page_ref is not None:
        title = _must_exist(connection, scope, target.page_ref)["page_title"]
        return None if title is None else str(title)
    return target.title


def _must_exist(connection: sqlite3.Connection, scope: Scope, ref: str) -> sqlite3.Row:
    row = creator(connection, scope, ref)
    if row is None:
        raise PageRefUnknown(
            "No new page has this ref. Send the clip that creates it first.", params={"ref": ref}
        )
    return row


def creator(connection: sqlite3.Connection, scope: Scope, ref: str) -> sqlite3.Row | None:
    """Return the delivery that creates or created the page of ``ref``, unless it was given up."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT seq, page_id, page_title, lane, state FROM delivery"
        " WHERE user_id = ? AND workspace_id = ? AND page_ref = ? AND new_page IS NOT NULL"
        f" AND state NOT IN {GIVEN_UP_SQL}"
        " ORDER BY seq DESC LIMIT 1",
        (scope.user_id, scope.workspace_id, ref),
    ).fetchone()
    return row


def next_queue_position(connection: sqlite3.Connection) -> int:
    """Return the next queue position; it only grows, so the order never depends on a clock."""
    row = connection.execute(
        "UPDATE turn_counter SET n = n + 1 WHERE one = 1 RETURNING n"
    ).fetchone()
    return int(row[0])


def _new_page_json(new_page: Mapping[str, Any] | None) -> str | None:
    return None if new_page is None else json.dumps(dict(new_page), ensure_ascii=False)
