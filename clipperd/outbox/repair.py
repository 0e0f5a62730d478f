"""Repair the rows that salvage recovered: complete each clip, or ask the user. Pure SQL.

Nothing here may send a clip that could be on the page already. The user decides about a delivery
that was in flight without its request row, and about everything known from an older copy only.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from clipperd.content import chunks
from clipperd.outbox.records import FINISHED_SQL, NO_PLAN, READY_SQL, plan_from_json
from clipperd.outbox.schema import DEFERRED
from clipperd.storage import salvage
from clipperd.storage.recovery import RepairResult

_OPEN = f"state NOT IN {FINISHED_SQL}"


def repair_outbox(
    connection: sqlite3.Connection,
    *,
    outdated: bool,
    copy: Path | None,
    now: float,
    new_id: Callable[[], str],
) -> RepairResult:
    """Repair the rows of a new outbox that salvage has filled, in one transaction.

    ``outdated``: they come from ``copy``, so clips that waited then may have been delivered since.
    """
    _drop_broken_content(connection)
    if copy is not None:
        _content_from(copy, connection)
    leftover = connection.execute(
        "SELECT accepted FROM content WHERE clip_seq NOT IN (SELECT seq FROM clip)"
    ).fetchall()
    for table in ("content", "delivery"):
        connection.execute(f"DELETE FROM {table} WHERE clip_seq NOT IN (SELECT seq FROM clip)")
    if outdated:
        connection.execute("DELETE FROM request")
    else:
        _drop_broken_requests(connection)
    without_content = _without_content(connection)
    undecided = connection.execute(
        f"""UPDATE delivery SET state = 'needs_attention', reason = 'outcome_unknown',
            request_key = NULL, due_at = NULL, undo = NULL
            WHERE {_OPEN} AND coalesce(reason, '') NOT IN ('outcome_unknown', 'content_lost')
              AND (:outdated OR state IN ('sending', 'unconfirmed')
              AND coalesce(request_key, '') NOT IN (SELECT key FROM request))""",
        {"outdated": outdated},
    ).rowcount
    without_place = _without_place(connection, now, new_id)
    _go_on_counting(connection)
    if outdated:
        connection.execute("DELETE FROM outbox_line")
        connection.execute("DELETE FROM outbox_id")
    connection.execute("INSERT OR IGNORE INTO outbox_id VALUES (1, lower(hex(randomblob(16))))")
    return RepairResult(
        undecided, without_content, without_place, tuple(row[0] for row in leftover)
    )


def _drop_broken_content(connection: sqlite3.Connection) -> None:
    """Delete unreadable content: SQLite has no checksums, so a damaged page can look like text."""
    rows = connection.execute("SELECT clip_seq, accepted, plan FROM content")
    broken = [seq for seq, accepted, plan in rows if not _is_readable(accepted, plan)]
    connection.executemany("DELETE FROM content WHERE clip_seq = ?", [(seq,) for seq in broken])


def _is_readable(accepted: bytes, plan: bytes) -> bool:
    try:
        msgspec.json.decode(accepted)
        plan_from_json(plan)
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError):
        return False
    return True


def _content_from(copy: Path, connection: sqlite3.Connection) -> None:
    """Copy missing content from an older copy: the content of an edition never changes."""
    missing = connection.execute(
        f"""SELECT seq, edition FROM clip WHERE seq NOT IN (SELECT clip_seq FROM content)
            AND EXISTS (SELECT 1 FROM delivery WHERE clip_seq = clip.seq AND {_OPEN})"""
    ).fetchall()
    with contextlib.closing(sqlite3.connect(copy)) as older:
        editions = dict(older.execute("SELECT seq, edition FROM clip").fetchall())
    same = {seq for seq, edition in missing if editions.get(seq) == edition}
    salvage.copy_rows(copy, connection, "content", same)


def _drop_broken_requests(connection: sqlite3.Connection) -> None:
    """Delete requests that do not match their deliveries exactly."""
    for key, members in connection.execute("SELECT key, members FROM request").fetchall():
        try:
            wanted = {int(member["delivery"]) for member in json.loads(members)}
        except (ValueError, TypeError, KeyError):
            wanted = set()
        rows = connection.execute("SELECT seq FROM delivery WHERE request_key = ?", (key,))
        if not wanted or wanted != {seq for (seq,) in rows}:
            connection.execute("DELETE FROM request WHERE key = ?", (key,))


def _without_content(connection: sqlite3.Connection) -> int:
    """Stop unfinished clips whose content is lost; the preview remains as their content.

    A last chunk in flight is complete in its request, so it continues.
    """
    lost = connection.execute(
        f"""SELECT seq, preview FROM clip WHERE seq NOT IN (SELECT clip_seq FROM content)
            AND EXISTS (SELECT 1 FROM delivery WHERE clip_seq = clip.seq AND {_OPEN})"""
    ).fetchall()
    for seq, preview in lost:
        connection.execute(
            "INSERT INTO content (clip_seq, accepted, plan) VALUES (?, ?, ?)",
            (seq, chunks.encode({"format": "text", "text": preview}), NO_PLAN),
        )
        connection.execute(
            """DELETE FROM request WHERE key IN (SELECT d.request_key FROM delivery d
                JOIN clip ON clip.seq = d.clip_seq
                WHERE clip.seq = ? AND d.chunks_done + 1 < clip.chunks)""",
            (seq,),
        )
        connection.execute(
            f"""UPDATE delivery SET state = 'needs_attention', reason = 'content_lost',
                due_at = NULL WHERE clip_seq = ? AND (state IN {READY_SQL}
                  OR state = 'needs_attention' AND reason <> 'outcome_unknown')""",
            (seq,),
        )
    return len(lost)


def _without_place(connection: sqlite3.Connection, now: float, new_id: Callable[[], str]) -> int:
    lost = connection.execute(
        """SELECT seq, user_id, workspace_id FROM clip
            WHERE seq NOT IN (SELECT clip_seq FROM delivery)"""
    ).fetchall()
    for seq, user_id, workspace_id in lost:
        connection.execute(
            """INSERT INTO delivery (id, clip_seq, user_id, workspace_id, lane, turn, position,
                state, reason, created_at)
                VALUES (:id, :seq, :user, :workspace, :lane, :turn, '{"type":"end"}',
                'needs_attention', 'place_lost', :now)""",
            {
                "id": new_id(),
                "seq": seq,
                "user": user_id,
                "workspace": workspace_id,
                "lane": f"lost:{seq}",
                "turn": 0,
                "now": now,
            },
        )
    return len(lost)


def _go_on_counting(connection: sqlite3.Connection) -> None:
    """Raise the counter above every stored position: positions only grow."""
    connection.execute("INSERT OR IGNORE INTO turn_counter (one, n) VALUES (1, 0)")
    connection.execute(
        """UPDATE turn_counter SET n = max(n, coalesce(
            (SELECT max(turn) FROM delivery WHERE turn < ?), 0))""",
        (DEFERRED,),
    )
