"""Make idempotency keys: UUIDs of version 7, which carry their time of creation (RFC 9562)."""

from __future__ import annotations

from collections.abc import Callable


def new_key(made_at: float, entropy: Callable[[int], bytes]) -> str:
    """Return a UUIDv7 whose 48-bit time is ``made_at`` (epoch seconds by the server's clock).

    ``entropy(n)`` returns n random bytes. The broker reads the time and refuses a key that is
    older than its memory.
    """
    stamp = max(0, int(made_at * 1000)) & ((1 << 48) - 1)
    random = int.from_bytes(entropy(10), "big")
    value = stamp << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62
    value |= random & ((1 << 62) - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
