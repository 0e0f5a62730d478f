"""Count the unfinished clips of other accounts here, and hand them to the current account."""

from __future__ import annotations

import sqlite3
from typing import Any

from clipperd.model import State
from clipperd.outbox.accept import next_queue_position
from clipperd.outbox.records import OPEN_SQL, LaneKey
from clipperd.outbox.requests import bump_version
from clipperd.outbox.schema import DEFERRED


def unfinished(connection: sqlite3.Connection, user_id: str) -> list[dict[str, Any]]:
    """Return ``{user_id, waiting, needs_attention}`` in clips for every account but ``user_id``."""
    rows = connection.execute(
        "SELECT user_id, count(*) - sum(needs) AS waiting, sum(needs) AS needs_attention FROM"
        f" (SELECT user_id, max(state = '{State.NEEDS_ATTENTION}') AS needs FROM delivery"
        f" WHERE user_id <> ? AND state IN {OPEN_SQL} GROUP BY user_id, clip_seq)"
        " GROUP BY user_id ORDER BY user_id",
        (user_id,),
    )
    return [dict(row) for row in rows]


def lanes_of(connection: sqlite3.Connection, user_id: str) -> list[LaneKey]:
    """Return the lanes of the account that have a request whose outcome is open."""
    rows = connection.execute(
        "SELECT user_id, workspace_id, lane FROM request WHERE user_id = ?", (user_id,)
    )
    return [(row["user_id"], row["workspace_id"], row["lane"]) for row in rows]


def adopt(
    connection: sqlite3.Connection,
    former: str,
    user_id: str,
    connected: frozenset[str],
    otherwise: str | None,
    now: float,
) -> list[int]:
    """Hand the unfinished clips of ``former`` to ``user_id``; return their ``clip.seq`` numbers.

    A clip keeps a workspace that is in ``connected``; else it goes to ``otherwise``, or stays.
    Appends the clips to their lanes in their order. A request that may have been sent cannot be
    checked under another account, so its deliveries ask the user (``outcome_unknown``). A clip
    whose ``page_ref`` is in use by the new account stays: the ref would name another page.
    """
    adopted = []
    refs_in_use = _refs(connection, "user_id", user_id)
    clips = connection.execute(
        "SELECT seq, workspace_id FROM clip WHERE user_id = ? AND seq IN"
        f" (SELECT clip_seq FROM delivery WHERE user_id = ? AND state IN {OPEN_SQL}) ORDER BY seq",
        (former, former),
    ).fetchall()
    for clip in clips:
        workspace = clip["workspace_id"] if clip["workspace_id"] in connected else otherwise
        if workspace is None or refs_in_use & _refs(connection, "clip_seq", clip["seq"]):
            continue
        _settle_requests(connection, clip["seq"])
        for table, key in (("clip", "seq"), ("delivery", "clip_seq")):
            connection.execute(
                f"UPDATE {table} SET user_id = ?, workspace_id = ? WHERE {key} = ?",
                (user_id, workspace, clip["seq"]),
            )
        connection.execute(
            "UPDATE OR IGNORE idempotency SET user_id = ? WHERE user_id = ? AND clip_id ="
            " (SELECT id FROM clip WHERE seq = ?)",
            (user_id, former, clip["seq"]),
        )
        bump_version(connection, clip["seq"], now)
        adopted.append(clip["seq"])
    _append(connection, adopted)
    return adopted


def _refs(connection: sqlite3.Connection, where: str, value: object) -> set[str]:
    rows = connection.execute(
        f"SELECT page_ref FROM delivery WHERE page_ref IS NOT NULL AND {where} = ?",
        (value,),
    )
    return {row["page_ref"] for row in rows}


def _settle_requests(connection: sqlite3.Connection, clip: int) -> None:
    """Requeue what was never sent; leave to the user what may have been sent."""
    keys = connection.execute(
        "SELECT DISTINCT request.key, maybe_sent FROM delivery JOIN request"
        " ON request.key = delivery.request_key WHERE clip_seq = ?",
        (clip,),
    ).fetchall()
    for row in keys:
        state, reason = ("queued", None)
        if row["maybe_sent"]:
            state, reason = ("needs_attention", "outcome_unknown")
        connection.execute(
            "UPDATE delivery SET state = ?, reason = ?, request_key = NULL, due_at = NULL"
            " WHERE request_key = ?",
            (state, reason, row["key"]),
        )
        connection.execute("DELETE FROM request WHERE key = ?", (row["key"],))


def _append(connection: sqlite3.Connection, clips: list[int]) -> None:
    """Append the deliveries to their lanes; deferred ones stay deferred."""
    rows = [
        row
        for clip in clips
        for row in connection.execute(
            f"SELECT seq, turn FROM delivery WHERE clip_seq = ? AND state IN {OPEN_SQL}", (clip,)
        )
    ]
    for row in sorted(rows, key=lambda row: (row["turn"] >= DEFERRED, row["turn"])):
        position = next_queue_position(connection)
        connection.execute(
            "UPDATE delivery SET turn = ? WHERE seq = ?",
            (position + (DEFERRED if row["turn"] >= DEFERRED else 0), row["seq"]),
        )
