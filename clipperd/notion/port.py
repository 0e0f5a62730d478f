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
    """

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    key: str | None = None
    version: str | None = None


class Notion(Protocol):
    """Notion's API as the daemon sees it: through the broker, under one account's session."""

    async def send(self, scope: Scope, call: Call) -> Reply:
        """Send one request; return every HTTP answer, errors included.

        Raises BrokerUnreachable (``sent``: the request may have arrived), NotSignedIn and
        ReauthRequired.
        """


class Form(msgspec.Struct, frozen=True):
    """A multipart form on its way from a client: its Content-Type with the boundary, how many
    bytes it has where that was said, and the bytes as they come, to be read once."""

    content_type: str
    size_bytes: int | None
    pieces: AsyncIterable[bytes]


class Uploads(Protocol):
    """Parts of files to Notion, through the broker, under one account's session."""

    async def upload(self, scope: Scope, path: str, form: Form, version: str | None) -> Reply:
        """Send one part; as :meth:`Notion.send`, and what reading the form raises is raised.

        Nothing of it is kept, so it is never sent again.
        """


class Write(msgspec.Struct, frozen=True):
    """A write of the account's: the ids that it created, or None while that is not known.

    Equal ``address`` (a hash) tells that two went to the same parent; ``content`` holds a hash of
    the words of each block, joined by "-".
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
    """What the broker remembers of the account's writes, whichever of its programs sent them.

    Both raise BrokerUnreachable, NotSignedIn, ReauthRequired, and ReadFailed for another answer.
    """

    async def since(self, scope: Scope, at: float) -> Remembered:
        """The writes that can have been sent after ``at`` (epoch seconds, the server's)."""

    async def settled(self, scope: Scope, key: str, created: Sequence[str]) -> None:
        """Say what was found of one's own write of unknown outcome: ids, or none at all."""
