"""Parses idempotency keys and computes fingerprints. Pure.

A key is a UUIDv7 (RFC 9562 section 5.7): its first 48 bits are a time in milliseconds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cloud_broker.proxy.bodies import encode
from cloud_broker.proxy.errors import InvalidRequest, KeyExpired
from cloud_broker.storage.outboxes import OutboxMark

RETENTION_MS = 24 * 3600 * 1000  # an older key is refused
REMEMBERED_MS = 8 * RETENTION_MS  # a client may be suspended for a week during a write
SKEW_MS = 10 * 60 * 1000  # a client's clock may be ahead by this

_V7 = re.compile(
    r"\A[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z", re.ASCII
)
_OUTBOX = re.compile(
    r"\A[0-9a-z-]{1,64} [0-9a-z]{1,32}:[0-9]{1,15}:[0-9]{1,15}"
    r"( [0-9a-z]{1,32}:[0-9]{1,15}){0,16}\Z",
    re.ASCII,
)


def parse_key(text: str) -> str:
    """Return the key in lower case. Raises InvalidRequest unless it is a UUIDv7."""
    key = text.lower()
    if not _V7.match(key):
        raise InvalidRequest(
            "Idempotency-Key should be a UUID of version 7.", broker_code="idempotency_key_invalid"
        )
    return key


def parse_outbox(text: str) -> OutboxMark:
    """Read ``<outbox> <run>:<counter>:<newest clip> <earlier run>:<counter> …`` (X-Outbox).

    Raises InvalidRequest.
    """
    if not _OUTBOX.match(text):
        raise InvalidRequest("X-Outbox should be an id, the run's place, and earlier runs.")
    outbox, now, *before = text.split(" ")
    run, counter, newest = now.split(":")
    earlier = tuple((name, int(end)) for name, _, end in (each.partition(":") for each in before))
    return OutboxMark(outbox, run, int(counter), int(newest), earlier)


def created_ms(key: str) -> int:
    """Return the key's time of creation, milliseconds since the epoch."""
    return int(key[:8] + key[9:13], 16)


def refuse_expired(key: str, now_ms: int) -> None:
    """Raise KeyExpired for a key that may have been executed and deleted.

    Also for a key from the future: its row would have to be kept for too long.
    """
    if created_ms(key) + RETENTION_MS < now_ms:
        raise KeyExpired
    if created_ms(key) > now_ms + SKEW_MS:
        raise KeyExpired("The time of the idempotency key is in the future. Nothing was sent.")


def forget_at(key: str, now_ms: int) -> int:
    """Return the expiry of the key's row, long after the key itself is refused as expired.

    Until then the account's clients use the row to recognize their own blocks.
    """
    return max(now_ms, created_ms(key)) + REMEMBERED_MS + SKEW_MS


def spent_until(key: str, now_ms: int) -> int:
    """Return the expiry of a spent key's row: when the key itself is refused as expired."""
    return max(now_ms, created_ms(key)) + RETENTION_MS + SKEW_MS


def first_key(since_ms: int) -> str:
    """Return a lower bound of the keys of all writes that can have been sent since then."""
    made_ms = max(0, since_ms - RETENTION_MS - SKEW_MS)
    digits = f"{made_ms:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def fingerprint(method: str, path: str, query: str, body: Mapping[str, Any] | None) -> str:
    """Return three hashes joined by ".": of the address, of the words, of the whole request.

    The words are the visible text without its form: clients write the same block in many ways.
    Each block of the first level has a hash of its own; a page has one, of its properties.
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


def likeness(fingerprint: str) -> tuple[str, str]:
    """Return the address hash of a fingerprint and its word hashes, joined by "-"."""
    address, _, rest = fingerprint.partition(".")
    return address, rest.partition(".")[0]


def is_same(one: str, other: str) -> bool:
    """Return whether two fingerprints belong to the same request."""
    return one.rpartition(".")[2] == other.rpartition(".")[2]


def _parts(body: Mapping[str, Any]) -> list[Any]:
    children = [body["properties"]] if "properties" in body else body.get("children")
    return children if isinstance(children, list) else [body]


def _bare(part: Any) -> bytes:
    return "".join("".join(_words(part)).split()).encode()


def _words(value: Any) -> Iterator[str]:
    """Yield the text of every run and equation below ``value``, in an order free of form."""
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
