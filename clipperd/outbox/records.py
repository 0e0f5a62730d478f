"""Define the shapes of the outbox: drafts, stored rows, and the views for clients."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

import msgspec
from msgspec.structs import asdict

from clipperd.clock import rfc3339
from clipperd.content.chunks import Chunk, Plan
from clipperd.content.convert import Prepared
from clipperd.content.formats import SUPPORTED
from clipperd.model import (
    FINISHED,
    OPEN,
    POSITIONS,
    PRECEDENCE,
    READY,
    WAITING,
    Block,
    Position,
    ReasonName,
    Scope,
    State,
    StateName,
)

PRIORITIES: tuple[str, ...] = ("high", "normal", "low")
"""Stored by index: a smaller number goes first."""


def sql_list(states: Iterable[State]) -> str:
    """Return the states as a list for ``IN`` in SQL."""
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"


# As in the partial index ``delivery_open``: SQLite uses it only for the same text.
OPEN_SQL = sql_list(OPEN)
WAITING_SQL = sql_list(WAITING)
READY_SQL = sql_list(READY)
FINISHED_SQL = sql_list(sorted(FINISHED))
GIVEN_UP_SQL = sql_list((State.CANCELED, State.FAILED))
CLOSED_SQL = sql_list((State.DELIVERED, State.CANCELED))  # nothing needs the content again

LaneKey: TypeAlias = tuple[str, str, str]
"""(user id, workspace id, page id or "ref:…" until the page exists); each keeps its order."""


class Target(msgspec.Struct, frozen=True):
    """A destination of a draft: a page, a page to be created by ref, or a new page.

    ``title``: the page's title in the page index, if known.
    """

    position: Position
    page_id: str | None = None
    page_ref: str | None = None
    new_page: Mapping[str, Any] | None = None
    title: str | None = None


class Draft(msgspec.Struct, frozen=True):
    """A checked and converted clip, ready to be stored."""

    scope: Scope
    client_id: str
    targets: Sequence[Target]
    accepted: bytes
    prepared: Prepared
    plan: Plan
    priority: int = 1
    not_before: float | None = None
    source: Mapping[str, Any] = msgspec.field(default_factory=dict)
    idempotency_key: str | None = None
    fingerprint: bytes = b""


class Member(msgspec.Struct, frozen=True):
    """One delivery's share of a request: the chunk, and the range of its blocks in the body."""

    delivery: int
    chunk: int
    first: int
    count: int


class Request(msgspec.Struct, frozen=True):
    """A write that is stored before it is sent, and replayed verbatim until resolved.

    ``expected``: the fingerprints of its first-level blocks in page order. ``sent_at``: the
    server's clock (epoch seconds) just before the first send. ``settle_s``: the wait before an
    absent block proves that nothing was applied.
    """

    key: str
    scope: Scope
    lane: str
    kind: str
    path: str
    body: bytes
    parent_id: str
    after_id: str | None
    edge: str
    level: int
    members: tuple[Member, ...]
    expected: tuple[str, ...]
    sent_at: float
    phase: str = "sending"
    maybe_sent: bool = False
    settle_s: float | None = None


class QueuedDelivery(msgspec.Struct, frozen=True):
    """A waiting delivery, with the fields that choosing a batch needs."""

    seq: int
    clip_seq: int
    clip_id: str
    edition: int
    queue_position: int
    page_id: str | None
    page_ref: str | None
    new_page: Mapping[str, Any] | None
    position: Position
    state: State
    priority: int
    demotable: bool
    first_level: int
    elements: int
    body_bytes: int
    chunks: int
    chunks_done: int
    chunk_ids: tuple[tuple[str, ...], ...]
    parent_id: str | None
    level: int
    batch_cap: int
    anchor_losses: int

    @property
    def started(self) -> bool:
        """Return whether a part of it is on the page."""
        return self.chunks_done > 0


ACTIONS = (
    "retry",
    "resend",
    "mark_delivered",
    "retarget",
    "edit",
    "cancel",
    "undo",
    "reauth",
    "open",
)
"""What a user can do with a delivery; clients draw their buttons from it."""
ActionName: TypeAlias = Annotated[
    str, msgspec.Meta(title="Action", extra_json_schema={"enum": [*ACTIONS]})
]
Priority: TypeAlias = Annotated[Literal["high", "normal", "low"], msgspec.Meta(title="Priority")]
FormatName: TypeAlias = Annotated[
    str, msgspec.Meta(title="Format", extra_json_schema={"enum": [*SUPPORTED, "mixed"]})
]
Source: TypeAlias = Annotated[
    dict[str, Any],
    msgspec.Meta(
        title="Source",
        extra_json_schema={
            "properties": {"app": {}, "url": {}, "title": {}},
            "additionalProperties": True,
        },
    ),
]
PositionView: TypeAlias = Annotated[dict[str, Any], msgspec.Meta(title="Position")]


class DeliveryError(TypedDict):
    """The last error of a delivery. Notion's and the broker's codes pass through."""

    code: str
    message: str


PositionChanged = TypedDict("PositionChanged", {"from": str, "to": str, "why": str})


class UndoLeft(TypedDict):
    """A block that an undo left on the page, and why."""

    block_id: str
    why: str


class UndoView(TypedDict):
    """How far an undo has come: the blocks that it removed and those that it left."""

    state: Literal["queued", "done"]
    removed: list[str]
    left: list[UndoLeft]


class DeliveryView(msgspec.Struct, kw_only=True):
    """The delivery of a clip to one target."""

    id: str
    page_id: str | None
    page_ref: str | None = None
    page_title: str | None = None
    position: PositionView
    state: StateName
    reason: ReasonName | None = None
    actions: list[ActionName]
    attempts: int
    next_attempt_at: str | None = None
    error: DeliveryError | None = None
    chunks_total: int
    chunks_done: int
    block_ids: list[str]
    block_url: str | None = None
    position_changed: PositionChanged | None = None
    notion_calls: int
    shared: bool
    stopping: bool = False
    undo: UndoView | None = None
    created_at: str
    delivered_at: str | None = None


class ClipAccount(msgspec.Struct):
    """The owner of a clip, where clips of every account are listed."""

    user_id: str
    email: str | None


class ClipView(msgspec.Struct, kw_only=True):
    """A clip with its deliveries."""

    id: str
    version: int
    state: StateName
    summary: dict[str, int]
    workspace_id: str
    created_at: str
    updated_at: str
    format: FormatName
    title: str
    preview: str
    size_bytes: int
    source: Source
    priority: Priority
    not_before: str | None = None
    content_expires_at: str | None = None
    stopping: bool = False
    deliveries: list[DeliveryView]
    account: ClipAccount | None = None  # only with ?account=all


@lru_cache(maxsize=256)
def position_to_json(position: Position) -> str:
    """Serialise a position in the client's form."""
    return json.dumps(position_view(position), sort_keys=True, ensure_ascii=False)


def position_view(position: Position) -> dict[str, Any]:
    """Return the client's form of a position: ``{"type": …}`` and only the given fields."""
    view: dict[str, Any] = {"type": position.type}
    if position.heading_id:
        view["heading_id"] = position.heading_id
    if position.heading_text is not None:
        view["heading"] = {"text": position.heading_text}
        if position.heading_path:
            view["heading"]["path"] = list(position.heading_path)
    if position.block_id:
        view["block_id"] = position.block_id
    if position.if_gone != "ask":
        view["if_gone"] = position.if_gone
    if position.headings:
        view["headings"] = position.headings
    return view


DAMAGED = (ValueError, KeyError, TypeError, AttributeError)
"""The errors of reading a stored text that a flipped bit has damaged."""


@lru_cache(maxsize=256)
def position_from_json(text: str) -> Position:
    """Read the text of :func:`position_to_json`. Raises one of DAMAGED for a damaged text."""
    raw = json.loads(text)
    if raw["type"] not in POSITIONS:
        raise ValueError("no position")
    heading = raw.get("heading") or {}
    return Position(
        type=raw["type"],
        heading_id=raw.get("heading_id"),
        heading_text=heading.get("text"),
        heading_path=tuple(heading.get("path", ())),
        block_id=raw.get("block_id"),
        if_gone=raw.get("if_gone", "ask"),
        headings=raw.get("headings"),
    )


NO_PLAN = b"[]"
"""The plan of a clip whose content was lost: nothing can be sent."""


def plan_from_json(raw: bytes) -> list[Chunk]:
    """Read the chunks of a stored plan (``Plan.encoded``)."""
    chunks: list[Chunk] = []
    for item in msgspec.json.decode(raw):
        parent = item["parent"]
        blocks: list[Block] = item["blocks"]
        chunks.append(Chunk(blocks=blocks, parent=None if parent is None else tuple(parent)))
    return chunks


def request_to_row(request: Request) -> dict[str, Any]:
    """Return the named parameters for the request table."""
    return {
        "key": request.key,
        "user_id": request.scope.user_id,
        "workspace_id": request.scope.workspace_id,
        "lane": request.lane,
        "kind": request.kind,
        "path": request.path,
        "body": request.body,
        "parent_id": request.parent_id,
        "after_id": request.after_id,
        "edge": request.edge,
        "level": request.level,
        "members": json.dumps([asdict(m) for m in request.members]),
        "expected": json.dumps(request.expected),
        "phase": request.phase,
        "maybe_sent": int(request.maybe_sent),
        "settle_s": request.settle_s,
        "sent_at": request.sent_at,
    }


def request_from_row(row: sqlite3.Row) -> Request:
    """Read a row of the request table."""
    return Request(
        key=row["key"],
        scope=Scope(row["user_id"], row["workspace_id"]),
        lane=row["lane"],
        kind=row["kind"],
        path=row["path"],
        body=row["body"],
        parent_id=row["parent_id"],
        after_id=row["after_id"],
        edge=row["edge"],
        level=row["level"],
        members=tuple(Member(**m) for m in json.loads(row["members"])),
        expected=tuple(json.loads(row["expected"])),
        phase=row["phase"],
        maybe_sent=bool(row["maybe_sent"]),
        settle_s=row["settle_s"],
        sent_at=row["sent_at"],
    )


def waiting_from_row(row: sqlite3.Row) -> QueuedDelivery:
    """Read a joined delivery and clip row."""
    return QueuedDelivery(
        seq=row["seq"],
        clip_seq=row["clip_seq"],
        clip_id=row["clip_id"],
        edition=row["edition"],
        queue_position=row["turn"],
        page_id=row["page_id"],
        page_ref=row["page_ref"],
        new_page=json.loads(row["new_page"]) if row["new_page"] else None,
        position=position_from_json(row["position"]),
        state=State(row["state"]),
        priority=row["priority"],
        demotable=bool(row["demotable"]),
        first_level=row["first_level"],
        elements=row["elements"],
        body_bytes=row["body_bytes"],
        chunks=row["chunks"],
        chunks_done=row["chunks_done"],
        chunk_ids=tuple(tuple(ids) for ids in json.loads(row["chunk_ids"])),
        parent_id=row["parent_id"],
        level=row["level"],
        batch_cap=row["batch_cap"],
        anchor_losses=row["anchor_losses"],
    )


STOPPING = "stopping"
"""The stored reason of a delivery that ends after the request that is out."""

BEGUN_SQL = "(d.chunks_done > 0 OR d.new_page IS NOT NULL AND d.page_id IS NOT NULL)"
SHOWN_SQL = f"iif(d.state = 'queued' AND {BEGUN_SQL}, 'sending', d.state)"
"""The state that clients see, as :func:`shown_state`: between its parts a clip is being sent."""


def shown_state(row: sqlite3.Row) -> str:
    """Return the state that clients see."""
    between = row["state"] == State.QUEUED and is_begun(row)
    return str(State.SENDING) if between else str(row["state"])


def is_begun(row: sqlite3.Row) -> bool:
    """Return whether a part of this delivery is at Notion."""
    return bool(row["chunks_done"] or (row["new_page"] and row["page_id"]))


def is_unsent(row: sqlite3.Row) -> bool:
    """Return whether no part of this delivery can have been sent, so that it may be changed."""
    idle = row["state"] in (State.QUEUED, State.RETRYING, State.NEEDS_ATTENTION, State.FAILED)
    return idle and row["reason"] != "outcome_unknown" and not is_begun(row)


def clip_state(states: Iterable[str]) -> str:
    """Return the first state of PRECEDENCE that any delivery is in."""
    present = set(states)
    for state in PRECEDENCE:
        if state in present:
            return str(state)
    return str(State.DELIVERED)


def moment(seconds: float | None) -> str | None:
    """Return the time as RFC 3339, or None."""
    return None if seconds is None else rfc3339(seconds)
