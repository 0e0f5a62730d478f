"""Parses server-sent events: https://html.spec.whatwg.org/#parsing-an-event-stream."""

from __future__ import annotations

import msgspec

FRAME_BYTES = 64 << 10  # most bytes of an event; the broker's have some 200


class Frame(msgspec.Struct, frozen=True):
    """One event. ``id``: the cursor to resume after, or None."""

    event: str
    data: str
    id: str | None


class FrameParser:
    """Splits a stream of bytes into events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Add bytes; return the events that they complete.

        Raises ValueError for an event of more than 64 KB.
        """
        *whole, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(self._rest) > FRAME_BYTES:
            raise ValueError("an event is too long")
        return [frame for part in whole if (frame := _frame(part)) is not None]


def _frame(part: bytes) -> Frame | None:
    event, data, id_ = "message", [], None
    for line in part.decode("utf-8", "replace").split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            id_ = value
    return Frame(event, "\n".join(data), id_) if data else None
