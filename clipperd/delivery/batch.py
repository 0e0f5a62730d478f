"""Which waiting clips travel together, and the request that carries them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipperd.content import chunks, fingerprint, headings
from clipperd.content.chunks import Chunk
from clipperd.model import Block, Place, Position, Scope, State
from clipperd.outbox.records import Member, Request, Waiting, position_view

MAX_FIRST_LEVEL = 100  # https://developers.notion.com/reference/request-limits
MAX_ELEMENTS = 1000  # same page
MAX_BYTES = 450_000  # Notion's 500 KB less room for the envelope; the broker caps there too

_NEWEST_FIRST = frozenset({"start", "after_heading", "after_block"})


def head(line: Sequence[Waiting], *, parked: str) -> int | None:
    """The index of the delivery whose turn it is, or None when the lane must wait.

    ``parked`` says whether clips behind one that needs attention "wait" or "skip".
    """
    for index, item in enumerate(line):
        if item.state is State.NEEDS_ATTENTION:
            if parked == "wait":
                return None
            continue
        if item.state in (State.QUEUED, State.RETRYING):
            return index
        return None
    return None


def choose(line: Sequence[Waiting], *, parked: str) -> list[Waiting]:
    """The deliveries that the next request carries, in turn order; empty when none may go.

    Neighbours in line that want the same place travel together up to Notion's limits. A clip of
    several chunks travels alone, so that nothing comes between its chunks.
    """
    start = head(line, parked=parked)
    if start is None:
        return []
    first = line[start]
    group = [first]
    if not _joinable(first):
        return group
    count, elements, size = first.first_level, first.elements, first.body_bytes
    cap = first.batch_cap
    for item in line[start + 1 :]:
        if item.state is State.NEEDS_ATTENTION and parked == "skip":
            continue
        if not _joinable(item) or not _same_place(first, item):
            break
        count += item.first_level
        elements += item.elements
        size += item.body_bytes
        cap = min(cap, item.batch_cap)
        if count > MAX_FIRST_LEVEL or elements > MAX_ELEMENTS or size > MAX_BYTES:
            break
        if len(group) + 1 > cap:
            break
        group.append(item)
    return group


def _joinable(item: Waiting) -> bool:
    return (
        item.state in (State.QUEUED, State.RETRYING)
        and item.chunks == 1
        and not item.started
        and item.new_page is None
    )


def _same_place(one: Waiting, other: Waiting) -> bool:
    return _place_of(one.position) == _place_of(other.position)


def _place_of(position: Position) -> Mapping[str, Any]:
    view = position_view(position)
    view.pop("headings", None)
    return view


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes a request unique: its key and the server's clock when it was made."""

    key: str
    sent_at: float


def joint(
    scope: Scope,
    lane: str,
    group: Sequence[Waiting],
    plans: Mapping[int, Sequence[Chunk]],
    place: Place,
    stamp: Stamp,
) -> Request:
    """The append that carries whole clips (or the first chunk of one) to one place.

    At places where the newest stands first, the clips are laid out in reverse, each clip's own
    blocks in order; otherwise in turn order.
    """
    order = list(range(len(group)))
    if group[0].position.type in _NEWEST_FIRST:
        order.reverse()
    blocks: list[Block] = []
    spans: dict[int, tuple[int, int]] = {}
    for index in order:
        own = _levelled(group[index], plans[group[index].clip_seq][0].blocks, place.level)
        spans[index] = (len(blocks), len(own))
        blocks.extend(own)
    members = tuple(
        Member(item.seq, 0, spans[index][0], spans[index][1]) for index, item in enumerate(group)
    )
    return _append(scope, lane, blocks, members, place, stamp)


def onward(
    scope: Scope, lane: str, item: Waiting, plan: Sequence[Chunk], place: Place, stamp: Stamp
) -> Request:
    """The append that carries the next chunk of a clip that has started."""
    number = item.chunks_done
    blocks = _levelled(item, plan[number].blocks, item.level)
    members = (Member(item.seq, number, 0, len(blocks)),)
    return _append(scope, lane, blocks, members, place, stamp)


def continuation(item: Waiting, plan: Sequence[Chunk]) -> Place | None:
    """Where the next chunk of a started clip goes, known from what its earlier chunks created.

    None when their ids are not known (a person confirmed them): resolve the position anew.
    """
    parent = plan[item.chunks_done].parent
    if parent is not None:
        chunk, offset = parent
        if chunk >= len(item.chunk_ids) or offset >= len(item.chunk_ids[chunk]):
            return None
        parent_id = item.chunk_ids[chunk][offset]
        before = _last_of(item, plan, parent)
        return Place(parent_id=parent_id, after=before, edge="end", level=item.level)
    if item.parent_id is None:
        return None
    before = _last_of(item, plan, None)
    if before is None and item.new_page is None:
        return None
    return Place(parent_id=item.parent_id, after=before, edge="end", level=item.level)


def _last_of(item: Waiting, plan: Sequence[Chunk], parent: tuple[int, int] | None) -> str | None:
    """The last block that this clip created under ``parent``, less those whose anchor was lost."""
    created: list[str] = []
    for number in range(min(item.chunks_done, len(item.chunk_ids))):
        if plan[number].parent == parent:
            created.extend(item.chunk_ids[number])
    usable = created[: len(created) - item.anchor_losses] if item.anchor_losses else created
    return usable[-1] if usable else None


def new_page(
    scope: Scope,
    lane: str,
    item: Waiting,
    plan: Sequence[Chunk],
    parent: Mapping[str, str],
    title_property: str,
    stamp: Stamp,
) -> Request:
    """The creation of a page, with its content where that fits into the one request."""
    wanted = item.new_page or {}
    properties = dict(wanted.get("properties") or {})
    properties[title_property] = {
        "title": [{"type": "text", "text": {"content": str(wanted.get("title", ""))}}]
    }
    body: dict[str, Any] = {"parent": dict(parent), "properties": properties}
    if wanted.get("icon"):
        body["icon"] = wanted["icon"]
    whole = len(plan) <= 1
    if plan and whole and plan[0].blocks:
        body["children"] = list(plan[0].blocks)
    return Request(
        key=stamp.key,
        scope=scope,
        lane=lane,
        kind="create_page",
        path="pages",
        body=chunks.encode(body),
        parent_id=next(iter(parent.values())),
        after_id=None,
        edge="end",
        level=0,
        members=(Member(item.seq, 0, 0, len(plan) if whole else 0),),
        expected=(str(wanted.get("title", "")),),
        sent_at=stamp.sent_at,
    )


def _levelled(item: Waiting, blocks: Sequence[Block], level: int) -> list[Block]:
    wish = item.position.headings or ("demote" if item.demotable else "keep")
    if not item.demotable or wish == "keep":
        return list(blocks)
    return headings.demote(list(blocks), level)


def _append(
    scope: Scope,
    lane: str,
    blocks: list[Block],
    members: tuple[Member, ...],
    place: Place,
    stamp: Stamp,
) -> Request:
    body: dict[str, Any] = {"children": blocks}
    if place.after is not None:
        body["position"] = {"type": "after_block", "after_block": {"id": place.after}}
    elif place.edge == "start":
        body["position"] = {"type": "start"}
    return Request(
        key=stamp.key,
        scope=scope,
        lane=lane,
        kind="append",
        path=f"blocks/{place.parent_id}/children",
        body=chunks.encode(body),
        parent_id=place.parent_id,
        after_id=place.after,
        edge=place.edge,
        level=place.level,
        members=members,
        expected=tuple(fingerprint.of(block) for block in blocks),
        sent_at=stamp.sent_at,
    )
