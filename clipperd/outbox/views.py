"""Read the outbox for clients: single clips, lists with stable cursors, counts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from clipperd.errors import ContentErased, CursorInvalid, NotFound
from clipperd.model import PRECEDENCE, UNDER_WAY, State
from clipperd.outbox.records import (
    BEGUN_SQL,
    DAMAGED,
    PRIORITIES,
    SHOWN_SQL,
    STOPPING,
    WAITING_SQL,
    ClipAccount,
    ClipView,
    DeliveryError,
    DeliveryView,
    clip_state,
    is_begun,
    is_unsent,
    moment,
    position_from_json,
    position_view,
    shown_state,
)
from clipperd.outbox.schema import DEFERRED

_OPEN_ACTIONS: dict[str, tuple[str, ...]] = {
    State.QUEUED: ("edit", "retarget", "cancel"),
    State.RETRYING: ("retry", "edit", "retarget", "cancel"),
    State.SENDING: ("cancel",),
    State.UNCONFIRMED: ("cancel",),
    State.NEEDS_ATTENTION: ("retry", "edit", "retarget", "cancel", "open"),
    State.FAILED: ("retry", "edit", "retarget", "undo"),
    State.CANCELED: ("undo", "open"),
    State.DELIVERED: ("undo", "open"),
}


_STORED_AS: dict[str, str] = {State.SENDING: "'sending', 'queued'"}
"""The stored states of a shown state, if they are not the same; SQL looks them up by index."""


class Filter(msgspec.Struct, frozen=True):
    """The filter of a list of clips; times are epoch seconds."""

    states: Sequence[str] = ()
    page_id: str | None = None
    text: str | None = None
    since: float | None = None
    until: float | None = None


def get(connection: sqlite3.Connection, user_id: str, clip_id: str) -> ClipView:
    """Return one clip of this account. Raises NotFound."""
    row = connection.execute(
        "SELECT * FROM clip WHERE id = ? AND user_id = ?", (clip_id, user_id)
    ).fetchone()
    if row is None:
        raise NotFound("This account has no such clip.")
    return _views(connection, [row])[0]


def owner(connection: sqlite3.Connection, clip_id: str) -> str:
    """Return the account of a clip. Raises NotFound."""
    row = connection.execute("SELECT user_id FROM clip WHERE id = ?", (clip_id,)).fetchone()
    if row is None:
        raise NotFound("There is no such clip on this machine.")
    return str(row["user_id"])


def by_seq(connection: sqlite3.Connection, seqs: Iterable[int]) -> list[tuple[str, ClipView]]:
    """Return the clips with these numbers and the account of each, for events."""
    rows = [
        row
        for seq in seqs
        if (row := connection.execute("SELECT * FROM clip WHERE seq = ?", (seq,)).fetchone())
    ]
    return [(row["user_id"], _clip(connection, row)) for row in rows]


def content(connection: sqlite3.Connection, user_id: str, clip_id: str) -> Any:
    """Return the content as it was accepted. Raises NotFound, ContentErased."""
    row = connection.execute(
        "SELECT content.accepted FROM clip LEFT JOIN content ON content.clip_seq = clip.seq"
        " WHERE clip.id = ? AND clip.user_id = ?",
        (clip_id, user_id),
    ).fetchone()
    if row is None:
        raise NotFound("This account has no such clip.")
    if row["accepted"] is None:
        raise ContentErased("The content of this clip was erased after its retention period.")
    return json.loads(row["accepted"])


def page(
    connection: sqlite3.Connection,
    user_id: str | None,
    chosen: Filter,
    *,
    limit: int,
    cursor: str | None,
) -> tuple[list[ClipView], str | None]:
    """Return an account's clips, newest first, and the cursor of the next page, if any.

    ``user_id`` None: the clips of every account, with their ``account``.
    """
    where = ["1" if user_id is None else "clip.user_id = :user_id"]
    values: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
    if cursor is not None:
        where.append("clip.seq < :before")
        values["before"] = _before(cursor)
    if chosen.page_id is not None:
        where.append(
            "EXISTS (SELECT 1 FROM delivery d WHERE d.clip_seq = clip.seq AND d.page_id = :page)"
        )
        values["page"] = chosen.page_id
    if chosen.text:
        where.append("(clip.title LIKE :text ESCAPE '\\' OR clip.preview LIKE :text ESCAPE '\\')")
        values["text"] = "%" + _like(chosen.text) + "%"
    if chosen.since is not None:
        where.append("clip.created_at >= :since")
        values["since"] = chosen.since
    if chosen.until is not None:
        where.append("clip.created_at < :until")
        values["until"] = chosen.until
    if chosen.states:
        where.append(state_clause(chosen.states, values))
    query = (
        f"SELECT clip.* FROM clip WHERE {' AND '.join(where)} ORDER BY clip.seq DESC LIMIT :limit"
    )
    rows = connection.execute(query, values).fetchall()
    views = _views(connection, rows[:limit])
    if user_id is None:
        owners = zip(views, rows, strict=False)
        views = [replace(view, account=_account(connection, row)) for view, row in owners]
    more = f"c{rows[limit - 1]['seq']}" if len(rows) > limit else None
    return views, more


def state_clause(states: Sequence[str], values: dict[str, Any]) -> str:
    """Return SQL for a clip's state: the first of PRECEDENCE that a delivery is in."""
    clauses = []
    mine = "" if "user_id" in values and values["user_id"] is None else "d.user_id = :user_id AND "
    for number, state in enumerate(states):
        values[f"s{number}"] = state
        stronger = PRECEDENCE[: PRECEDENCE.index(State(state))]
        absent = ", ".join(f"'{other}'" for other in stronger) or "''"
        # Nearly every clip is delivered, so that state is checked for each clip; any other state is
        # rare and looked up by its index.
        here = (
            f"EXISTS (SELECT 1 FROM delivery d WHERE d.clip_seq = clip.seq AND d.state = :s{number})"  # noqa: E501
            if state == State.DELIVERED
            else f"clip.seq IN (SELECT d.clip_seq FROM delivery d WHERE {mine}d.state IN"
            f" ({_STORED_AS.get(state, f':s{number}')}) AND {SHOWN_SQL} = :s{number})"
        )
        clauses.append(
            f"({here} AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.clip_seq = clip.seq"
            f" AND {SHOWN_SQL} IN ({absent})))"
        )
    return "(" + " OR ".join(clauses) + ")"


def _before(cursor: str) -> int:
    if not cursor.startswith("c") or not cursor[1:].isascii() or not cursor[1:].isdigit():
        raise CursorInvalid("This cursor is not valid. Start again without a cursor.")
    if len(cursor) > 20:
        raise CursorInvalid("This cursor is not valid. Start again without a cursor.")
    return int(cursor[1:])


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _views(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[ClipView]:
    return [_clip(connection, row) for row in rows]


def _clip(connection: sqlite3.Connection, row: sqlite3.Row) -> ClipView:
    found = connection.execute(
        "SELECT * FROM delivery WHERE clip_seq = ? ORDER BY seq", (row["seq"],)
    ).fetchall()
    return of_rows(row, found)


def of_rows(row: sqlite3.Row, found: Sequence[sqlite3.Row]) -> ClipView:
    """Return the view of a row of ``clip`` and all of its rows of ``delivery``, in order."""
    editable = all(is_unsent(item) or item["state"] == State.CANCELED for item in found)
    deliveries = [_delivery(item, row["chunks"], editable=editable) for item in found]
    summary: dict[str, int] = {}
    for delivery in deliveries:
        summary[delivery.state] = summary.get(delivery.state, 0) + 1
    return ClipView(
        id=row["id"],
        version=row["version"],
        state=clip_state(summary),
        summary=summary,
        stopping=any(delivery.stopping for delivery in deliveries),
        workspace_id=row["workspace_id"],
        created_at=str(moment(row["created_at"])),
        updated_at=str(moment(row["updated_at"])),
        format=row["format"],
        title=row["title"],
        preview=row["preview"],
        size_bytes=row["size_bytes"],
        source=_shown(row["source"], {}),
        priority=PRIORITIES[row["priority"]],
        not_before=moment(row["not_before"]),
        content_expires_at=moment(row["content_expires_at"]),
        deliveries=deliveries,
    )


def _delivery(row: sqlite3.Row, chunks: int, *, editable: bool) -> DeliveryView:
    blocks: list[str] = _shown(row["block_ids"], [])
    error: DeliveryError | None = None
    if row["error_code"] is not None:
        error = {"code": row["error_code"], "message": row["error_message"] or ""}
    return DeliveryView(
        id=row["id"],
        page_id=row["page_id"],
        page_ref=row["page_ref"],
        page_title=row["page_title"],
        position=_position(row["position"]),
        state=shown_state(row),
        reason=None if row["reason"] == STOPPING else row["reason"],
        stopping=row["reason"] == STOPPING,
        actions=_actions(row, chunks, blocks, editable=editable),
        attempts=row["attempts"],
        next_attempt_at=moment(row["due_at"]) if row["state"] == State.RETRYING else None,
        error=error,
        chunks_total=chunks,
        chunks_done=row["chunks_done"],
        block_ids=blocks,
        block_url=block_url(row["page_id"], blocks[0] if blocks else None),
        position_changed=_shown(row["position_changed"], None),
        notion_calls=row["notion_calls"],
        shared=bool(row["shared"]),
        undo=_shown(row["undo"], None),
        created_at=str(moment(row["created_at"])),
        delivered_at=moment(row["delivered_at"]),
    )


def _account(connection: sqlite3.Connection, row: sqlite3.Row) -> ClipAccount:
    found = connection.execute(
        "SELECT email FROM account WHERE user_id = ?", (row["user_id"],)
    ).fetchone()
    return ClipAccount(row["user_id"], None if found is None else found["email"])


def _shown(text: str | None, otherwise: Any) -> Any:
    """Decode a stored text; return ``otherwise`` for an absent or damaged one."""
    try:
        return msgspec.json.decode(text) if text else otherwise
    except msgspec.DecodeError:
        return otherwise


def _position(text: str) -> dict[str, Any]:
    try:
        return position_view(position_from_json(text))
    except DAMAGED:
        return {"type": "end"}  # for display only: nothing is sent with it


def _actions(row: sqlite3.Row, chunks: int, blocks: Sequence[str], *, editable: bool) -> list[str]:
    """Return the actions allowed now; ``actions.py`` refuses all others."""
    offered = list(_OPEN_ACTIONS[row["state"]])
    if row["reason"] == "outcome_unknown":
        offered = ["resend", "mark_delivered", "open"]
    elif row["reason"] == "content_lost":
        offered = ["edit", "cancel", "open"]
    elif row["reason"] == "place_lost":
        offered = ["retarget", "cancel"]
    elif row["state"] == State.NEEDS_ATTENTION and row["chunks_done"]:
        offered.insert(1, "mark_delivered")
    if row["reason"] == "no_access":
        offered.append("reauth")
    withheld = set()
    if not editable:
        withheld.add("edit")
    if is_begun(row):
        withheld.add("retarget")
    if row["state"] == State.CANCELED and (row["reason"] or not is_begun(row)):
        withheld |= {"undo", "open"}
    if row["state"] in UNDER_WAY and (chunks == 1 or row["reason"] == STOPPING):
        withheld.add("cancel")
    if row["new_page"]:
        withheld.add("retarget")
    if row["undo"] is not None:
        withheld |= {"undo", "retry"}
    if not blocks and not (row["new_page"] and row["page_id"]):
        withheld.add("undo")
    if row["page_id"] is None:
        withheld.add("open")
    return [action for action in offered if action not in withheld]


def block_url(page_id: str | None, block_id: str | None) -> str | None:
    """Return a link to a block in Notion's app: https://app.notion.com/p/<page>#<block>."""
    if page_id is None:
        return None
    url = "https://app.notion.com/p/" + page_id.replace("-", "")
    return url if block_id is None else f"{url}#{block_id.replace('-', '')}"


def counts(connection: sqlite3.Connection, user_id: str) -> dict[str, Any]:
    """Count deliveries by state and by workspace; find the oldest that waits."""
    by_state: dict[str, int] = {str(state): 0 for state in State}
    by_workspace: dict[str, dict[str, int]] = {}
    for row in connection.execute(
        "SELECT workspace_id, state, count(*) AS n FROM delivery WHERE user_id = ?"
        " GROUP BY workspace_id, state",
        (user_id,),
    ):
        by_state[row["state"]] += row["n"]
        by_workspace.setdefault(row["workspace_id"], {})[row["state"]] = row["n"]
    for row in connection.execute(
        "SELECT workspace_id, count(*) AS n FROM delivery d WHERE user_id = ?"
        f" AND state = 'queued' AND {BEGUN_SQL} GROUP BY workspace_id",
        (user_id,),
    ):
        for counted in (by_state, by_workspace[row["workspace_id"]]):
            counted["queued"] -= row["n"]
            counted["sending"] = counted.get("sending", 0) + row["n"]
    oldest = connection.execute(
        f"SELECT min(created_at) AS at FROM delivery WHERE user_id = ? AND state IN {WAITING_SQL}",
        (user_id,),
    ).fetchone()
    return {
        **by_state,
        "by_workspace": by_workspace,
        "oldest_queued_at": moment(oldest["at"]),
    }


def waiting_since(connection: sqlite3.Connection, user_id: str, before: float) -> int:
    """Count deliveries accepted before ``before`` that still wait, without deferred ones."""
    row = connection.execute(
        "SELECT count(*) AS n FROM delivery WHERE user_id = ? AND created_at < ? AND turn < ?"
        f" AND state IN {WAITING_SQL}",
        (user_id, before, DEFERRED),
    ).fetchone()
    return int(row["n"])


def last_error(connection: sqlite3.Connection, user_id: str) -> dict[str, str] | None:
    """Return the newest error among unfinished deliveries."""
    row = connection.execute(
        "SELECT d.error_code, d.error_message, clip.updated_at FROM delivery d"
        " JOIN clip ON clip.seq = d.clip_seq WHERE d.user_id = ? AND d.error_code IS NOT NULL"
        " AND d.state IN ('retrying', 'needs_attention', 'failed')"
        " ORDER BY clip.updated_at DESC LIMIT 1",
        (user_id,),
    ).fetchone()
    if row is None:
        return None
    return {
        "code": row["error_code"],
        "message": row["error_message"] or "",
        "at": str(moment(row["updated_at"])),
    }
