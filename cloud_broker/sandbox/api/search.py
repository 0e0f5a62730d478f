"""Implements search by title, and the users.

https://developers.notion.com/reference/post-search: titles only, not exhaustive, and indexed with
a lag, which the sandbox keeps to what is configured.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cloud_broker.sandbox.api.call import Answer, Call, Endpoint, bad_cursor, listed, page_size
from cloud_broker.sandbox.errors import not_found, validation
from cloud_broker.sandbox.model import DataSource, Json, Node, Page
from cloud_broker.sandbox.shapes.checks import (
    UNDEFINED,
    get,
    only,
    want_bool,
    want_object,
    want_one_of,
    want_string,
)

KINDS = ("page", "data_source")
HALF_ID = 18  # characters of a dashed uuid that stand for its first eight bytes


@dataclass(frozen=True, slots=True)
class Hit:
    """A page or data source in the state of the index, which may lag."""

    node: Node
    title: str
    edited_at: float

    @property
    def key(self) -> tuple[float, str]:
        """The order of results: by edit time, then by id."""
        return (self.edited_at, self.node.id)


def search(call: Call) -> Answer:
    """POST /search: pages and data sources by title, newest edit first."""
    body = {} if call.body is UNDEFINED else call.object()
    only(body, "body", {"query", "filter", "sort", "start_cursor", "page_size"})
    wanted = want_string(body.get("query") or "", "body.query").casefold()
    kind, in_trash = _read_filter(body)
    descending = _read_sort(body)
    size = page_size(body.get("page_size"), "body.page_size")
    hits = [
        hit
        for hit in _index(call)
        if (kind is None or isinstance(hit.node, Page) == (kind == "page"))
        and wanted in hit.title.casefold()
        and call.world.in_trash(hit.node) == in_trash
        and call.world.visible(hit.node, call.token)
    ]
    hits.sort(key=lambda hit: hit.key, reverse=descending)
    if body.get("start_cursor") is not None:
        at = _from_cursor(body["start_cursor"])
        hits = [hit for hit in hits if (_short(hit) <= at if descending else _short(hit) >= at)]
    following = _to_cursor(hits[size]) if len(hits) > size else None
    shown = [call.render.any(hit.node) for hit in hits[:size]]
    answer = listed("page_or_data_source", shown, following)
    answer["request_status"] = {"type": "complete"}
    return Answer(answer)


def me(call: Call) -> Answer:
    """GET /users/me: the token's own bot."""
    return Answer(call.render.me(call.token))


def user(call: Call) -> Answer:
    """GET /users/{user_id}: a member of the workspace or a bot."""
    user_id = call.id("user_id")
    known = call.world.users.get(user_id)
    if known is None or user_id not in _members(call):
        raise not_found(user_id, call.integration, "user")
    return Answer(call.render.user(known))


def users(call: Call) -> Answer:
    """GET /users: all members of the workspace."""
    size = page_size(call.query.get("page_size"), "query.page_size")
    ids = _members(call)
    cursor = call.query.get("start_cursor")
    if cursor and cursor not in ids:
        raise bad_cursor(cursor)
    first = ids.index(cursor) if cursor else 0
    following = ids[first + size] if first + size < len(ids) else None
    shown = [call.render.user(call.world.users[each]) for each in ids[first : first + size]]
    return Answer(listed("user", shown, following))


def _members(call: Call) -> list[str]:
    workspace = call.world.workspaces[call.token.workspace_id]
    return [*workspace.members, call.token.bot_id]


def _index(call: Call) -> list[Hit]:
    """List all searchable objects in the state of the index."""
    lag_s = max(call.search_lag_s, call.world.config.search_lag_s)
    seen_until = call.world.clock.now() - lag_s
    hits: list[Hit] = []
    for node in call.world.nodes.values():
        if isinstance(node, Page):
            if lag_s <= 0:
                hits.append(Hit(node, call.world.title_of(node), node.edited_at))
                continue
            known = [entry for entry in node.history if entry[0] <= seen_until]
            if known:
                hits.append(Hit(node, known[-1][1], known[-1][2]))
        elif isinstance(node, DataSource) and (lag_s <= 0 or node.created_at <= seen_until):
            hits.append(Hit(node, node.title, node.edited_at))
    return hits


def _read_filter(body: Json) -> tuple[str | None, bool]:
    said: Any = body.get("filter")
    if said is None:
        return None, False
    item = want_object(said, "body.filter")
    only(item, "body.filter", {"property", "value", "in_trash"})
    in_trash = want_bool(item.get("in_trash", False), "body.filter.in_trash")
    if "property" not in item and "value" not in item and "in_trash" in item:
        return None, in_trash
    want_one_of(get(item, "property"), "body.filter.property", ("object",))
    return want_one_of(get(item, "value"), "body.filter.value", KINDS), in_trash


def _read_sort(body: Json) -> bool:
    said: Any = body.get("sort")
    if said is None:
        return True
    item = want_object(said, "body.sort")
    only(item, "body.sort", {"timestamp", "direction", "property"})
    if item.get("property") == "relevance":
        return True
    if item.get("timestamp") != "last_edited_time":
        raise validation(
            'body.sort.timestamp should be "last_edited_time" when sorting by timestamp.'
        )
    ways = ("ascending", "descending")
    return want_one_of(item.get("direction", "descending"), "body.sort.direction", ways) != ways[0]


def _to_cursor(hit: Hit) -> str:
    """Pack the sort key of the next result into a uuid: its time, and half of its id."""
    return str(UUID(bytes=struct.pack(">d", hit.edited_at) + UUID(hit.node.id).bytes[:8]))


def _from_cursor(cursor: Any) -> tuple[float, str]:
    try:
        raw = UUID(want_string(cursor, "body.start_cursor")).bytes
    except ValueError:
        raise bad_cursor(cursor) from None
    (edited_at,) = struct.unpack(">d", raw[:8])
    return edited_at, str(UUID(bytes=raw[8:] + bytes(8)))[:HALF_ID]


def _short(hit: Hit) -> tuple[float, str]:
    return hit.edited_at, hit.node.id[:HALF_ID]


ENDPOINTS = (
    Endpoint("POST", "search", search),
    Endpoint("GET", "users", users, "read_users"),
    Endpoint("GET", "users/me", me, "any"),
    Endpoint("GET", "users/{user_id}", user, "read_users"),
)
