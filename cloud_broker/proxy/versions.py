"""Older clients: what they send and expect, in terms of the version spoken upstream. Pure.

Upstream is pinned by the setting (2026-03-11). Its three differences from 2025-09-03 are
https://developers.notion.com/guides/get-started/upgrade-guide-2026-03-11: ``after`` became
``position``, ``archived`` became ``in_trash``, ``transcription`` became ``meeting_notes``. All
three translate without loss. Versions before 2025-09-03 have other objects and are refused.
"""

from __future__ import annotations

from typing import Any

from cloud_broker.proxy.refusals import InvalidRequest
from cloud_broker.proxy.routes import Route, parse_uuid

OLDER = "2025-09-03"


def spoken(asked: str | None, pinned: str) -> str:
    """Return the version in which the client wants its answer. Raises InvalidRequest."""
    version = asked or pinned
    if version not in {pinned, OLDER}:
        raise InvalidRequest(
            f"Notion-Version should be {pinned} or {OLDER}.", broker_code="version_not_supported"
        )
    return version


def to_upstream(route: Route, body: dict[str, Any]) -> dict[str, Any]:
    """Rewrite what older clients send. Raises InvalidRequest where that would lose something."""
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
        _refuse_database_filter(body)
    return body


def to_client(value: Any, version: str, pinned: str) -> Any:
    """Give ``value`` (decoded JSON of an answer) the form of the client's ``version``, in place."""
    if version == pinned:
        return value
    nodes = [value]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes.extend(node)
        elif isinstance(node, dict):
            if "object" in node and isinstance(node.get("in_trash"), bool):
                node.setdefault("archived", node["in_trash"])
            if node.get("object") == "block" and node.get("type") == "meeting_notes":
                node["type"] = "transcription"
                node["transcription"] = node.pop("meeting_notes", {})
            nodes.extend(child for child in node.values() if isinstance(child, (dict, list)))
    return value


def _refuse_database_filter(body: dict[str, Any]) -> None:
    wanted = body.get("filter")
    if isinstance(wanted, dict) and wanted.get("value") == "database":
        raise InvalidRequest(
            "body failed validation: body.filter.value should be `page` or `data_source`: "
            "search answers with data sources since version 2025-09-03."
        )
