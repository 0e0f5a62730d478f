"""Decodes damaged text: one flipped bit can make a cell invalid UTF-8."""

from __future__ import annotations


def readable(raw: bytes) -> str:
    """Decode ``raw`` with U+FFFD for broken bytes; a ``sqlite3.Connection.text_factory``.

    Most flipped bits produce another valid letter, which no program can detect. This gives the
    rest the same effect: a clip with a damaged title is still shown and sent.
    """
    return raw.decode("utf-8", "replace")
