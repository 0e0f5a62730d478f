"""Server-sent events out of bytes (pure). https://html.spec.whatwg.org/#parsing-an-event-stream."""

from __future__ import annotations

import msgspec

FRAME_BYTES = 64 << 10  # the broker's are some 200 bytes


class Frame(msgspec.Struct, frozen=True):
    """One event. ``id``: the number to resume after, None when it has none."""

    event: str
    data: str
    id: str | None


class Frames:
    """Cuts a stream into events."""

    def __init__(self) -> None:
        """Nothing read yet."""
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take bytes as they come; return the events that they complete.

        Raises ValueError for an event of more than 64 KB.
        """
        *whole, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(self._rest) > FRAME_BYTES:
            raise ValueError("an event that never ends")
        return [frame for part in whole if (frame := _frame(part)) is not None]


def _frame(part: bytes) -> Frame | None:
    event, data, number = "message", [], None
    for line in part.decode("utf-8", "replace").split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            number = value
    return Frame(event, "\n".join(data), number) if data else None
