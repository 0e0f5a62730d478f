"""Idempotency keys: UUIDv7 (RFC 9562 section 5.7), whose first 48 bits are a time in ms. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cloud_broker.proxy.bodies import encode
from cloud_broker.proxy.errors import InvalidRequest, KeyExpired

RETENTION_MS = 24 * 3600 * 1000  # a key older than this is executed no more
REMEMBERED_MS = 8 * RETENTION_MS  # a machine may sleep for a week in the middle of a write
SKEW_MS = 10 * 60 * 1000  # how far a key's time may be ahead of ours

_V7 = re.compile(
    r"\A[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z", re.ASCII
)


def parse_key(text: str) -> str:
    """Return the key in lower case. Raises InvalidRequest unless it is a UUIDv7."""
    key = text.lower()
    if not _V7.match(key):
        raise InvalidRequest(
            "Idempotency-Key should be a UUID of version 7.", broker_code="idempotency_key_invalid"
        )
    return key


def created_ms(key: str) -> int:
    """Return when the key was made, milliseconds since the epoch."""
    return int(key[:8] + key[9:13], 16)


def refuse_expired(key: str, now_ms: int) -> None:
    """Raise KeyExpired for a key that may have been executed and forgotten.

    One from the future is refused likewise: its row would have to be kept for too long.
    """
    if created_ms(key) + RETENTION_MS < now_ms:
        raise KeyExpired
    if created_ms(key) > now_ms + SKEW_MS:
        raise KeyExpired("The idempotency key was made in the future. Nothing was sent.")


def forget_at(key: str, now_ms: int) -> int:
    """Return when its row may go: long after the key itself is refused as expired.

    Until then it tells the account's programs whose a block is.
    """
    return max(now_ms, created_ms(key)) + REMEMBERED_MS + SKEW_MS


def spent_until(key: str, now_ms: int) -> int:
    """Return when a spent key's row may go: once the key itself is refused as expired."""
    return max(now_ms, created_ms(key)) + RETENTION_MS + SKEW_MS


def first_key(since_ms: int) -> str:
    """Return what no key of a write that can have been sent since then is less than."""
    made_ms = max(0, since_ms - RETENTION_MS - SKEW_MS)
    digits = f"{made_ms:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def fingerprint(method: str, path: str, query: str, body: Mapping[str, Any] | None) -> str:
    """Return what distinguishes one request from another under the same key.

    The hash of the address, those of the words, that of everything. The words are those that
    Notion will show, without their form: programs write the same block in many ways. Each block
    of the first level has a hash of its own; a page has one, of its properties.
    """
    whole = b"" if body is None else encode(body)
    address = (method.encode(), path.encode())
    return ".".join(
        (
            _digest(*address)[:32],
            "-".join(_digest(_bare(part))[:8] for part in _parts(body or {})),
            _digest(*address, query.encode(), whole),
        )
    )


def likeness(print_: str) -> tuple[str, str]:
    """Return the hash of a fingerprint's address, and those of its words, joined by "-"."""
    address, _, rest = print_.partition(".")
    return address, rest.partition(".")[0]


def is_same(one: str, other: str) -> bool:
    """Whether two fingerprints are of one request."""
    return one.rpartition(".")[2] == other.rpartition(".")[2]


def _parts(body: Mapping[str, Any]) -> list[Any]:
    children = [body["properties"]] if "properties" in body else body.get("children")
    return children if isinstance(children, list) else [body]


def _bare(part: Any) -> bytes:
    return "".join("".join(_words(part)).split()).encode()


def _words(value: Any) -> Iterator[str]:
    """The text of every run and equation below ``value``, in an order that no form changes."""
    if isinstance(value, Mapping):
        for name in sorted(value):
            found = value[name]
            if name in ("content", "expression") and isinstance(found, str):
                yield found
            else:
                yield from _words(found)
    elif isinstance(value, list):
        for each in value:
            yield from _words(each)


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
