"""Read the lanes: the waiting deliveries in order, the open request, the receipts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from clipperd.model import Scope
from clipperd.outbox.records import (
    FINISHED_SQL,
    GIVEN_UP_SQL,
    OPEN_SQL,
    LaneKey,
    QueuedDelivery,
    Request,
    request_from_row,
    waiting_from_row,
)
from clipperd.outbox.schema import DEFERRED

_COLUMNS = (
    "d.*, clip.id AS clip_id, clip.edition, clip.priority, clip.demotable, clip.first_level,"
    " clip.elements, clip.body_bytes, clip.chunks"
)
_UNDO_QUEUED = "undo IS NOT NULL AND json_extract(undo, '$.state') = 'queued'"


def open_lanes(connection: sqlite3.Connection, user_id: str) -> list[tuple[LaneKey, int]]:
    """Return the account's lanes with open work, and the best priority waiting in each."""
    rows = connection.execute(
        "SELECT d.workspace_id, d.lane, min(clip.priority) AS priority"
        " FROM delivery d JOIN clip ON clip.seq = d.clip_seq"
        f" WHERE d.user_id = :user AND d.turn < :deferred AND d.state IN {OPEN_SQL}"
        " GROUP BY d.workspace_id, d.lane"
        " UNION SELECT workspace_id, lane, 0 FROM delivery"
        f" WHERE user_id = :user AND {_UNDO_QUEUED}",
        {"user": user_id, "deferred": DEFERRED},
    )
    return [((user_id, row["workspace_id"], row["lane"]), row["priority"]) for row in rows]


class Work(msgspec.Struct, frozen=True):
    """The next work of a lane: its unresolved request, else an undo, else the waiting deliveries.

    ``parked`` ("wait" or "skip"): whether clips after one that needs attention wait for it.
    """

    request: Request | None = None
    undo: sqlite3.Row | None = None
    line: Sequence[QueuedDelivery] = ()
    parked: str = "wait"


def next_work(connection: sqlite3.Connection, lane: LaneKey) -> Work:
    """Return the next work of the lane; nothing else of it may move first."""
    request = live_request(connection, lane)
    if request is not None:
        return Work(request=request)
    undo = pending_undo(connection, lane)
    if undo is not None:
        return Work(undo=undo)
    parked = parked_policy(connection, lane)
    return Work(line=waiting(connection, lane, parked=parked), parked=parked)


def pending_undo(connection: sqlite3.Connection, lane: LaneKey) -> sqlite3.Row | None:
    """Return the delivery of the lane whose undo is next."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM delivery WHERE user_id = ? AND workspace_id = ? AND lane = ?"
        f" AND {_UNDO_QUEUED} ORDER BY seq LIMIT 1",
        lane,
    ).fetchone()
    return row


def live_request(connection: sqlite3.Connection, lane: LaneKey) -> Request | None:
    """Return the lane's unresolved request; nothing else of the lane may move before it."""
    row = connection.execute(
        "SELECT * FROM request WHERE user_id = ? AND workspace_id = ? AND lane = ?", lane
    ).fetchone()
    return None if row is None else request_from_row(row)


def waiting(
    connection: sqlite3.Connection, lane: LaneKey, *, parked: str = "wait", limit: int = 120
) -> list[QueuedDelivery]:
    """Return the lane's open deliveries in order.

    ``parked`` "skip": without those that need attention.
    Before the page exists, the delivery that creates it is first, whenever it was accepted.
    """
    skipped = " AND d.state <> 'needs_attention'" if parked == "skip" else ""
    order = "d.new_page IS NULL, d.turn" if lane[2].startswith("ref:") else "d.turn"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM delivery d JOIN clip ON clip.seq = d.clip_seq"
        " WHERE d.user_id = ? AND d.workspace_id = ? AND d.lane = ? AND d.turn < ?"
        f" AND d.state IN {OPEN_SQL}{skipped} ORDER BY {order} LIMIT ?",
        (*lane, DEFERRED, limit),
    )
    return [waiting_from_row(row) for row in rows]


def creator_of(
    connection: sqlite3.Connection, scope: Scope, parent_id: str
) -> tuple[QueuedDelivery, bytes] | None:
    """Return the delivery that created this block or page, and its plan if still stored."""
    row = connection.execute(
        f"SELECT {_COLUMNS}, content.plan FROM delivery d JOIN clip ON clip.seq = d.clip_seq"
        " JOIN content ON content.clip_seq = d.clip_seq"
        " WHERE d.user_id = :user AND (d.seq = (SELECT delivery_seq FROM receipt"
        " WHERE block_id = :parent) OR (d.page_id = :parent AND d.new_page IS NOT NULL)) LIMIT 1",
        {"user": scope.user_id, "parent": parent_id},
    ).fetchone()
    return None if row is None else (waiting_from_row(row), bytes(row["plan"]))


def plans_of(connection: sqlite3.Connection, clip_seqs: Iterable[int]) -> dict[int, bytes]:
    """Return the stored plan of each clip."""
    select = "SELECT plan FROM content WHERE clip_seq = ?"
    return {seq: bytes(connection.execute(select, (seq,)).fetchone()["plan"]) for seq in clip_seqs}


def parked_policy(connection: sqlite3.Connection, lane: LaneKey) -> str:
    """Return "wait" or "skip": whether clips after one that needs attention wait for it."""
    row = connection.execute(
        "SELECT parked FROM lane_setting WHERE user_id = ? AND workspace_id = ? AND page_id = ?",
        lane,
    ).fetchone()
    return "skip" if row is None else str(row["parked"])


def receipted(
    connection: sqlite3.Connection, block_ids: Sequence[str], *, besides: int = 0
) -> set[str]:
    """Return which of these blocks have a receipt of another delivery than ``besides``."""
    known: set[str] = set()
    for start in range(0, len(block_ids), 500):
        part = block_ids[start : start + 500]
        marks = ", ".join("?" * len(part))
        known.update(
            row[0]
            for row in connection.execute(
                f"SELECT block_id FROM receipt WHERE block_id IN ({marks}) AND delivery_seq <> ?",
                [*part, besides],
            )
        )
    return known


def fingerprints_of(connection: sqlite3.Connection, delivery: int) -> dict[str, str]:
    """Return the blocks that a delivery created, with the fingerprint of each as sent."""
    rows = connection.execute(
        "SELECT block_id, print FROM receipt WHERE delivery_seq = ?", (delivery,)
    )
    return {row["block_id"]: row["print"] for row in rows}


def announced_page(
    connection: sqlite3.Connection, scope: Scope, ref: str
) -> tuple[str | None, bool]:
    """Return the page created under this ref, and whether one is still to be created."""
    row = connection.execute(
        "SELECT page_id FROM delivery WHERE user_id = ? AND workspace_id = ? AND page_ref = ?"
        " AND new_page IS NOT NULL AND page_id IS NOT NULL ORDER BY seq DESC LIMIT 1",
        (scope.user_id, scope.workspace_id, ref),
    ).fetchone()
    return None if row is None else str(row["page_id"]), is_coming(connection, scope, ref)


def is_coming(connection: sqlite3.Connection, scope: Scope, ref: str) -> bool:
    """Return whether the page of this ref is still to be created, maybe after a decision."""
    row = connection.execute(
        "SELECT 1 FROM delivery WHERE user_id = ? AND workspace_id = ? AND page_ref = ?"
        " AND new_page IS NOT NULL AND page_id IS NULL"
        f" AND state NOT IN {FINISHED_SQL} LIMIT 1",
        (scope.user_id, scope.workspace_id, ref),
    ).fetchone()
    return row is not None


def shares_page(connection: sqlite3.Connection, row: sqlite3.Row) -> bool:
    """Return whether the page that this delivery created holds, or awaits, other clips."""
    found = connection.execute(
        "SELECT 1 FROM delivery WHERE user_id = :user AND workspace_id = :workspace"
        f" AND seq <> :seq AND state NOT IN {GIVEN_UP_SQL} AND (page_id = :page"
        " OR json_extract(new_page, '$.parent.page_id') = :page"
        " OR json_extract(new_page, '$.parent.page_ref') = :ref) LIMIT 1",
        {
            "user": row["user_id"],
            "workspace": row["workspace_id"],
            "seq": row["seq"],
            "page": row["page_id"],
            "ref": row["page_ref"],
        },
    ).fetchone()
    return found is not None


def last_block(connection: sqlite3.Connection, lane: LaneKey) -> str | None:
    """Return the last block known to be ours on this page: a look may start there."""
    row = connection.execute(
        "SELECT block_ids FROM delivery WHERE user_id = ? AND workspace_id = ? AND page_id = ?"
        " AND +state = 'delivered' AND block_ids != '[]' ORDER BY delivered_at DESC LIMIT 1",
        lane,
    ).fetchone()
    return None if row is None else str(json.loads(row["block_ids"])[-1])


def own_keys(connection: sqlite3.Connection, scope: Scope) -> set[str]:
    """Return the keys of this workspace's unresolved requests."""
    rows = connection.execute(
        "SELECT key FROM request WHERE user_id = ? AND workspace_id = ?",
        (scope.user_id, scope.workspace_id),
    )
    return {row["key"] for row in rows}


def known_pages(connection: sqlite3.Connection, scope: Scope, listed: Sequence[str]) -> set[str]:
    """Return the pages that clips of this workspace created, and those listed with a receipt."""
    return receipted(connection, listed) | {
        row["page_id"]
        for row in connection.execute(
            "SELECT page_id FROM delivery WHERE user_id = ? AND workspace_id = ?"
            " AND new_page IS NOT NULL AND page_id IS NOT NULL",
            (scope.user_id, scope.workspace_id),
        )
    }
