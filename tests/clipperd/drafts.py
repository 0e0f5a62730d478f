"""Clips as the API hands them to the outbox."""

from __future__ import annotations

from typing import Any

from clipperd.content import chunks, convert
from clipperd.model import Position, Scope
from clipperd.outbox.records import Draft, Target


def a_draft(scope: Scope, page: str | None, content: Any = "hello", /, **fields: Any) -> Draft:
    """Return a clip of a text, or of content in the API's form; ``fields`` replace its fields."""
    if isinstance(content, str):
        content = {"format": "text", "text": content}
    prepared = convert.prepare(content)
    made: dict[str, Any] = {
        "scope": scope,
        "client_id": "owner",
        "targets": [Target(Position(), page_id=page)],
        "accepted": chunks.encode(content),
        "prepared": prepared,
        "plan": chunks.plan(prepared.blocks),
    }
    return Draft(**made | fields)
