"""Choose the waiting clips that share a request, and build the request. Pure."""

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
    """Return the index of the first delivery that may go, or None if the lane must wait.

    ``parked``: whether clips after one that needs attention "wait" or "skip" it.
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
    """Return the deliveries of the next request, in queue order; empty if none may go.

    Neighbours for the same position share a request up to Notion's limits. A clip of several
    chunks goes alone, so that nothing comes between its chunks.
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
    """The identity of a request: its idempotency key and the server's time of its creation."""

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
    """Build the append of whole clips, or of the first chunk of one, to one position.

    For a position that is newest first, the clips stand in reverse queue order, each clip's own
    blocks in order.
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
    """Build the append of the next chunk of a started clip."""
    number = item.chunks_done
    blocks = _demoted(item, plan[number].blocks, item.level, highest(plan))
    members = (Member(item.seq, number, 0, len(blocks)),)
    return _append(scope, lane, blocks, members, place, stamp)


def continuation(item: QueuedDelivery, plan: Sequence[Chunk]) -> InsertionPoint | None:
    """Return the insertion point of a started clip's next chunk, from its created blocks.

    Returns None if their ids are unknown because the user confirmed them: resolve the position
    again. The blocks that :func:`unlisted` counts precede the next chunk.
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
    """Return the blocks that earlier chunks created under the next chunk's parent, in order."""
    return [block for number in _siblings(item, plan) for block in item.chunk_ids[number]]


def unlisted(item: QueuedDelivery, plan: Sequence[Chunk]) -> int:
    """Count the blocks after those, of chunks that the user confirmed: their ids are unknown."""
    count = 0
    for number in reversed(_siblings(item, plan)):
        if item.chunk_ids[number]:
            break
        count += len(plan[number].blocks)
    return count


def inline_children(item: QueuedDelivery, plan: Sequence[Chunk], parent_id: str) -> list[Block]:
    """Return the children created together with ``parent_id``: Notion does not list their ids."""
    if parent_id == item.page_id:
        whole = item.new_page is not None and item.chunks_done > 0 and not item.chunk_ids
        return list(plan[0].blocks) if whole and plan else []
    for number, ids in enumerate(item.chunk_ids):
        if parent_id in ids:
            blocks = _demoted(item, plan[number].blocks, item.level, highest(plan))
            return children_of(blocks[ids.index(parent_id)])
    return []


def _siblings(item: QueuedDelivery, plan: Sequence[Chunk]) -> list[int]:
    """Return the numbers of the chunks done under the same parent as the next."""
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
    """Build the creation of a page; it includes the content if that is a single chunk."""
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
    """Return the first of the highest first-level headings; all headings move as far as it does."""
    tops = [b for c in plan if c.parent is None for b in c.blocks if b["type"] in HEADINGS]
    return min(tops, key=lambda block: str(block["type"]), default=None)


def splits_section(item: QueuedDelivery, plan: Sequence[Chunk], place: InsertionPoint) -> bool:
    """Return whether the clip's own headings, kept as they are, end the section it goes into.

    Only blocks after a sibling can: a toggle heading holds its section as children.
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
    """Return a chunk's blocks, their headings demoted as far as those of the whole clip."""
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
