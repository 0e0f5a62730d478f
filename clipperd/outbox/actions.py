"""Apply the user's actions to clips: cancel, retry, resolve, move, edit, undo, pause.

As in ``requests.py``, each function runs in one transaction on the writer's connection. Each change
is guarded by the old state: rowcount decides, so an action cannot affect a clip that was sent
meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from clipperd.content.chunks import Plan
from clipperd.content.convert import Prepared
from clipperd.errors import NotAllowedNow, NotFound, VersionMismatch
from clipperd.model import READY, UNDER_WAY, UNTRIABLE, Scope, State
from clipperd.outbox.accept import next_queue_position, title_of
from clipperd.outbox.records import (
    NO_PLAN,
    OPEN_SQL,
    READY_SQL,
    STOPPING,
    LaneKey,
    Target,
    is_unsent,
    position_to_json,
)
from clipperd.outbox.requests import bump_version
from clipperd.outbox.schema import DEFERRED

_IDLE = (*READY, State.NEEDS_ATTENTION)


def rows_of(
    connection: sqlite3.Connection, user_id: str, clip_id: str, delivery_id: str | None
) -> list[sqlite3.Row]:
    """Return the clip's deliveries, or the named one. Raises NotFound."""
    rows = connection.execute(
        "SELECT d.*, clip.version, clip.chunks, clip.seq AS clip FROM delivery d"
        " JOIN clip ON clip.seq = d.clip_seq WHERE clip.id = ? AND clip.user_id = ?"
        " AND (? IS NULL OR d.id = ?) ORDER BY d.seq",
        (clip_id, user_id, delivery_id, delivery_id),
    ).fetchall()
    if not rows:
        raise NotFound("This account has no such clip or delivery.")
    return list(rows)


def lane_of(row: sqlite3.Row) -> LaneKey:
    """Return the lane that a delivery row belongs to."""
    return (row["user_id"], row["workspace_id"], row["lane"])


def cancel(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], now: float) -> None:
    """Cancel the deliveries that are not complete. Raises NotAllowedNow if there are none.

    A delivery of several parts ends after the request that is out; the parts that arrived stay,
    and can be undone.
    """
    idle = [row for row in rows if row["state"] in _IDLE and row["reason"] != "outcome_unknown"]
    out = [row for row in rows if row["state"] in UNDER_WAY and row["chunks"] > 1]
    if not idle and not out:
        raise NotAllowedNow(_why_not_canceled({row["state"] for row in rows}))
    connection.executemany(
        "UPDATE delivery SET state = 'canceled', reason = NULL, due_at = NULL WHERE seq = ?"
        " AND request_key IS NULL",
        [(row["seq"],) for row in idle],
    )
    connection.executemany(
        "UPDATE delivery SET reason = ? WHERE seq = ?", [(STOPPING, row["seq"]) for row in out]
    )
    bump_version(connection, rows[0]["clip"], now)


def _why_not_canceled(states: set[str]) -> str:
    if states & {*UNDER_WAY}:
        return "The clip is being sent, so it can no longer be canceled. Undo it once it arrived."
    if State.NEEDS_ATTENTION in states:
        return "The clip may be on its page already. Look, then resolve it as delivered or resend."
    if State.DELIVERED in states:
        return "The clip is on its page. Undo it to remove it there."
    if State.FAILED in states:
        return "Notion refused the clip, so nothing of it is waiting. Edit it, or delete it."
    return "The clip is canceled already. Delete it to remove it from the history."


def retry(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], now: float) -> None:
    """Requeue deliveries for an immediate retry, unless the user must decide first (UNTRIABLE)."""
    allowed = [
        row
        for row in rows
        if row["state"] in ("retrying", "needs_attention", "failed")
        and row["reason"] not in UNTRIABLE
        and row["undo"] is None
    ]
    if not allowed:
        raise NotAllowedNow("There is nothing to retry in this state.")
    for row in allowed:
        connection.execute(
            "UPDATE delivery SET state = 'queued', reason = NULL, due_at = NULL,"
            " batch_cap = iif(state = 'failed', 1, batch_cap), anchor_losses = 0 WHERE seq = ?"
            " AND state IN ('retrying', 'needs_attention', 'failed')",
            (row["seq"],),
        )
    bump_version(connection, rows[0]["clip"], now)


def resolve(
    connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], how: str, now: float
) -> None:
    """Apply the user's finding: the clip is on the page (``delivered``) or is not (``resend``).

    A clip that stopped halfway for another reason can also be ``delivered``, as far as it came.
    """
    unknown = [row for row in rows if _needs(row) and row["reason"] == "outcome_unknown"]
    halfway = [row for row in rows if _needs(row) and row["chunks_done"] and row not in unknown]
    if not unknown and not (halfway and how == "delivered"):
        raise NotAllowedNow("Only a clip whose outcome is unknown can be resolved.")
    for row in unknown:
        if how == "delivered":
            _confirm(connection, row, now)
        else:
            connection.execute(
                "UPDATE delivery SET state = iif(lost, 'needs_attention', 'queued'),"
                " reason = iif(lost, 'content_lost', NULL), error_code = NULL,"
                " error_message = NULL, batch_cap = 1 FROM (SELECT EXISTS (SELECT 1 FROM content"
                " WHERE clip_seq = ?1 AND plan = ?2) AS lost) WHERE seq = ?3",
                (row["clip"], NO_PLAN, row["seq"]),
            )
    for row in halfway if how == "delivered" else ():
        connection.execute(
            "UPDATE delivery SET state = 'delivered', reason = NULL, delivered_at = ?"
            " WHERE seq = ?",
            (now, row["seq"]),
        )
    bump_version(connection, rows[0]["clip"], now)


def _needs(row: sqlite3.Row) -> bool:
    return bool(row["state"] == State.NEEDS_ATTENTION)


def _confirm(connection: sqlite3.Connection, row: sqlite3.Row, now: float) -> None:
    """Count the chunk or new page of unknown outcome as done; its ids stay unknown."""
    total = connection.execute("SELECT chunks FROM clip WHERE seq = ?", (row["clip"],)).fetchone()[
        "chunks"
    ]
    if row["new_page"] and not row["page_id"] and total > 1:
        # The page was created empty; its content follows once the user names the page.
        connection.execute(
            "UPDATE delivery SET new_page = NULL, reason = 'page_unknown',"
            " error_code = 'page_unknown', error_message = 'Choose the page that was created.'"
            " WHERE seq = ?",
            (row["seq"],),
        )
        return
    done = row["chunks_done"] + 1
    state = State.DELIVERED if done >= total else State.QUEUED
    connection.execute(
        "UPDATE delivery SET state = ?, reason = NULL, error_code = NULL, error_message = NULL,"
        " chunks_done = ?, chunk_ids = ?, delivered_at = ? WHERE seq = ?",
        (
            state,
            min(done, total),
            json.dumps([*json.loads(row["chunk_ids"]), []]),
            now if state is State.DELIVERED else None,
            row["seq"],
        ),
    )


def retarget(
    connection: sqlite3.Connection,
    row: sqlite3.Row,
    target: Target,
    place: tuple[str | None, str | None, str],
    now: float,
) -> None:
    """Move an unsent delivery to another target, at the end of that page's queue."""
    if not is_unsent(row):
        raise NotAllowedNow("The clip is being sent or was sent, so it can no longer be moved.")
    if row["new_page"]:
        raise NotAllowedNow("The creation of a page cannot be moved. Cancel it and send it again.")
    page_id, page_ref, lane = place
    new_page = None if target.new_page is None else json.dumps(dict(target.new_page))
    queue_position = next_queue_position(connection)
    if row["turn"] >= DEFERRED:  # not yet due
        queue_position += DEFERRED
    connection.execute(
        "UPDATE delivery SET page_id = ?, page_ref = ?, page_title = ?, new_page = ?, lane = ?,"
        " turn = ?, position = ?, state = 'queued', reason = NULL, error_code = NULL,"
        " error_message = NULL, due_at = NULL, anchor_losses = 0 WHERE seq = ?",
        (
            page_id,
            page_ref,
            title_of(connection, Scope(row["user_id"], row["workspace_id"]), target),
            new_page,
            lane,
            queue_position,
            position_to_json(target.position),
            row["seq"],
        ),
    )
    bump_version(connection, row["clip"], now)


def edit(
    connection: sqlite3.Connection,
    rows: Sequence[sqlite3.Row],
    *,
    version: int,
    now: float,
    content: tuple[bytes, Prepared, Plan] | None,
    priority: int | None,
    not_before: float | None,
) -> None:
    """Change an unsent clip, if it still has ``version``.

    ``not_before``: None leaves it as it is; a past time makes the clip due now.
    """
    clip = rows[0]["clip"]
    if rows[0]["version"] != version:
        raise VersionMismatch(
            "The clip has changed since you read it.",
            hint="Read it again and use its version in If-Match.",
            params={"version": rows[0]["version"]},
        )
    waiting = [row for row in rows if row["state"] != State.CANCELED]
    if not waiting or not all(is_unsent(row) for row in waiting):
        raise NotAllowedNow("The clip is being sent or was sent, so it can no longer be edited.")
    if content is not None:
        accepted, prepared, plan = content
        connection.execute(
            "UPDATE content SET accepted = ?, plan = ? WHERE clip_seq = ?",
            (accepted, plan.encoded, clip),
        )
        connection.execute(
            "UPDATE clip SET edition = edition + 1, format = ?, title = ?, preview = ?,"
            " size_bytes = ?, demotable = ?, first_level = ?, elements = ?, body_bytes = ?,"
            " chunks = ? WHERE seq = ?",
            (
                prepared.format,
                prepared.title,
                prepared.preview,
                len(accepted),
                int(prepared.demotable),
                len(prepared.blocks),
                plan.elements,
                plan.size_bytes,
                len(plan.chunks),
                clip,
            ),
        )
        connection.execute(
            "UPDATE delivery SET state = 'queued', reason = NULL, error_code = NULL,"
            " error_message = NULL, batch_cap = 100 WHERE clip_seq = ?"
            " AND (state = 'failed' OR reason = 'content_lost')",
            (clip,),
        )
    if priority is not None:
        connection.execute("UPDATE clip SET priority = ? WHERE seq = ?", (priority, clip))
    if not_before is not None:
        _reschedule(connection, clip, not_before if not_before > now else None)
    bump_version(connection, clip, now)


def _reschedule(connection: sqlite3.Connection, clip: int, not_before: float | None) -> None:
    """Defer a clip, or append it to its lanes now."""
    connection.execute("UPDATE clip SET not_before = ? WHERE seq = ?", (not_before, clip))
    if not_before is not None:
        connection.execute(
            "UPDATE delivery SET turn = turn + ? WHERE clip_seq = ? AND turn < ?",
            (DEFERRED, clip, DEFERRED),
        )
        return
    deferred = connection.execute(
        "SELECT seq FROM delivery WHERE clip_seq = ? AND turn >= ? ORDER BY turn", (clip, DEFERRED)
    ).fetchall()
    _append(connection, deferred)


def _append(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> None:
    """Append these deliveries to their lanes."""
    for row in rows:
        position = next_queue_position(connection)
        connection.execute("UPDATE delivery SET turn = ? WHERE seq = ?", (position, row["seq"]))


def release_due(connection: sqlite3.Connection, now: float) -> tuple[list[LaneKey], float | None]:
    """Append due deliveries to their lanes; return these lanes and the next due time."""
    rows = connection.execute(
        "SELECT d.seq, d.user_id, d.workspace_id, d.lane FROM delivery d"
        f" JOIN clip ON clip.seq = d.clip_seq WHERE d.turn >= {DEFERRED} AND clip.not_before <= ?"
        f" AND d.state IN {READY_SQL} ORDER BY clip.not_before, d.turn",
        (now,),
    ).fetchall()
    _append(connection, rows)
    coming = connection.execute(
        "SELECT min(clip.not_before) AS at"
        " FROM delivery d JOIN clip ON clip.seq = d.clip_seq"
        f" WHERE d.turn >= {DEFERRED} AND d.state IN {READY_SQL}",
    ).fetchone()
    return [lane_of(row) for row in rows], coming["at"]


def request_undo(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], now: float) -> None:
    """Request an undo of the delivered parts; the page's lane carries it out."""
    allowed = [
        row
        for row in rows
        if row["state"] in (State.DELIVERED, State.FAILED, State.CANCELED)
        and row["undo"] is None
        and (row["block_ids"] != "[]" or (row["new_page"] and row["page_id"]))
    ]
    if not allowed:
        raise NotAllowedNow("This clip has nothing to undo.")
    for row in allowed:
        connection.execute(
            "UPDATE delivery SET undo = ? WHERE seq = ?",
            (json.dumps({"state": "queued", "removed": [], "left": []}), row["seq"]),
        )
    bump_version(connection, rows[0]["clip"], now)


def record_undo(
    connection: sqlite3.Connection, row: sqlite3.Row, undo: dict[str, Any], now: float
) -> list[int]:
    """Store the progress of an undo; a complete one makes the delivery canceled."""
    connection.execute("UPDATE delivery SET undo = ? WHERE seq = ?", (json.dumps(undo), row["seq"]))
    if undo["state"] == "done" and not undo["left"]:
        connection.execute(
            "UPDATE delivery SET state = 'canceled', reason = 'undone' WHERE seq = ?",
            (row["seq"],),
        )
    bump_version(connection, row["clip_seq"], now)
    return [row["clip_seq"]]


def set_parked(connection: sqlite3.Connection, lane: LaneKey, parked: str) -> None:
    """Set whether later clips of a page wait for one that needs attention."""
    connection.execute(
        "INSERT INTO lane_setting (user_id, workspace_id, page_id, parked) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET parked = excluded.parked",
        (*lane, parked),
    )


def pause(connection: sqlite3.Connection, until: float | None) -> None:
    """Pause the whole queue, until a time or until it is resumed."""
    connection.execute(
        "INSERT INTO queue_pause (one, until) VALUES (1, ?)"
        " ON CONFLICT DO UPDATE SET until = excluded.until",
        (until,),
    )


def resume(connection: sqlite3.Connection) -> None:
    """Resume the queue."""
    connection.execute("DELETE FROM queue_pause")


def paused(connection: sqlite3.Connection) -> tuple[bool, float | None]:
    """Return whether the queue is paused, and until when (None: until resumed)."""
    row = connection.execute("SELECT until FROM queue_pause").fetchone()
    return (False, None) if row is None else (True, row["until"])


def retry_all(connection: sqlite3.Connection, user_id: str, now: float) -> list[int]:
    """Requeue deliveries that wait for a retry or, where a retry may help, for the user.

    Each keeps its queue position. Returns the ``clip.seq`` numbers.
    """
    marks = ", ".join("?" * len(UNTRIABLE))
    rows = connection.execute(
        "UPDATE delivery SET state = 'queued', reason = NULL, due_at = NULL, anchor_losses = 0"
        " WHERE user_id = ? AND undo IS NULL AND (state = 'retrying'"
        f" OR (state = 'needs_attention' AND reason NOT IN ({marks}))) RETURNING clip_seq",
        (user_id, *sorted(UNTRIABLE)),
    ).fetchall()
    seqs = sorted({row["clip_seq"] for row in rows})
    for seq in seqs:
        bump_version(connection, seq, now)
    return seqs


def unsent(connection: sqlite3.Connection, user_id: str, workspace_id: str) -> int:
    """Count the deliveries that have not reached a workspace."""
    row = connection.execute(
        "SELECT count(*) AS n FROM delivery WHERE user_id = ? AND workspace_id = ? AND state IN"
        f" {OPEN_SQL}",
        (user_id, workspace_id),
    ).fetchone()
    return int(row["n"])
