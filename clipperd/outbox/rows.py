"""Turn deliveries to a database into new rows of it, in the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

import msgspec

from clipperd.content.convert import row_title
from clipperd.model import POSITIONS
from clipperd.outbox.records import DAMAGED, READY_SQL, STOPPING, LaneKey, Request, plan_from_json
from clipperd.outbox.requests import bump_version

_ELSEWHERE = json.dumps({"from": "as_asked", "to": "new_row", "why": "is_database"})


def title_of(connection: sqlite3.Connection, clip_seq: int) -> str:
    """Return the title that a stored clip has as a row."""
    row = connection.execute(
        "SELECT clip.title, clip.source, content.plan FROM clip"
        " LEFT JOIN content ON content.clip_seq = clip.seq WHERE clip.seq = ?",
        (clip_seq,),
    ).fetchone()
    try:
        blocks = [block for chunk in plan_from_json(row["plan"] or b"[]") for block in chunk.blocks]
        return row_title(blocks, msgspec.json.decode(row["source"]), row["title"])
    except DAMAGED:
        return str(row["title"])


def make_rows(
    connection: sqlite3.Connection,
    lane: LaneKey,
    parent: Mapping[str, str],
    request: Request | None,
    now: float,
) -> list[int]:
    """Turn the unsent deliveries of a lane into rows of ``parent``; return their clips.

    ``request``: the refused append, if one was sent; nothing of it was applied.
    """
    key = None if request is None else request.key
    connection.execute("DELETE FROM request WHERE key = ?", (key,))
    found = connection.execute(
        "SELECT seq, id, clip_seq, position FROM delivery"
        " WHERE user_id = ? AND workspace_id = ? AND lane = ? AND chunks_done = 0"
        f" AND (request_key = ? OR request_key IS NULL AND state IN {READY_SQL})",
        (*lane, key),
    ).fetchall()
    for row in found:
        ref = f"new-{row['id']}"
        title = title_of(connection, row["clip_seq"])
        place = json.loads(row["position"])["type"]
        connection.execute(
            "UPDATE delivery SET new_page = ?, page_id = NULL, page_ref = ?, page_title = ?,"
            " lane = ?, position = ?, position_changed = ?,"
            " state = iif(reason = ?, 'canceled', 'queued'), reason = NULL,"
            " error_code = NULL, error_message = NULL, due_at = NULL, request_key = NULL,"
            " anchor_losses = 0 WHERE seq = ?",
            (
                json.dumps({"parent": dict(parent), "title": title}, ensure_ascii=False),
                ref,
                title,
                f"ref:{ref}",
                '{"type": "end"}',
                None if POSITIONS[place].names is None else _ELSEWHERE,
                STOPPING,
                row["seq"],
            ),
        )
        bump_version(connection, row["clip_seq"], now)
    return [row["clip_seq"] for row in found]
