"""Implements the page endpoints: create, read, change, trash and restore.

https://developers.notion.com/reference/post-page and its neighbours.
"""

from __future__ import annotations

from typing import Any

from cloud_broker.sandbox.api.blocks import TRASH_KEYS, read_trash
from cloud_broker.sandbox.api.call import Answer, Call, Endpoint, page_or_404
from cloud_broker.sandbox.errors import ARCHIVED, not_found, validation
from cloud_broker.sandbox.model import Database, DataSource, Json, Node, Page, Parent
from cloud_broker.sandbox.shapes.blocks import read_children
from cloud_broker.sandbox.shapes.checks import (
    UNDEFINED,
    fail_one_of,
    get,
    only,
    want_bool,
    want_id,
    want_object,
    want_one_of,
)
from cloud_broker.sandbox.shapes.properties import (
    TITLE_ONLY,
    empty_properties,
    read_properties,
)
from cloud_broker.sandbox.shapes.rich_text import read_icon

PARENTS = ("page_id", "data_source_id", "database_id", "workspace")


def retrieve(call: Call) -> Answer:
    """GET /pages/{page_id}: a trashed page still answers 200."""
    return Answer(call.render.page(page_or_404(call, call.id("page_id"))))


def create(call: Call) -> Answer:
    """POST /pages: create a page with its properties and first blocks."""
    body = call.object()
    only(body, "body", {"parent", "properties", "icon", "cover", "children", "position"})
    parent, where = _read_parent(call, body)
    schema = parent.schema if isinstance(parent, DataSource) else TITLE_ONLY
    given = read_properties(body.get("properties", {}), "body.properties", schema, call.reading)
    page = _fresh(call, parent, where, {**empty_properties(schema), **given})
    page.icon = read_icon(body.get("icon"), "body.icon", call.reading)
    page.cover = read_icon(body.get("cover"), "body.cover", call.reading)
    drafts = read_children(body.get("children", []), "body.children", page, call.reading)
    index = _read_position(call, body, parent)
    if parent is not None and call.world.in_trash(parent):
        raise validation(ARCHIVED)
    call.world.create_page(page, call.token.bot_id, index)
    call.world.create_blocks(page, drafts, call.token.bot_id)
    return Answer(call.render.page(page), resource=page.id, created=tuple(page.children))


def update(call: Call) -> Answer:
    """PATCH /pages/{page_id}: change properties, icon, cover, lock or trash, not the blocks."""
    page = page_or_404(call, call.id("page_id"))
    body = call.object()
    trashed = read_trash(call, body)
    only(body, "body", {"properties", "icon", "cover", "is_locked", *TRASH_KEYS})
    parent = call.world.nodes.get(page.parent.id)
    schema = parent.schema if isinstance(parent, DataSource) else TITLE_ONLY
    given = read_properties(body.get("properties", {}), "body.properties", schema, call.reading)
    icon = read_icon(body.get("icon"), "body.icon", call.reading)
    cover = read_icon(body.get("cover"), "body.cover", call.reading)
    locked = want_bool(body.get("is_locked", page.locked), "body.is_locked")
    if call.world.in_trash(page) and trashed is not False:
        raise validation(ARCHIVED)
    actor = call.token.bot_id
    if trashed is not None and trashed != page.trashed:
        (call.world.trash if trashed else call.world.restore)(page, actor)
    page.icon = icon if "icon" in body else page.icon
    page.cover = cover if "cover" in body else page.cover
    page.locked = locked
    if given or {"icon", "cover", "is_locked"} & body.keys():
        call.world.set_page(page, actor, given)
    return Answer(call.render.page(page), resource=page.id)


def _read_parent(call: Call, body: Json) -> tuple[Node | None, Parent]:
    said = want_object(get(body, "parent"), "body.parent")
    kind = said.get("type") or next((each for each in PARENTS if each in said), None)
    if kind is None:
        fail_one_of((f"body.parent.{each}", "defined", get(said, each)) for each in PARENTS)
    want_one_of(kind, "body.parent.type", PARENTS)
    only(
        said,
        "body.parent",
        {"type", kind} | ({"database_id"} if kind == "data_source_id" else set()),
    )
    if kind == "workspace":
        return None, Parent("workspace", "")
    found = want_id(get(said, kind), f"body.parent.{kind}")
    node = call.find(found, kind.removesuffix("_id").replace("_", " "))
    if kind == "database_id" and isinstance(node, Database):
        if len(node.children) != 1:
            raise validation("Databases with multiple data sources are not supported here.")
        node = call.world.nodes[node.children[0]]
        return node, Parent("data_source_id", node.id)
    if not isinstance(node, Page if kind == "page_id" else DataSource):
        raise not_found(found, call.integration, kind.removesuffix("_id"))
    return node, Parent("page_id" if kind == "page_id" else "data_source_id", node.id)


def _fresh(call: Call, parent: Node | None, where: Parent, properties: dict[str, Json]) -> Page:
    now = call.world.clock.now()
    return Page(
        id=call.world.new_id(),
        workspace_id=call.token.workspace_id if parent is None else parent.workspace_id,
        parent=where,
        created_at=now,
        edited_at=now,
        created_by=call.token.bot_id,
        edited_by=call.token.bot_id,
        properties=properties,
    )


def _read_position(call: Call, body: Json, parent: Node | None) -> int | None:
    said: Any = get(body, "position")
    if said is UNDEFINED:
        return None
    place = want_object(said, "body.position")
    kind = want_one_of(
        get(place, "type"), "body.position.type", ("page_start", "page_end", "after_block")
    )
    if not isinstance(parent, Page):
        raise validation("body.position can only be used with a page parent.")
    if kind == "page_end":
        return None
    if kind == "page_start":
        return 0
    named = want_object(get(place, "after_block"), "body.position.after_block")
    anchor = want_id(get(named, "id"), "body.position.after_block.id")
    if anchor not in parent.children or call.world.nodes[anchor].trashed:
        raise validation(f"Block ID ({anchor}) to append after is not parented by ({parent.id})")
    return parent.children.index(anchor) + 1


ENDPOINTS = (
    Endpoint("POST", "pages", create, "insert"),
    Endpoint("GET", "pages/{page_id}", retrieve),
    Endpoint("PATCH", "pages/{page_id}", update, "update"),
)
