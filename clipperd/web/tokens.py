"""Named tokens of the local API, for clients other than the owner, each with its scopes.

A token is shown once, at its creation. Only its SHA-256 is stored: it identifies the client, and
it is the key by which the daemon proves itself to the client (``web/handlers/hello.py``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from clipperd.clock import Clock
from clipperd.errors import ClientNameTaken, NotFound, StorageFull
from clipperd.storage.database import Database

SCOPES = ("read", "clip", "admin")
"""All scopes in display order. ``admin`` includes the others."""

_USED_EVERY_S = 60.0  # precision of last_used_at; each write costs an fsync


def m_api_client(connection: sqlite3.Connection) -> None:
    """Create the table of named clients in outbox.db."""
    connection.execute(
        "CREATE TABLE api_client ("
        "id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL, "
        "token_hash BLOB NOT NULL UNIQUE, created_at REAL NOT NULL, last_used_at REAL"
        ") STRICT"
    )


CLIENT_STEPS = (m_api_client,)


class ApiToken(msgspec.Struct, frozen=True):
    """A named client's token. Times are epoch seconds; ``token_hash`` is its SHA-256."""

    id: str
    name: str
    scopes: tuple[str, ...]
    token_hash: bytes
    created_at: float
    last_used_at: float | None = None


def token_hash(token: str) -> bytes:
    """Return the SHA-256 of a token's UTF-8 bytes."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class ApiTokens:
    """The named clients, cached in memory; each change is stored first."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        new_id: Callable[[], str],
        new_token: Callable[[], str],
        known: Sequence[ApiToken],
    ) -> None:
        """Use :meth:`open`."""
        self._db = db
        self._clock = clock
        self._new_id = new_id
        self._new_token = new_token
        self._by_id = {client.id: client for client in known}
        self._by_hash = {client.token_hash: client for client in known}
        self._stops: dict[str, set[Callable[[], None]]] = {}

    @classmethod
    async def open(
        cls,
        db: Database,
        clock: Clock,
        *,
        new_id: Callable[[], str],
        new_token: Callable[[], str],
    ) -> ApiTokens:
        """Load the clients from ``db``, whose steps include CLIENT_STEPS.

        ``new_token`` returns at least 256 random bits as URL-safe text.
        """
        return cls(db, clock, new_id, new_token, await db.read(_load))

    def all(self) -> list[ApiToken]:
        """Return every client, oldest first."""
        return sorted(self._by_id.values(), key=lambda client: client.created_at)

    def holding(self, digest: bytes) -> ApiToken | None:
        """Return the client whose token has this SHA-256, or None."""
        return self._by_hash.get(digest)

    def proof_key(self, client_id: str) -> bytes | None:
        """Return the SHA-256 of a client's token, or None for an unknown client."""
        client = self._by_id.get(client_id)
        return client.token_hash if client else None

    async def create(self, name: str, scopes: Sequence[str]) -> tuple[ApiToken, str]:
        """Create a client; return it with its token, which cannot be read again.

        Raises ClientNameTaken, StorageFull.
        """
        token = self._new_token()
        ordered = tuple(scope for scope in SCOPES if scope in scopes)
        client = ApiToken(self._new_id(), name, ordered, token_hash(token), self._clock.now())
        await self._db.write(lambda connection: _insert(connection, client))
        self._by_id[client.id] = client
        self._by_hash[client.token_hash] = client
        return client, token

    async def revoke(self, client_id: str) -> None:
        """Delete the client and end its open streams. Raises NotFound, StorageFull."""
        client = self._by_id.get(client_id)
        if client is None:
            raise NotFound("There is no client with this id.")
        await self._db.write(lambda connection: _delete(connection, client_id))
        self._by_id.pop(client_id, None)
        self._by_hash.pop(client.token_hash, None)
        for stop in tuple(self._stops.pop(client_id, ())):
            stop()

    async def used(self, client_id: str) -> None:
        """Store the time of the client's last call, at most once a minute."""
        client = self._by_id.get(client_id)
        now = self._clock.now()
        if client is None:
            return
        if client.last_used_at is not None and abs(now - client.last_used_at) < _USED_EVERY_S:
            return
        seen = replace(client, last_used_at=now)
        self._by_id[client_id] = self._by_hash[client.token_hash] = seen
        with contextlib.suppress(StorageFull):  # a full disk must not lock a reader out
            await self._db.write(lambda connection: _touch(connection, client_id, now))

    @contextlib.contextmanager
    def until_revoked(self, client_id: str, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop`` if the client is revoked inside the ``with`` block."""
        self._stops.setdefault(client_id, set()).add(stop)
        try:
            yield
        finally:
            left = self._stops.get(client_id, set())
            left.discard(stop)
            if not left:
                self._stops.pop(client_id, None)


def _load(connection: sqlite3.Connection) -> list[ApiToken]:
    rows = connection.execute(
        "SELECT id, name, scopes, token_hash, created_at, last_used_at FROM api_client"
    )
    return [
        ApiToken(
            row["id"],
            row["name"],
            tuple(json.loads(row["scopes"])),
            row["token_hash"],
            row["created_at"],
            row["last_used_at"],
        )
        for row in rows
    ]


def _insert(connection: sqlite3.Connection, client: ApiToken) -> None:
    done = connection.execute(
        "INSERT INTO api_client (id, name, scopes, token_hash, created_at) "
        "VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        (
            client.id,
            client.name,
            json.dumps(client.scopes),
            client.token_hash,
            client.created_at,
        ),
    )
    if done.rowcount == 0:
        raise ClientNameTaken(
            "A client with that name exists.", hint="Revoke it or choose another name."
        )


def _delete(connection: sqlite3.Connection, client_id: str) -> None:
    connection.execute("DELETE FROM api_client WHERE id = ?", (client_id,))


def _touch(connection: sqlite3.Connection, client_id: str, now: float) -> None:
    connection.execute("UPDATE api_client SET last_used_at = ? WHERE id = ?", (now, client_id))
