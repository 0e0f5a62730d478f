"""Parses request bodies, checks them against the allow-list, and encodes them for Notion. Pure.

Notion gets the encoding of the checked value, so a body that two parsers would read differently
(duplicate keys, odd escapes) means the same to both.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from cloud_broker.proxy.errors import InvalidJson, InvalidRequest
from cloud_broker.proxy.routes import MAX_PAGE_SIZE, Route

T = TypeVar("T")

MAX_DEPTH = 32  # levels; the deepest valid append has about 16
_BOM = b"\xef\xbb\xbf"
_ESCAPE = re.compile(r"\\(?:(u[dD][89abAB]..\\u[dD][c-fC-F]..)|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
"""One escape of a JSON string: a whole surrogate pair, half of one, or any other."""


def parse(route: Route, raw: bytes) -> dict[str, Any] | None:
    """Return the body's object, or None if the row takes no body.

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
        value = decode_json(raw, Any)
    except RecursionError:
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):  # not chained: a cause may quote the body
        raise InvalidJson from None
    if _deeper_than(value, MAX_DEPTH):
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
    return value


def decode_json(raw: bytes, shape: type[T]) -> T:
    """Decode JSON into ``shape``; a byte order mark and halves of surrogate pairs do not matter.

    Each half becomes U+FFFD. ``JSON.stringify(title.slice(0, 100))`` gives such halves: they are
    legal JSON (RFC 8259 8.2), but UTF-8 cannot encode them. Raises msgspec.ValidationError,
    msgspec.DecodeError, UnicodeDecodeError or RecursionError.
    """
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(_repaired(raw), type=shape)


def _repaired(raw: bytes) -> bytes:
    """Return ``raw`` without a byte order mark, with U+FFFD for each half of a surrogate pair.

    Raises UnicodeDecodeError.
    """
    text = raw.removeprefix(_BOM).decode("utf-8", "surrogatepass")
    text = _ESCAPE.sub(lambda escape: r"\ufffd" if escape[2] else escape[0], text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def encode(value: Any) -> bytes:
    """Encode ``value`` as JSON."""
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
    """Return the key only if it looks like a name: a key may hold content."""
    return key if key.isascii() and key.isidentifier() and len(key) <= 40 else "(unknown)"
