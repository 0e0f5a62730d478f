"""Which waiting clips travel together, and the request that carries them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from clipperd.content import chunks, fingerprint, headings
from clipperd.content.chunks import Chunk
from clipperd.content.limits import CHILDREN, ELEMENTS, HEADINGS, REQUEST_BYTES
from clipperd.content.trees import children_of
from clipperd.model import POSITIONS, Block, InsertionPoint, Position, Scope, State
from clipperd.outbox.records import Member, QueuedDelivery, Request, position_view


def head(line: Sequence[QueuedDelivery], *, parked: str) -> int | None:
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


def choose(line: Sequence[QueuedDelivery], *, parked: str) -> list[QueuedDelivery]:
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
        if count > CHILDREN or elements > ELEMENTS or size > REQUEST_BYTES:
            break
        if len(group) + 1 > cap:
            break
        group.append(item)
    return group


def _joinable(item: QueuedDelivery) -> bool:
    return (
        item.state in (State.QUEUED, State.RETRYING)
        and item.chunks == 1
        and not item.started
        and item.new_page is None
    )


def _same_place(one: QueuedDelivery, other: QueuedDelivery) -> bool:
    return _place_of(one.position) == _place_of(other.position)


def _place_of(position: Position) -> Mapping[str, Any]:
    view = position_view(position)
    view.pop("headings", None)
    return view


class Stamp(msgspec.Struct, frozen=True):
    """What makes a request unique: its key and the server's clock when it was made."""

    key: str
    sent_at: float


def batch_request(
    scope: Scope,
    lane: str,
    group: Sequence[QueuedDelivery],
    plans: Mapping[int, Sequence[Chunk]],
    place: InsertionPoint,
    stamp: Stamp,
) -> Request:
    """The append that carries whole clips (or the first chunk of one) to one place.

    At places where the newest stands first, the clips are laid out in reverse, each clip's own
    blocks in order; otherwise in turn order.
    """
    order = list(range(len(group)))
    if POSITIONS[group[0].position.type].newest_first:
        order.reverse()
    blocks: list[Block] = []
    spans: dict[int, tuple[int, int]] = {}
    for index in order:
        plan = plans[group[index].clip_seq]
        own = _demoted(group[index], plan[0].blocks, place.level, highest(plan))
        spans[index] = (len(blocks), len(own))
        blocks.extend(own)
    members = tuple(
        Member(item.seq, 0, spans[index][0], spans[index][1]) for index, item in enumerate(group)
    )
    return _append(scope, lane, blocks, members, place, stamp)


def chunk_request(
    scope: Scope,
    lane: str,
    item: QueuedDelivery,
    plan: Sequence[Chunk],
    place: InsertionPoint,
    stamp: Stamp,
) -> Request:
    """The append that carries the next chunk of a clip that has started."""
    number = item.chunks_done
    blocks = _demoted(item, plan[number].blocks, item.level, highest(plan))
    members = (Member(item.seq, number, 0, len(blocks)),)
    return _append(scope, lane, blocks, members, place, stamp)


def continuation(item: QueuedDelivery, plan: Sequence[Chunk]) -> InsertionPoint | None:
    """Where the next chunk of a started clip goes, known from what its earlier chunks created.

    None when their ids are not known (a person confirmed them): resolve the position anew. What
    :func:`unlisted` counts stands between that place and the one meant.
    """
    parent = plan[item.chunks_done].parent
    if parent is not None:
        chunk, offset = parent
        if chunk >= len(item.chunk_ids) or offset >= len(item.chunk_ids[chunk]):
            return None
        parent_id = item.chunk_ids[chunk][offset]
    elif item.parent_id is None:
        return None
    else:
        parent_id = item.parent_id
    before = created(item, plan)
    if not before and parent is None and item.new_page is None:
        return None
    after = before[-1] if before else None
    return InsertionPoint(parent_id=parent_id, after=after, edge="end", level=item.level)


def created(item: QueuedDelivery, plan: Sequence[Chunk]) -> list[str]:
    """The blocks that earlier chunks created where the next one goes, in order."""
    return [block for number in _siblings(item, plan) for block in item.chunk_ids[number]]


def unlisted(item: QueuedDelivery, plan: Sequence[Chunk]) -> int:
    """How many blocks stand behind those, of chunks that a person confirmed: ids not known."""
    count = 0
    for number in reversed(_siblings(item, plan)):
        if item.chunk_ids[number]:
            break
        count += len(plan[number].blocks)
    return count


def inline_children(item: QueuedDelivery, plan: Sequence[Chunk], parent_id: str) -> list[Block]:
    """The children that ``parent_id`` was created with: Notion did not tell their ids."""
    if parent_id == item.page_id:
        whole = item.new_page is not None and item.chunks_done > 0 and not item.chunk_ids
        return list(plan[0].blocks) if whole and plan else []
    for number, ids in enumerate(item.chunk_ids):
        if parent_id in ids:
            blocks = _demoted(item, plan[number].blocks, item.level, highest(plan))
            return children_of(blocks[ids.index(parent_id)])
    return []


def _siblings(item: QueuedDelivery, plan: Sequence[Chunk]) -> list[int]:
    """The chunks done so far that went under the same parent as the next."""
    done = range(min(item.chunks_done, len(item.chunk_ids)))
    return [number for number in done if plan[number].parent == plan[item.chunks_done].parent]


def page_request(
    scope: Scope,
    lane: str,
    item: QueuedDelivery,
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


def highest(plan: Sequence[Chunk]) -> Block | None:
    """The first of the highest headings on the content's first level: it says how far all move."""
    tops = [b for c in plan if c.parent is None for b in c.blocks if b["type"] in HEADINGS]
    return min(tops, key=lambda block: str(block["type"]), default=None)


def splits_section(item: QueuedDelivery, plan: Sequence[Chunk], place: InsertionPoint) -> bool:
    """Whether the clip's own headings, kept as they are, end the section that it goes into.

    Only what follows a sibling can: a toggle heading holds its section as children.
    """
    top = highest(plan)
    if place.level == 0 or place.after is None or top is None or _is_demoted(item):
        return False
    return HEADINGS.index(top["type"]) < place.level


def _is_demoted(item: QueuedDelivery) -> bool:
    return item.demotable and item.position.headings != "keep"


def _demoted(
    item: QueuedDelivery, blocks: Sequence[Block], level: int, top: Block | None
) -> list[Block]:
    """A chunk's blocks with their headings demoted as far as those of the whole clip."""
    if not _is_demoted(item) or top is None:
        return list(blocks)
    return headings.demote([top, *blocks], level)[1:]


def _append(
    scope: Scope,
    lane: str,
    blocks: list[Block],
    members: tuple[Member, ...],
    place: InsertionPoint,
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
