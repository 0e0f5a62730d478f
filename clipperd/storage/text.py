"""Text of a cell that damage has reached: one flipped bit can leave it no UTF-8 any more."""

from __future__ import annotations


def readable(raw: bytes) -> str:
    """What is left of it, each broken character as U+FFFD; a ``sqlite3.Connection.text_factory``.

    Most flipped bits make another letter, which nobody can tell from the right one. This treats the
    others alike: a clip whose title is damaged is shown, sent and settled like any other.
    """
    return raw.decode("utf-8", "replace")
