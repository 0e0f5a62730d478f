"""Holds one call of one signed-in user. It is built once, where the request enters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import urlencode

from cloud_broker.identity.sessions import Claims
from cloud_broker.proxy import keys, versions
from cloud_broker.proxy.errors import ProxyError
from cloud_broker.proxy.routes import Route
from cloud_broker.storage.idempotency import KeyId
from cloud_broker.storage.outboxes import OutboxMark
from cloud_broker.transport import TransportError


class Upload(Protocol):
    """A request body that is streamed to Notion, once."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces."""

    def fault(self, error: TransportError) -> ProxyError | None:
        """Return the refusal when the client, not Notion, is the reason that sending failed.

        Notion then has an incomplete request, which it cannot apply.
        """


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call whose path, query, headers and body the allow-list has accepted.

    ``body`` is in the version of ``pinned``, the one spoken upstream; ``version`` is the one that
    the client reads. ``upload`` replaces ``body`` where the row streams. The client stops waiting
    after ``within_s`` seconds. With ``is_single_use`` a refusal spends the idempotency key, too.
    ``outbox``: the write's place in the queue that sends it.
    """

    claims: Claims
    route: Route
    ids: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    version: str
    pinned: str
    request_id: str
    body: Mapping[str, Any] | None = None
    upload: Upload | None = None
    content_type: str = "application/json"
    length: int | None = None
    workspace: str | None = None
    key: str | None = None
    is_single_use: bool = False
    outbox: OutboxMark | None = None
    within_s: float | None = None

    @property
    def key_id(self) -> KeyId | None:
        """The identity of the idempotency key, once the workspace is known."""
        if self.key is None or self.workspace is None or self.upload is not None:
            return None  # a body that streams has no fingerprint, so it can have no key
        return KeyId(self.claims.user_id, self.workspace, self.key)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the request, for the check that a key is not reused."""
        path, query = self.route.path(self.ids), urlencode(self.query)
        return keys.fingerprint(self.route.method, path, query, self.body)

    @property
    def is_of_a_table(self) -> bool:
        """Whether the call reads a database as a table: always its query, to old clients itself."""
        name = self.route.name
        return name == "databases.query" or (
            name == "databases.get" and versions.knows_tables(self.version)
        )

    def to_client(self, value: Any) -> Any:
        """Rewrite ``value`` (decoded JSON) in the client's version, in place."""
        return versions.to_client(value, self.version, self.pinned)
