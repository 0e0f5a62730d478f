"""Request bodies: parsed once, checked against the table, and written anew for Notion. Pure.

What goes upstream is the encoding of the one value that was checked, so a body that two parsers
would read differently (doubled keys, odd escapes) means to Notion what it meant here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cloud_broker.proxy.errors import InvalidJson, InvalidRequest
from cloud_broker.proxy.routes import MAX_PAGE_SIZE, Route

MAX_DEPTH = 32  # the deepest legal append has some 16 levels


def parse(route: Route, raw: bytes) -> dict[str, Any] | None:
    """Return the body's object, or None where the row takes none.

    Raises InvalidJson or InvalidRequest.
    """
    if route.body is None:
        if raw.strip() not in (b"", b"{}"):
            raise InvalidRequest("This endpoint takes no body.")
        return None
    body = decode(raw or b"{}")
    if not isinstance(body, dict):
        raise InvalidRequest("body failed validation: body should be an object.")
    for key in body:
        if key not in route.body:
            raise InvalidRequest(
                f"body failed validation: body.{_shown(key)} should be not present."
            )
    size = body.get("page_size")
    if isinstance(size, int) and not isinstance(size, bool) and size > MAX_PAGE_SIZE:
        body["page_size"] = MAX_PAGE_SIZE
    return body


def decode(raw: bytes) -> Any:
    """Decode JSON of at most MAX_DEPTH levels. Raises InvalidJson or InvalidRequest."""
    try:
        value = msgspec.json.decode(raw)
    except RecursionError:
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):  # not chained: a cause may quote the body
        raise InvalidJson from None
    if _deeper_than(value, MAX_DEPTH):
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
    return value


def encode(value: Any) -> bytes:
    """Encode for the wire."""
    return msgspec.json.encode(value)


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            child
            for node in layer
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not layer:
            return False
    return True


def _shown(key: str) -> str:
    """The key itself only when it looks like a name: anything may stand in a key."""
    return key if key.isascii() and key.isidentifier() and len(key) <= 40 else "(unknown)"
