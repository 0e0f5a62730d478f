"""Change the state of a request and its deliveries, each function in one transaction.

Every function takes the writer's connection and returns the changed ``clip.seq`` numbers, so that
the caller can publish them after the commit.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clipperd.model import POSITIONS, REASONS, Scope, State
from clipperd.outbox.records import (
    CLOSED_SQL,
    DAMAGED,
    READY_SQL,
    STOPPING,
    Member,
    QueuedDelivery,
    Request,
    position_from_json,
    request_to_row,
)
from clipperd.pages import usage

_NO_DELIVERY = -1
_OLDEST_FIRST = json.dumps([name for name, rule in POSITIONS.items() if not rule.newest_first])


def recover(connection: sqlite3.Connection) -> int:
    """Recover after a start: requests that were being sent now have an unknown outcome.

    There is one owner and no lease. The user must choose a new target for an unstarted delivery
    whose stored position is damaged; a damaged undo can be requested again.
    """
    _park_without_place(connection)
    connection.execute(
        "UPDATE delivery SET undo = NULL WHERE undo IS NOT NULL AND NOT json_valid(undo)"
    )
    connection.execute(
        "UPDATE request SET phase = 'replay', maybe_sent = 1 WHERE phase = 'sending'"
    )
    return connection.execute(
        "UPDATE delivery SET state = 'unconfirmed' WHERE state = 'sending'"
    ).rowcount


def _park_without_place(connection: sqlite3.Connection) -> None:
    lost = []
    for seq, position, new_page in connection.execute(
        "SELECT seq, position, new_page FROM delivery"
        f" WHERE state IN {READY_SQL} AND request_key IS NULL AND chunks_done = 0"
    ):
        try:
            position_from_json(position)
            json.loads(new_page or "{}")
        except DAMAGED:
            lost.append((seq,))
    connection.executemany(
        "UPDATE delivery SET state = 'needs_attention', reason = 'place_lost', due_at = NULL,"
        """ position = '{"type":"end"}', new_page = NULL WHERE seq = ?""",
        lost,
    )


class Changed(Exception):
    """A member was canceled, edited or moved since the batch was chosen: choose again."""


def begin(
    connection: sqlite3.Connection,
    request: Request,
    group: Sequence[QueuedDelivery],
    placed: Mapping[int, tuple[str, str]],
    now: float,
) -> list[int]:
    """Store the request before it is sent. Raises Changed, and stores nothing then.

    ``placed``: how and why deliveries (by seq) will stand otherwise than asked for:
    ``end_of_page`` (their place was gone) or ``splits_section`` (their own headings end the
    section).
    """
    connection.execute(
        "INSERT INTO request (key, user_id, workspace_id, lane, kind, path, body, parent_id,"
        " after_id, edge, level, members, expected, phase, maybe_sent, settle_s, sent_at) VALUES"
        " (:key, :user_id, :workspace_id, :lane, :kind, :path, :body, :parent_id, :after_id,"
        " :edge, :level, :members, :expected, :phase, :maybe_sent, :settle_s, :sent_at)",
        request_to_row(request),
    )
    shared = int(len(request.members) > 1)
    for item in group:
        changed = connection.execute(
            "UPDATE delivery SET state = 'sending', reason = NULL, request_key = ?, due_at = NULL,"
            " shared = max(shared, ?),"
            " position_changed ="
            " iif(chunks_done = 0 AND new_page IS NULL, NULL, position_changed)"
            f" WHERE seq = ? AND turn = ? AND lane = ? AND state IN {READY_SQL}"
            " AND EXISTS"
            " (SELECT 1 FROM clip WHERE clip.seq = delivery.clip_seq AND clip.edition = ?)",
            (request.key, shared, item.seq, item.queue_position, request.lane, item.edition),
        )
        if changed.rowcount != 1:
            raise Changed
    connection.executemany(
        "UPDATE delivery SET position_changed = ? WHERE seq = ?",
        [
            (json.dumps({"from": "as_asked", "to": to, "why": why}), seq)
            for seq, (to, why) in placed.items()
        ],
    )
    return bump_versions(connection, request.members, now)


def mark_unconfirmed(
    connection: sqlite3.Connection, request: Request, phase: str, settle_s: float | None, now: float
) -> list[int]:
    """Store that the outcome is unknown: ``replay`` the key, or ``settle`` by reading the page."""
    connection.execute(
        "UPDATE request SET phase = ?, maybe_sent = 1, settle_s = ? WHERE key = ?",
        (phase, settle_s, request.key),
    )
    changed = connection.execute(
        "UPDATE delivery SET state = 'unconfirmed' WHERE request_key = ?"
        " AND state != 'unconfirmed'",
        (request.key,),
    )
    return bump_versions(connection, request.members, now) if changed.rowcount else []


def applied(
    connection: sqlite3.Connection,
    request: Request,
    ids: Sequence[str],
    *,
    calls: int,
    title: str | None,
    now: float,
    keep_content_s: float,
) -> list[int]:
    """Store that Notion applied the request, and count the use of its page.

    ``ids``: the created first-level blocks, or the created page. ``title``: the page's title where
    it is known; deliveries that lack it take it over.
    """
    if request.kind == "create_page":
        page_id = ids[0]
        delivered = _page_created(connection, request, page_id, calls, now)
    else:
        page_id = request.lane
        delivered = _blocks_created(connection, request, ids, calls, now)
    for clip_seq in delivered:
        _expire_content(connection, clip_seq, now + keep_content_s)
    connection.execute("DELETE FROM request WHERE key = ?", (request.key,))
    usage.record_use(connection, request.scope, page_id, now)
    changed = bump_versions(connection, request.members, now)
    if title is not None:
        changed += _set_title(connection, request.scope, page_id, title)
    return list(dict.fromkeys(changed))


def _blocks_created(
    connection: sqlite3.Connection, request: Request, ids: Sequence[str], calls: int, now: float
) -> list[int]:
    """Give each delivery its block ids and receipts; return the clips of the complete ones."""
    complete = []
    for member in request.members:
        own = list(ids[member.first : member.first + member.count])
        row = connection.execute(
            "SELECT d.chunk_ids, d.block_ids, d.parent_id, d.clip_seq, d.reason, clip.chunks"
            " FROM delivery d JOIN clip ON clip.seq = d.clip_seq WHERE d.seq = ?",
            (member.delivery,),
        ).fetchone()
        first_level = row["parent_id"] in (None, request.parent_id)
        blocks = json.loads(row["block_ids"]) + (own if first_level else [])
        done = member.chunk + 1
        delivered = done >= row["chunks"]
        connection.execute(
            "UPDATE delivery SET chunks_done = :done, chunk_ids = :chunk_ids, block_ids = :blocks,"
            " parent_id = coalesce(parent_id, :parent), level = :level, state = :state,"
            " delivered_at = :delivered_at, request_key = NULL, reason = NULL, error_code = NULL,"
            " error_message = NULL, due_at = NULL, anchor_losses = 0,"
            " notion_calls = notion_calls + :calls WHERE seq = :seq",
            {
                "done": done,
                "chunk_ids": json.dumps([*json.loads(row["chunk_ids"]), own]),
                "blocks": json.dumps(blocks),
                "parent": request.parent_id,
                "level": request.level,
                "state": State.DELIVERED if delivered else _next_state(row),
                "delivered_at": now if delivered else None,
                "calls": calls,
                "seq": member.delivery,
            },
        )
        connection.executemany(
            "INSERT OR IGNORE INTO receipt (block_id, delivery_seq, print, created_at)"
            " VALUES (?, ?, ?, ?)",
            [
                (block, member.delivery, request.expected[member.first + offset], now)
                for offset, block in enumerate(own)
            ],
        )
        if delivered:
            _note_overtaking(connection, member.delivery)
            complete.append(row["clip_seq"])
    return complete


def release(
    connection: sqlite3.Connection,
    request: Request,
    *,
    retry_at: float | None,
    error: tuple[str, str] | None,
    burned: bool,
    calls: int,
    now: float,
) -> list[int]:
    """Requeue the members, now or as ``retrying`` until ``retry_at``: nothing was applied.

    The members may be regrouped, edited or canceled again.
    """
    state = State.QUEUED if retry_at is None else State.RETRYING
    code, message = error or (None, None)
    connection.execute(
        "UPDATE delivery SET state = iif(reason = ?, 'canceled', ?), reason = NULL,"
        " due_at = ?, error_code = ?, error_message = ?,"
        " attempts = attempts + ?, request_key = NULL, notion_calls = notion_calls + ?"
        " WHERE request_key = ?",
        (STOPPING, state, retry_at, code, message, int(burned), calls, request.key),
    )
    connection.execute("DELETE FROM request WHERE key = ?", (request.key,))
    return bump_versions(connection, request.members, now)


def _next_state(row: sqlite3.Row) -> State:
    """Return the state of a delivery after a part that is not the last."""
    return State.CANCELED if row["reason"] == STOPPING else State.QUEUED


def cap_batch(connection: sqlite3.Connection, members: Sequence[Member], cap: int) -> None:
    """Limit these deliveries to requests of at most ``cap`` clips."""
    connection.executemany(
        "UPDATE delivery SET batch_cap = ? WHERE seq = ?", [(cap, m.delivery) for m in members]
    )


def anchor_lost(connection: sqlite3.Connection, request: Request) -> int:
    """Count that Notion refused the place; return the highest count of a member."""
    rows = connection.execute(
        "UPDATE delivery SET anchor_losses = anchor_losses + 1 WHERE request_key = ?"
        " RETURNING anchor_losses",
        (request.key,),
    ).fetchall()
    return max((int(row["anchor_losses"]) for row in rows), default=0)


def stop(
    connection: sqlite3.Connection,
    group: Sequence[QueuedDelivery],
    reason: str,
    detail: str,
    now: float,
) -> list[int]:
    """Stop deliveries until the user decides.

    Leaves those alone that were canceled or moved while the position was resolved.
    """
    assert reason in REASONS, reason
    members = []
    for item in group:
        changed = connection.execute(
            "UPDATE delivery SET state = 'needs_attention', reason = ?, error_code = ?,"
            " error_message = ?, due_at = NULL, attempts = attempts + 1"
            f" WHERE seq = ? AND turn = ? AND state IN {READY_SQL}",
            (reason, reason, detail, item.seq, item.queue_position),
        )
        if changed.rowcount:
            members.append(Member(item.seq, 0, 0, 0))
    return bump_versions(connection, members, now)


def close(
    connection: sqlite3.Connection,
    request: Request,
    *,
    state: State,
    reason: str,
    error: tuple[str, str],
    now: float,
) -> list[int]:
    """Close the request: its members need the user, or their content was refused."""
    assert reason in REASONS, reason
    code, message = error
    connection.execute(
        "UPDATE delivery SET state = iif(reason = :stop, 'canceled', :state),"
        " reason = iif(reason = :stop, NULL, :reason), error_code = :code,"
        " error_message = :message, request_key = NULL, due_at = NULL,"
        " attempts = attempts + 1 WHERE request_key = :key",
        {
            # A stopped clip of unknown outcome still needs the user: is the part on the page?
            "stop": None if reason == "outcome_unknown" else STOPPING,
            "state": state,
            "reason": reason,
            "code": code,
            "message": message,
            "key": request.key,
        },
    )
    connection.execute("DELETE FROM request WHERE key = ?", (request.key,))
    return bump_versions(connection, request.members, now)


def _page_created(
    connection: sqlite3.Connection, request: Request, page_id: str, calls: int, now: float
) -> list[int]:
    """Move the deliveries that waited for the new page to its lane; return the complete clip."""
    member = request.members[0]
    scope = request.scope
    row = connection.execute(
        "SELECT d.clip_seq, d.reason, clip.chunks FROM delivery d"
        " JOIN clip ON clip.seq = d.clip_seq WHERE d.seq = ?",
        (member.delivery,),
    ).fetchone()
    complete = member.count == row["chunks"]  # the page's creation carried the whole content
    connection.execute(
        "UPDATE delivery SET page_id = ?, lane = ? WHERE user_id = ? AND workspace_id = ?"
        " AND lane = ?",
        (page_id, page_id, scope.user_id, scope.workspace_id, request.lane),
    )
    connection.execute(
        "UPDATE delivery SET parent_id = :page, request_key = NULL, reason = NULL, due_at = NULL,"
        " error_code = NULL, error_message = NULL, notion_calls = notion_calls + :calls,"
        " state = :state, chunks_done = :done, delivered_at = :at WHERE seq = :seq",
        {
            "page": page_id,
            "calls": calls,
            "state": State.DELIVERED if complete else _next_state(row),
            "done": member.count if complete else 0,
            "at": now if complete else None,
            "seq": member.delivery,
        },
    )
    return [row["clip_seq"]] if complete else []


def _set_title(connection: sqlite3.Connection, scope: Scope, page_id: str, title: str) -> list[int]:
    """Name the page in deliveries that were accepted before its title was known."""
    return [
        row["clip_seq"]
        for row in connection.execute(
            "UPDATE delivery SET page_title = ? WHERE user_id = ? AND workspace_id = ?"
            " AND page_id = ? AND page_title IS NULL RETURNING clip_seq",
            (title, scope.user_id, scope.workspace_id, page_id),
        ).fetchall()
    ]


def receipt_others(connection: sqlite3.Connection, ids: Sequence[str], now: float) -> None:
    """Store receipts for blocks and pages that our bot created other than by a clip.

    Without a receipt, the resolver could take them for a clip's write of unknown outcome.
    """
    connection.executemany(
        "INSERT OR IGNORE INTO receipt (block_id, delivery_seq, print, created_at)"
        " VALUES (?, ?, '', ?)",
        [(each, _NO_DELIVERY, now) for each in ids],
    )


def bump_versions(
    connection: sqlite3.Connection, members: Iterable[Member], now: float
) -> list[int]:
    """Raise the version of the clips of these members; return their ``clip.seq``."""
    select = "SELECT clip_seq FROM delivery WHERE seq = ?"
    rows = [connection.execute(select, (member.delivery,)).fetchone() for member in members]
    seqs = list(dict.fromkeys(int(row["clip_seq"]) for row in rows if row is not None))
    for seq in seqs:
        bump_version(connection, seq, now)
    return seqs


def bump_version(connection: sqlite3.Connection, clip_seq: int, now: float) -> None:
    """Raise the version of a clip."""
    connection.execute(
        "UPDATE clip SET version = version + 1, updated_at = ? WHERE seq = ?", (now, clip_seq)
    )


def _note_overtaking(connection: sqlite3.Connection, delivery: int) -> None:
    """Report a clip that waited for the user and now stands after clips accepted later."""
    row = connection.execute(
        "SELECT count(*) AS n FROM delivery me JOIN delivery other"
        " ON other.user_id = me.user_id AND other.workspace_id = me.workspace_id"
        " AND other.page_id = me.page_id AND other.position = me.position"
        " AND other.turn > me.turn AND other.state = 'delivered'"
        " WHERE me.seq = ? AND me.position_changed IS NULL AND"
        " json_extract(me.position, '$.type') IN (SELECT value FROM json_each(?))",
        (delivery, _OLDEST_FIRST),
    ).fetchone()
    if row["n"]:
        changed: dict[str, Any] = {
            "from": "accepted_order",
            "to": "after_later_clips",
            "why": "it waited for a decision",
        }
        connection.execute(
            "UPDATE delivery SET position_changed = ? WHERE seq = ?",
            (json.dumps(changed), delivery),
        )


def _expire_content(connection: sqlite3.Connection, clip_seq: int, at: float) -> None:
    connection.execute(
        "UPDATE clip SET content_expires_at = ? WHERE seq = ? AND NOT EXISTS"
        " (SELECT 1 FROM delivery d WHERE d.clip_seq = clip.seq"
        f" AND d.state NOT IN {CLOSED_SQL})",
        (at, clip_seq),
    )
