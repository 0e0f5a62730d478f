"""Implements the block endpoints: read, change, trash, list children, append children.

https://developers.notion.com/reference/patch-block-children and its neighbours.
"""

from __future__ import annotations

from typing import Any

from cloud_broker.sandbox.api.call import Answer, Call, Endpoint, bad_cursor, listed, page_size
from cloud_broker.sandbox.errors import ARCHIVED, not_found, validation
from cloud_broker.sandbox.model import Block, DataSource, Json, Node
from cloud_broker.sandbox.render import NEW
from cloud_broker.sandbox.shapes.block_types import TYPES
from cloud_broker.sandbox.shapes.blocks import (
    UNSUPPORTED_PARENT,
    may_hold_children,
    read_children,
    read_update,
)
from cloud_broker.sandbox.shapes.checks import (
    MOST_ITEMS,
    UNDEFINED,
    fail,
    get,
    only,
    want_bool,
    want_id,
    want_object,
    want_one_of,
)

TRASH_KEYS = ("in_trash", "archived")


def retrieve(call: Call) -> Answer:
    """GET /blocks/{block_id}: a trashed block still answers 200."""
    return Answer(call.render.block(_block(call)))


def update(call: Call) -> Answer:
    """PATCH /blocks/{block_id}: change the payload (not the type or children), or trash it."""
    node = _block(call)
    body = call.object()
    trashed = read_trash(call, body)
    kinds = [key for key in body if key in TYPES]
    only(body, "body", {*kinds, "type", "object", *TRASH_KEYS})
    if not kinds and trashed is None:
        raise validation("body failed validation: body should hold a block type to update.")
    payload = None
    if kinds:
        if not isinstance(node, Block) or node.type not in TYPES:
            raise validation("This block type cannot be updated by this endpoint.")
        if kinds != [node.type]:
            raise validation(f"Expected block type {node.type} in request body")
        payload = read_update(node, body[node.type], f"body.{node.type}", call.reading)
    if call.world.in_trash(node) and trashed is not False:
        raise validation(ARCHIVED)
    actor = call.token.bot_id
    if trashed is not None and trashed != node.trashed:
        (call.world.trash if trashed else call.world.restore)(node, actor)
    if payload is not None and isinstance(node, Block):
        call.world.update_block(node, payload, actor)
    return Answer(call.render.block(node), resource=node.id)


def delete(call: Call) -> Answer:
    """DELETE /blocks/{block_id}: move a block or page to the trash."""
    node = _block(call)
    if call.world.in_trash(node):
        raise validation(ARCHIVED)
    call.world.trash(node, call.token.bot_id)
    return Answer(call.render.block(node), resource=node.id)


def children(call: Call) -> Answer:
    """GET /blocks/{block_id}/children: one level in display order; the cursor is a child's id."""
    block_id = call.id("block_id")
    size = page_size(call.query.get("page_size"), "query.page_size")
    cursor = call.query.get("start_cursor")
    if cursor:
        cursor = _cursor(cursor)
    node = call.find(block_id)
    if call.world.in_trash(node):
        raise not_found(block_id, call.integration)
    listing = [
        kid
        for kid in call.world.living(_listed_instead(call, node))
        if not isinstance(kid, DataSource)
    ]
    first = 0
    if cursor:
        first = next((i for i, kid in enumerate(listing) if kid.id == cursor), -1)
        if first < 0:
            raise bad_cursor(cursor)
    following = listing[first + size].id if first + size < len(listing) else None
    shown = [call.render.block(kid) for kid in listing[first : first + size]]
    return Answer(listed("block", shown, following))


def append(call: Call) -> Answer:
    """PATCH /blocks/{block_id}/children: create blocks at the end, the start or after a child.

    The answer lists the created blocks and then, unless at the end, the siblings that follow them,
    as measured on the live API; at most a hundred in all.
    """
    block_id = call.id("block_id")
    body = call.object()
    allowed = {"children", "position"} if call.version == NEW else {"children", "position", "after"}
    only(body, "body", allowed)
    anchor, place = _read_place(body)
    if get(body, "children") is UNDEFINED:
        fail("body.children", "defined", UNDEFINED)
    parent = call.find(block_id)
    drafts = read_children(body["children"], "body.children", parent, call.reading)
    if call.world.in_trash(parent):
        raise validation(ARCHIVED)
    if not may_hold_children(parent):
        raise validation(UNSUPPORTED_PARENT)
    index = _index(call, parent, anchor, place)
    created = call.world.create_blocks(parent, drafts, call.token.bot_id, index)
    following = None
    shown: list[Node] = list(created)
    if index is not None:
        later = parent.children[index + len(created) :]
        siblings = [kid for each in later if not (kid := call.world.nodes[each]).trashed]
        room = MOST_ITEMS - len(created)
        shown += siblings[:room]
        following = siblings[room].id if len(siblings) > room else None
    return Answer(
        listed("block", [call.render.block(node) for node in shown], following),
        resource=parent.id,
        created=tuple(block.id for block in created),
    )


def read_trash(call: Call, body: Json) -> bool | None:
    """Read ``in_trash`` (or ``archived`` before 2026-03-11); None when both are missing."""
    if call.version == NEW and "archived" in body:
        fail("body.archived", "not present", body["archived"])
    said = [want_bool(body[key], f"body.{key}") for key in TRASH_KEYS if key in body]
    if len(set(said)) > 1:
        raise validation("body failed validation: body.in_trash and body.archived contradict.")
    return said[0] if said else None


def _block(call: Call) -> Node:
    node = call.find(call.id("block_id"))
    if isinstance(node, DataSource):
        raise not_found(node.id, call.integration)
    return node


def _cursor(cursor: str) -> str:
    try:
        return want_id(cursor, "query.start_cursor")
    except Exception:
        fail("query.start_cursor", "a valid uuid or `undefined`", cursor)


def _listed_instead(call: Call, node: Node) -> Node:
    """Return the node whose children are listed: the original of a synced copy."""
    if isinstance(node, Block) and node.type == "synced_block":
        origin = node.body["synced_from"]
        if origin is not None:
            return call.find(origin["block_id"])
    return node


def _read_place(body: Json) -> tuple[str | None, str]:
    """Read ``after`` and ``position`` into (anchor id or None, end | start | after_block)."""
    after, position = get(body, "after"), get(body, "position")
    if after is not UNDEFINED and position is not UNDEFINED:
        raise validation(
            "body failed validation: provide either body.after or body.position, not both."
        )
    if after is not UNDEFINED:
        return want_id(after, "body.after"), "after_block"
    if position is UNDEFINED:
        return None, "end"
    place = want_object(position, "body.position")
    kind = want_one_of(get(place, "type"), "body.position.type", ("end", "start", "after_block"))
    return _read_anchor(place, kind), kind


def _read_anchor(place: Json, kind: str) -> str | None:
    if kind != "after_block":
        only(place, "body.position", {"type"})
        return None
    only(place, "body.position", {"type", "after_block"})
    named: Any = want_object(get(place, "after_block"), "body.position.after_block")
    only(named, "body.position.after_block", {"id"})
    return want_id(get(named, "id"), "body.position.after_block.id")


def _index(call: Call, parent: Node, anchor: str | None, place: str) -> int | None:
    """Return the index of the new blocks among the children; None is the end."""
    if place == "end":
        return None
    if anchor is None:
        return 0
    node = call.world.nodes.get(anchor)
    if node is None or node.trashed or node.parent.id != parent.id:
        raise validation(
            f"Block ID ({anchor}) to append children after is not parented by ({parent.id})"
        )
    return parent.children.index(anchor) + 1


ENDPOINTS = (
    Endpoint("GET", "blocks/{block_id}", retrieve),
    Endpoint("PATCH", "blocks/{block_id}", update, "update"),
    Endpoint("DELETE", "blocks/{block_id}", delete, "update"),
    Endpoint("GET", "blocks/{block_id}/children", children),
    Endpoint("PATCH", "blocks/{block_id}/children", append, "insert"),
)
