"""Repairs damaged text: bytes that a disk has flipped, and halves of surrogate pairs in JSON."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

T = TypeVar("T")

_BOM = b"\xef\xbb\xbf"
_ESCAPE = re.compile(r"\\(?:(u[dD][89abAB]..\\u[dD][c-fC-F]..)|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
"""One escape of a JSON string: a whole surrogate pair, half of one, or any other."""


def readable(raw: bytes) -> str:
    """Decode ``raw`` with U+FFFD for broken bytes; a ``sqlite3.Connection.text_factory``.

    Most flipped bits produce another valid letter, which no program can detect. This gives the
    rest the same effect: a clip with a damaged title is still shown and sent.
    """
    return raw.decode("utf-8", "replace")


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
        return msgspec.json.decode(repaired_json(raw), type=shape)


def repaired_json(raw: bytes) -> bytes:
    """Return ``raw`` without a byte order mark, with U+FFFD for each half of a surrogate pair.

    Raises UnicodeDecodeError.
    """
    text = raw.removeprefix(_BOM).decode("utf-8", "surrogatepass")
    text = _ESCAPE.sub(lambda escape: r"\ufffd" if escape[2] else escape[0], text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
