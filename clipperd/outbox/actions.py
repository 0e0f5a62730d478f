"""What a person does to clips: cancel, retry, resolve, move, edit, delete, undo, pause.

Like ``requests.py``, every function is one transaction's work on the writer's connection. Each
change is guarded by the old state: rowcount decides, so a click can never undo what has meanwhile
been sent.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from clipperd.content import chunks
from clipperd.content.chunks import Chunk
from clipperd.content.convert import Prepared
from clipperd.errors import NotAllowedNow, NotFinished, NotFound, VersionMismatch
from clipperd.model import FINISHED, State
from clipperd.outbox.accept import next_turn
from clipperd.outbox.records import LaneKey, Target, plan_to_json, position_to_json
from clipperd.outbox.schema import DEFERRED

_UNSENT = ("queued", "retrying", "needs_attention", "failed")


def rows_of(
    connection: sqlite3.Connection, user_id: str, clip_id: str, delivery_id: str | None
) -> list[sqlite3.Row]:
    """The clip's deliveries (or the one named). Raises NotFound."""
    rows = connection.execute(
        "SELECT d.*, clip.version, clip.seq AS clip FROM delivery d"
        " JOIN clip ON clip.seq = d.clip_seq WHERE clip.id = ? AND clip.user_id = ?"
        " AND (? IS NULL OR d.id = ?) ORDER BY d.seq",
        (clip_id, user_id, delivery_id, delivery_id),
    ).fetchall()
    if not rows:
        raise NotFound("There is no such clip or delivery in this account.")
    return list(rows)


def lane_of(row: sqlite3.Row) -> LaneKey:
    """The lane that a delivery row belongs to."""
    return (row["user_id"], row["workspace_id"], row["lane"])


def cancel(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], now: float) -> None:
    """Withdraw what has not been sent. Raises NotAllowedNow when nothing of it can be."""
    allowed = [
        row
        for row in rows
        if row["state"] in ("queued", "retrying", "needs_attention")
        and row["chunks_done"] == 0
        and row["reason"] != "outcome_unknown"
    ]
    if not allowed:
        raise NotAllowedNow(
            "It is being sent or was sent already; it can no longer be canceled.",
            hint="Once it is delivered you can undo it.",
        )
    for row in allowed:
        connection.execute(
            "UPDATE delivery SET state = 'canceled', reason = NULL, due_at = NULL WHERE seq = ?"
            " AND request_key IS NULL",
            (row["seq"],),
        )
    _bump(connection, rows[0]["clip"], now)


def retry(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], now: float) -> None:
    """Try again at once. An unknown outcome is not retried but resolved."""
    allowed = [
        row
        for row in rows
        if row["state"] in ("retrying", "needs_attention", "failed")
        and row["reason"] != "outcome_unknown"
    ]
    if not allowed:
        raise NotAllowedNow("There is nothing to retry in this state.")
    for row in allowed:
        connection.execute(
            "UPDATE delivery SET state = 'queued', reason = NULL, due_at = NULL, batch_cap = 1,"
            " anchor_losses = 0 WHERE seq = ? AND state IN ('retrying', 'needs_attention',"
            " 'failed')",
            (row["seq"],),
        )
    _bump(connection, rows[0]["clip"], now)


def resolve(
    connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], how: str, now: float
) -> None:
    """A person looked at the page: it is there (``delivered``) or is not (``resend``)."""
    allowed = [
        row
        for row in rows
        if row["state"] == State.NEEDS_ATTENTION and row["reason"] == "outcome_unknown"
    ]
    if not allowed:
        raise NotAllowedNow("Only a clip whose outcome is unknown can be resolved.")
    for row in allowed:
        if how == "resend":
            connection.execute(
                "UPDATE delivery SET state = 'queued', reason = NULL, error_code = NULL,"
                " error_message = NULL, batch_cap = 1 WHERE seq = ?",
                (row["seq"],),
            )
            continue
        done = row["chunks_done"] + 1
        total = connection.execute(
            "SELECT chunks FROM clip WHERE seq = ?", (row["clip"],)
        ).fetchone()["chunks"]
        state = State.DELIVERED if done >= total else State.QUEUED
        connection.execute(
            "UPDATE delivery SET state = ?, reason = NULL, error_code = NULL, error_message ="
            " NULL, chunks_done = ?, chunk_ids = ?, delivered_at = ? WHERE seq = ?",
            (
                state,
                done,
                json.dumps([*json.loads(row["chunk_ids"]), []]),
                now if state is State.DELIVERED else None,
                row["seq"],
            ),
        )
    _bump(connection, rows[0]["clip"], now)


def retarget(
    connection: sqlite3.Connection,
    row: sqlite3.Row,
    target: Target,
    place: tuple[str | None, str | None, str],
    now: float,
) -> None:
    """Send an unsent delivery somewhere else; it goes to the back of that page's line."""
    if row["state"] not in _UNSENT or row["chunks_done"] or row["request_key"]:
        raise NotAllowedNow("It is being sent or was sent already; it can no longer be moved.")
    if row["reason"] == "outcome_unknown" or row["new_page"]:
        raise NotAllowedNow("This delivery cannot be moved; resolve or cancel it first.")
    page_id, page_ref, lane = place
    connection.execute(
        "UPDATE delivery SET page_id = ?, page_ref = ?, page_title = NULL, lane = ?, turn = ?,"
        " position = ?, state = 'queued', reason = NULL, error_code = NULL, error_message = NULL,"
        " due_at = NULL, anchor_losses = 0 WHERE seq = ?",
        (
            page_id,
            page_ref,
            lane,
            next_turn(connection),
            position_to_json(target.position),
            row["seq"],
        ),
    )
    _bump(connection, row["clip"], now)


def edit(
    connection: sqlite3.Connection,
    rows: Sequence[sqlite3.Row],
    *,
    version: int,
    now: float,
    content: tuple[bytes, Prepared, Sequence[Chunk]] | None,
    priority: int | None,
    not_before: float | None,
) -> None:
    """Change a clip that has not been sent, if it still has ``version``."""
    clip = rows[0]["clip"]
    if rows[0]["version"] != version:
        raise VersionMismatch(
            "The clip has changed since you read it.",
            hint="Read it again and use its version in If-Match.",
            params={"version": rows[0]["version"]},
        )
    for row in rows:
        if row["state"] not in _UNSENT or row["chunks_done"] or row["request_key"]:
            raise NotAllowedNow("It is being sent or was sent already; it can't be edited.")
    if content is not None:
        accepted, prepared, plan = content
        connection.execute(
            "UPDATE content SET accepted = ?, plan = ? WHERE clip_seq = ?",
            (accepted, plan_to_json(plan), clip),
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
                chunks.elements(prepared.blocks),
                chunks.size(prepared.blocks),
                len(plan),
                clip,
            ),
        )
        connection.execute(
            "UPDATE delivery SET state = 'queued', error_code = NULL, error_message = NULL,"
            " batch_cap = 100 WHERE clip_seq = ? AND state = 'failed'",
            (clip,),
        )
    if priority is not None:
        connection.execute("UPDATE clip SET priority = ? WHERE seq = ?", (priority, clip))
    if not_before is not None:
        connection.execute("UPDATE clip SET not_before = ? WHERE seq = ?", (not_before, clip))
        if not_before > now:
            connection.execute(
                "UPDATE delivery SET turn = turn + ? WHERE clip_seq = ? AND turn < ?",
                (DEFERRED, clip, DEFERRED),
            )
    _bump(connection, clip, now)


def release_due(connection: sqlite3.Connection, now: float) -> tuple[list[LaneKey], float | None]:
    """Let deliveries whose ``not_before`` has come join their lanes; say when the next is due."""
    rows = connection.execute(
        "SELECT d.seq, d.user_id, d.workspace_id, d.lane FROM delivery d"
        " JOIN clip ON clip.seq = d.clip_seq WHERE d.turn >= ? AND clip.not_before <= ?"
        " AND d.state IN ('queued', 'retrying') ORDER BY clip.not_before, d.turn",
        (DEFERRED, now),
    ).fetchall()
    for row in rows:
        connection.execute(
            "UPDATE delivery SET turn = ? WHERE seq = ?", (next_turn(connection), row["seq"])
        )
    coming = connection.execute(
        "SELECT min(clip.not_before) AS at FROM delivery d JOIN clip ON clip.seq = d.clip_seq"
        " WHERE d.turn >= ? AND d.state IN ('queued', 'retrying')",
        (DEFERRED,),
    ).fetchone()
    return [lane_of(row) for row in rows], coming["at"]


def request_undo(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], now: float) -> None:
    """Ask for the removal of what was delivered; the page's lane carries it out."""
    allowed = [
        row
        for row in rows
        if row["state"] == State.DELIVERED
        and row["undo"] is None
        and (row["block_ids"] != "[]" or row["new_page"])
    ]
    if not allowed:
        raise NotAllowedNow("There is nothing of this clip to take back.")
    for row in allowed:
        connection.execute(
            "UPDATE delivery SET undo = ? WHERE seq = ?",
            (json.dumps({"state": "queued", "removed": [], "left": []}), row["seq"]),
        )
    _bump(connection, rows[0]["clip"], now)


def pending_undo(connection: sqlite3.Connection, lane: LaneKey) -> sqlite3.Row | None:
    """The next undo of this lane."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM delivery WHERE user_id = ? AND workspace_id = ? AND lane = ?"
        " AND undo IS NOT NULL AND json_extract(undo, '$.state') = 'queued' ORDER BY seq LIMIT 1",
        lane,
    ).fetchone()
    return row


def record_undo(
    connection: sqlite3.Connection, row: sqlite3.Row, undo: dict[str, Any], now: float
) -> list[int]:
    """Keep how far an undo has come; a complete one closes the delivery as canceled."""
    connection.execute("UPDATE delivery SET undo = ? WHERE seq = ?", (json.dumps(undo), row["seq"]))
    if undo["state"] == "done" and not undo["left"]:
        connection.execute(
            "UPDATE delivery SET state = 'canceled', reason = 'undone' WHERE seq = ?",
            (row["seq"],),
        )
    _bump(connection, row["clip_seq"], now)
    return [row["clip_seq"]]


def delete(connection: sqlite3.Connection, user_id: str, clip_id: str) -> None:
    """Remove a finished clip from the history. Raises NotFound, NotFinished."""
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
    """Remove finished clips accepted before a time; unfinished ones stay. Returns how many."""
    marks = ", ".join("?" * len(states))
    return connection.execute(
        "DELETE FROM clip WHERE user_id = ? AND (? IS NULL OR created_at < ?)"  # noqa: S608 - marks
        " AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.clip_seq = clip.seq"
        f" AND (d.state NOT IN ({marks}) OR json_extract(d.undo, '$.state') = 'queued'))",
        (user_id, before, before, *states),
    ).rowcount


def erase_expired(connection: sqlite3.Connection, now: float) -> int:
    """Erase delivered content whose time is over; the receipts stay."""
    return connection.execute(
        "DELETE FROM content WHERE clip_seq IN"
        " (SELECT seq FROM clip WHERE content_expires_at <= ?)",
        (now,),
    ).rowcount


def set_parked(connection: sqlite3.Connection, lane: LaneKey, parked: str) -> None:
    """Whether later clips of a page wait for one that needs attention."""
    connection.execute(
        "INSERT INTO lane_setting (user_id, workspace_id, page_id, parked) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET parked = excluded.parked",
        (*lane, parked),
    )


def pause(connection: sqlite3.Connection, until: float | None) -> None:
    """Hold the whole queue, until a time or until it is resumed."""
    connection.execute(
        "INSERT INTO queue_pause (one, until) VALUES (1, ?)"
        " ON CONFLICT DO UPDATE SET until = excluded.until",
        (until,),
    )


def resume(connection: sqlite3.Connection) -> None:
    """Let the queue go on."""
    connection.execute("DELETE FROM queue_pause")


def paused(connection: sqlite3.Connection) -> tuple[bool, float | None]:
    """Whether the queue is held, and until when (None: until resumed)."""
    row = connection.execute("SELECT until FROM queue_pause").fetchone()
    return (False, None) if row is None else (True, row["until"])


def retry_all(connection: sqlite3.Connection, user_id: str) -> int:
    """Make every retrying delivery due at once."""
    return connection.execute(
        "UPDATE delivery SET state = 'queued', due_at = NULL WHERE user_id = ?"
        " AND state = 'retrying'",
        (user_id,),
    ).rowcount


def unsent(connection: sqlite3.Connection, user_id: str, workspace_id: str) -> int:
    """How many deliveries to a workspace have not reached it."""
    row = connection.execute(
        "SELECT count(*) AS n FROM delivery WHERE user_id = ? AND workspace_id = ? AND state IN"
        " ('queued', 'sending', 'retrying', 'unconfirmed', 'needs_attention')",
        (user_id, workspace_id),
    ).fetchone()
    return int(row["n"])


def _undoing(row: sqlite3.Row) -> bool:
    return row["undo"] is not None and json.loads(row["undo"])["state"] == "queued"


def _bump(connection: sqlite3.Connection, clip_seq: int, now: float) -> None:
    connection.execute(
        "UPDATE clip SET version = version + 1, updated_at = ? WHERE seq = ?", (now, clip_seq)
    )
