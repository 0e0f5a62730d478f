"""The ports to Notion: calls, uploads, and the record of the account's writes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Protocol

import msgspec

from clipperd.broker.reply import Reply
from clipperd.model import Scope


class Call(msgspec.Struct, frozen=True):
    """One request to Notion.

    ``path`` is Notion's after ``/v1/``, for example ``pages/<id>``. ``key`` is the Idempotency-Key
    of a write. ``version`` is the Notion-Version of body and answer; None: the broker's.
    ``outbox`` names the queue that sends it and its number there; see ``outbox/identity.py``.
    """

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    key: str | None = None
    version: str | None = None
    outbox: str | None = None


class Notion(Protocol):
    """Notion's API as the daemon sees it: through the broker, under one account's session."""

    async def send(self, scope: Scope, call: Call) -> Reply:
        """Send one request; return every HTTP answer, errors included.

        Raises BrokerUnreachable (``sent``: the request may have arrived), NotSignedIn and
        ReauthRequired.
        """


class Form(msgspec.Struct, frozen=True):
    """A multipart form of a client: the Content-Type with the boundary, the size if known, and the
    bytes, which can be read once."""

    content_type: str
    size_bytes: int | None
    pieces: AsyncIterable[bytes]


class Uploads(Protocol):
    """Uploads of files to Notion, through the broker, with one account's session."""

    async def upload(self, scope: Scope, path: str, form: Form, version: str | None) -> Reply:
        """Send one part; raises as :meth:`Notion.send`, and any error of reading the form.

        The part is not stored, so it is never sent again.
        """


class Write(msgspec.Struct, frozen=True):
    """A write of the account: the ids that it created, or None while they are unknown.

    Two writes with an equal ``address`` (a hash) went to the same parent; ``content`` holds a hash
    of the words of each block, joined by "-".
    """

    key: str
    created: tuple[str, ...] | None
    address: str
    content: str


class Remembered(msgspec.Struct, frozen=True):
    """The account's writes since some time; not ``whole``: the broker may have forgotten some."""

    writes: tuple[Write, ...]
    whole: bool = True


class Writes(Protocol):
    """The broker's record of the account's writes by all programs.

    Both raise BrokerUnreachable, NotSignedIn, ReauthRequired, and ReadFailed for another answer.
    """

    async def since(self, scope: Scope, at: float) -> Remembered:
        """Return the writes that may have been sent after ``at`` (the server's epoch seconds)."""

    async def settled(self, scope: Scope, key: str, created: Sequence[str]) -> None:
        """Report the outcome of an own write that was unknown: the created ids, or none."""
