"""Translates between a client's Notion-Version and the pinned version spoken upstream. Pure.

A setting pins the upstream version (2026-03-11, or 2025-09-03). These translate without loss:

- 2025-09-03, the default of Notion's present SDKs: ``after`` became ``position``, ``archived``
  became ``in_trash``, ``transcription`` became ``meeting_notes``
  (https://developers.notion.com/guides/get-started/upgrade-guide-2026-03-11).
- 2022-06-28, the default of SDKs before that: the same, and a database was the table itself
  (``databases.py``).

The broker refuses earlier versions: their properties and parents have other forms.
"""

from __future__ import annotations

from typing import Any

from cloud_broker.proxy.databases import (
    FIRST_WITH_SOURCES,
    as_table,
    as_table_parent,
    each_once,
)
from cloud_broker.proxy.errors import InvalidRequest, NoSuchRoute
from cloud_broker.proxy.routes import Route, parse_uuid

KNOWN = ("2022-06-28", FIRST_WITH_SOURCES, "2026-03-11")

_LISTS = {"page_or_data_source": "page_or_database"}


def spoken(asked: str | None, pinned: str, route: Route) -> str:
    """Return the version of the client's response.

    Raises InvalidRequest, or NoSuchRoute for a call that the version does not have.
    """
    version = asked or pinned
    known = [each for each in KNOWN if each <= pinned]
    if version not in known:
        raise InvalidRequest(
            f"This Notion-Version is not supported. Send {' or '.join(reversed(known))} "
            "(notionVersion or notion_version in Notion's SDKs).",
            broker_code="version_not_supported",
        )
    if knows_tables(version) and route.words[0] == "data_sources":
        raise NoSuchRoute(
            f"Invalid request URL: data sources exist since Notion-Version {FIRST_WITH_SOURCES}."
        )
    return version


def knows_tables(version: str) -> bool:
    """Return whether a database is a table in this version."""
    return version < FIRST_WITH_SOURCES


def to_upstream(route: Route, body: dict[str, Any], version: str) -> dict[str, Any]:
    """Rewrite an older client's body. Raises InvalidRequest if that would lose data."""
    body = dict(body)
    if "after" in body:
        if "position" in body:
            raise InvalidRequest("body.after and body.position exclude each other.")
        anchor = body.pop("after")
        found = parse_uuid(anchor) if isinstance(anchor, str) else None
        if found is None:
            raise InvalidRequest("body failed validation: body.after should be a valid uuid.")
        body["position"] = {"type": "after_block", "after_block": {"id": found}}
    if "archived" in body:
        archived = body.pop("archived")
        if body.setdefault("in_trash", archived) != archived:
            raise InvalidRequest("body.archived and body.in_trash contradict each other.")
    if route.name == "blocks.update" and not isinstance(body.get("in_trash"), bool):
        raise InvalidRequest("body failed validation: body.in_trash should be a boolean.")
    if route.name == "search":
        _name_sources(body, version)
    return body


def to_client(value: Any, version: str, pinned: str) -> Any:
    """Rewrite ``value`` (an answer's decoded JSON) in the client's ``version``, in place."""
    if version == pinned:
        return value
    tables = knows_tables(version)
    nodes = [value]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes.extend(node)
        elif isinstance(node, dict):
            _rename(node)
            if tables:
                _without_sources(node)
            nodes.extend(child for child in node.values() if isinstance(child, (dict, list)))
    return value


def _rename(node: dict[str, Any]) -> None:
    if "object" in node and isinstance(node.get("in_trash"), bool):
        node.setdefault("archived", node["in_trash"])
    if node.get("object") == "block" and node.get("type") == "meeting_notes":
        node["type"] = "transcription"
        node["transcription"] = node.pop("meeting_notes", {})


def _without_sources(node: dict[str, Any]) -> None:
    if node.get("object") == "data_source":
        as_table(node)
    as_table_parent(node)
    if node.get("object") != "list" or not isinstance(node.get("results"), list):
        return
    for item in node["results"]:
        if isinstance(item, dict) and item.get("object") == "data_source":
            as_table(item)
    node["results"] = each_once(node["results"])
    kind = node.get("type")
    if isinstance(kind, str) and kind in _LISTS:
        node["type"] = _LISTS[kind]
        node[_LISTS[kind]] = node.pop(kind, {})


def _name_sources(body: dict[str, Any], version: str) -> None:
    """Turn a filter for databases into one for data sources, the tables of old clients."""
    wanted = body.get("filter")
    if not isinstance(wanted, dict) or wanted.get("value") != "database":
        return
    if not knows_tables(version):
        raise InvalidRequest(
            "body failed validation: body.filter.value should be `page` or `data_source`: "
            f"search answers with data sources since version {FIRST_WITH_SOURCES}."
        )
    body["filter"] = {**wanted, "value": "data_source"}
