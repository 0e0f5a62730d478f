"""Opens and refreshes the sealed tokens of connections to Notion workspaces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_chain,
    wait_fixed,
)

from cloud_broker.clock import Clock
from cloud_broker.crypto.sealing import KeyRing, Place, Sealed
from cloud_broker.errors import (
    DatabaseFailed,
    NoConnection,
    NotionUnavailable,
    ReauthRequired,
    WorkspaceRequired,
)
from cloud_broker.identity.oauth import DEADLINE_S, GrantEnded, NotionOAuth, TokenPair
from cloud_broker.identity.revocations import Revocations
from cloud_broker.identity.ttl_cache import TtlCache
from cloud_broker.randomness import Randomness
from cloud_broker.secret import Secret
from cloud_broker.storage import connections as rows
from cloud_broker.storage.database import Database, Row, Tx, to_ms

log = logging.getLogger(__name__)

TABLE = "notion_connections"
ACCESS = "access_token_sealed"
REFRESH = "refresh_token_sealed"
# A refresh ends within its lease on every broker's clock, and the lease of a crashed broker ends
# before the requests that wait for it time out (30 s, BROKER_ANSWER_WITHIN_S).
SEND_WITHIN_S = 5.0
SKEW_S = 2.0  # between brokers' clocks (docs/decisions/0012-postgresql.md)
LEASE_S = SEND_WITHIN_S + DEADLINE_S + SKEW_S
STORE_AGAIN_S = (0.1, 0.3, 1.0, 3.0)  # seconds between attempts to store a new pair
PEER_POLL_S = 0.1  # seconds between checks for the refresh of another instance
CACHE_SIZE = 10_000  # accounts whose rows are cached


class OpenToken(Struct, frozen=True):
    """A connection's access token, open for one request. ``version`` is its row's version.

    ``kept``: the row comes from the cache, so a newer one may be stored.
    """

    connection_id: str
    user_id: str
    workspace_id: str
    bot_id: str
    access_token: Secret
    version: int
    kept: bool = False


class AuditHook(Protocol):
    """Records every decryption; a decryption that cannot be recorded does not happen."""

    async def opened(self, *, connection: Row, purpose: str) -> None:
        """Record that the connection's token is opened for ``purpose``. May raise to forbid it."""


class Tokens:
    """Opens sealed tokens; refreshes each version once, for any number of callers."""

    def __init__(
        self,
        database: Database,
        ring: KeyRing,
        oauth: NotionOAuth,
        *,
        clock: Clock,
        randomness: Randomness,
        audit: AuditHook,
        revocations: Revocations,
    ) -> None:
        """Take the ports; call ``close`` before they are closed."""
        self._database = database
        self._ring = ring
        self._oauth = oauth
        self._clock = clock
        self._instance = randomness.new_id()
        self._audit = audit
        self._revocations = revocations
        self._running: dict[tuple[str, int], asyncio.Task[OpenToken]] = {}
        self._cache: TtlCache[str, Sequence[Row]] = TtlCache(clock, size=CACHE_SIZE)

    async def open(
        self, user_id: str, workspace_id: str | None, purpose: str, *, fresh: bool = True
    ) -> OpenToken:
        """Open the token of the user's workspace (the only one when None).

        ``purpose`` is recorded in the audit log. Not ``fresh``: the sealed row may come from a
        cache of five seconds; open tokens are never cached. Raises NoConnection,
        WorkspaceRequired, ReauthRequired.
        """
        row = None if fresh else self._cached(user_id, workspace_id)
        kept = row is not None
        if row is None:
            started = self._cache.start_read()
            async with self._database.reading() as tx:
                found = await rows.connections_of(tx, user_id)
            self._cache.keep(user_id, found, started)
            row = _choose(found, workspace_id)
        return await self._open(row, purpose, kept=kept)

    def forget(self, user_id: str) -> None:
        """Drop the user's connections from the cache after a change."""
        self._cache.drop(user_id)

    def _cached(self, user_id: str, workspace_id: str | None) -> Row | None:
        """Return the cached row if it is unambiguous and usable, else None."""
        found = _matching(self._cache.get(user_id) or (), workspace_id)
        return found[0] if len(found) == 1 and not found[0]["reauth_required"] else None

    async def refresh(self, opened: OpenToken) -> OpenToken:
        """Return a newer token than ``opened`` after Notion refused it.

        Notion gets one refresh for each version, for any number of callers and instances. The
        refresh ends and is stored even when every caller has gone: the new pair must not be lost.
        Raises ReauthRequired when the grant has ended, NotionUnavailable when Notion fails.
        """
        key = (opened.connection_id, opened.version)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._refresh(opened))
            self._running[key] = task
            task.add_done_callback(lambda done: self._finished(opened, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for the refreshes under way."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _finished(self, opened: OpenToken, task: asyncio.Task[OpenToken]) -> None:
        """Clean up before the waiting callers continue."""
        del self._running[opened.connection_id, opened.version]
        self.forget(opened.user_id)  # the cache holds the refused token
        if not task.cancelled() and task.exception() is not None:
            why = type(task.exception()).__name__
            log.info("The refresh of connection %s failed: %s.", opened.connection_id, why)

    async def _refresh(self, opened: OpenToken) -> OpenToken:
        until = self._clock.monotonic() + LEASE_S + SKEW_S
        while True:
            fence = self._fence()
            async with self._database.transaction() as tx:
                row = await rows.connection_by_id(tx, opened.connection_id)
                taken = row is not None and await self._take(tx, row, opened.version)
            if row is None:
                raise NoConnection("The workspace has been disconnected.")
            if row["version"] != opened.version or row["reauth_required"]:
                return await self._open(row, "refresh")
            if taken:
                return await self._refresh_leased(row, fence)
            if self._clock.monotonic() >= until:
                raise NotionUnavailable("Another broker refreshes this token.", retry_after=5)
            await self._clock.sleep(PEER_POLL_S)

    async def _take(self, tx: Tx, row: Row, version: int) -> bool:
        now = self._clock.now()
        return await rows.take_lease(
            tx,
            row["id"],
            version=version,
            owner=self._owner(version),
            now=to_ms(now),
            until=to_ms(now + LEASE_S),
        )

    def _owner(self, version: int) -> str:
        """Name the owner of a lease: one instance may refresh two versions in a row."""
        return f"{self._instance}/{version}"

    def _fence(self) -> Callable[[], None]:
        """Return a check that fails when the refresh could outlast its lease.

        After a suspend the machine would send a refresh token that another instance has already
        used, and Notion treats that as theft.
        """
        wall, steady = self._clock.now() + SEND_WITHIN_S, self._clock.monotonic() + SEND_WITHIN_S

        def check() -> None:
            if self._clock.now() >= wall or self._clock.monotonic() >= steady:
                raise NotionUnavailable("The refresh was not sent in time.", retry_after=5)

        return check

    async def _refresh_leased(self, row: Row, fence: Callable[[], None]) -> OpenToken:
        try:
            await self._audit.opened(connection=row, purpose="refresh")
            refresh_token = open_refresh(self._ring, row)
            if refresh_token is None:
                return await self._give_up(row)
            try:
                pair = await self._oauth.refresh(refresh_token, fence)
            except GrantEnded:
                return await self._give_up(row)
            return await self._store(row, pair, refresh_token)
        finally:
            async with self._database.transaction() as tx:
                await rows.drop_lease(tx, row["id"], owner=self._owner(row["version"]))

    async def _store(self, row: Row, pair: TokenPair, old: Secret) -> OpenToken:
        """Store the new pair, with retries: Notion no longer accepts the old one."""
        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            wait=wait_chain(*map(wait_fixed, STORE_AGAIN_S)),
            stop=stop_after_attempt(1 + len(STORE_AGAIN_S)),
            retry=retry_if_exception_type(DatabaseFailed),
            before_sleep=_log_retry,
            reraise=True,
        )
        return await retrying(self._store_once, row, pair, old)

    async def _store_once(self, row: Row, pair: TokenPair, old: Secret) -> OpenToken:
        kept = TokenPair(pair.access_token, pair.refresh_token or old)
        sealed = seal_pair(self._ring, place_of(row), kept)
        async with self._database.transaction() as tx:
            is_ours = await rows.store_refreshed(
                tx,
                row["id"],
                version=row["version"],
                kid=sealed.kid,
                wrapped_key=sealed.wrapped_key,
                access=sealed.columns[ACCESS],
                refresh=sealed.columns.get(REFRESH),
                now=to_ms(self._clock.now()),
            )
            stored = await rows.connection_by_id(tx, row["id"])
            if stored is None:  # disconnected in the meantime: revoke the new pair
                await self._revocations.add(tx, pair.access_token, pair.refresh_token)
        if not is_ours:  # the user has connected again in the meantime: that grant wins
            log.warning("A new grant replaced the refreshed pair of connection %s.", row["id"])
        if stored is None:
            self._revocations.wake()
            raise NoConnection("The workspace has been disconnected.")
        if is_ours:
            return _opened(stored, pair.access_token)
        return await self._open(stored, "refresh")

    async def _give_up(self, row: Row) -> OpenToken:
        """Record that the grant has ended, unless the user has just connected again."""
        async with self._database.transaction() as tx:
            await rows.mark_reauth(
                tx, row["id"], version=row["version"], now=to_ms(self._clock.now())
            )
            current = await rows.connection_by_id(tx, row["id"])
        if current is None:
            raise NoConnection("The workspace has been disconnected.")
        return await self._open(current, "refresh")

    async def _open(self, row: Row, purpose: str, *, kept: bool = False) -> OpenToken:
        if row["reauth_required"]:
            raise ReauthRequired(
                "Notion no longer accepts this connection.", hint="Connect Notion again."
            )
        await self._audit.opened(connection=row, purpose=purpose)
        return _opened(row, open_access(self._ring, row), kept=kept)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("A refreshed token pair was not stored and is tried again.", exc_info=error)


def _opened(row: Row, access_token: Secret, *, kept: bool = False) -> OpenToken:
    return OpenToken(
        connection_id=row["id"],
        user_id=row["user_id"],
        workspace_id=row["workspace_id"],
        bot_id=row["bot_id"],
        access_token=access_token,
        version=row["version"],
        kept=kept,
    )


def place_of(row: Row) -> Place:
    """Return the place that binds a connection's sealed columns."""
    return Place(TABLE, row["id"], row["user_id"], row["workspace_id"])


def seal_pair(ring: KeyRing, place: Place, pair: TokenPair) -> Sealed:
    """Seal both tokens for the row at ``place``."""
    values = {ACCESS: pair.access_token}
    if pair.refresh_token is not None:
        values[REFRESH] = pair.refresh_token
    return ring.seal(place, values)


def open_access(ring: KeyRing, row: Row) -> Secret:
    """Open the access token of a connection's row."""
    return ring.open(place_of(row), _sealed(row), ACCESS)


def open_refresh(ring: KeyRing, row: Row) -> Secret | None:
    """Open the refresh token of a connection's row, if Notion issued one."""
    if row[REFRESH] is None:
        return None
    return ring.open(place_of(row), _sealed(row), REFRESH)


def canonical_id(text: str) -> str:
    """Return a Notion id in lower case without dashes."""
    return text.replace("-", "").lower()


def _sealed(row: Row) -> Sealed:
    columns = {name: row[name] for name in (ACCESS, REFRESH) if row[name] is not None}
    return Sealed(row["kid"], row["wrapped_key"], columns)


def _matching(found: Sequence[Row], workspace_id: str | None) -> Sequence[Row]:
    if workspace_id is None:
        return found
    wanted = canonical_id(workspace_id)
    return [row for row in found if canonical_id(row["workspace_id"]) == wanted]


def _choose(found: Sequence[Row], workspace_id: str | None) -> Row:
    found = _matching(found, workspace_id)
    if not found:
        raise NoConnection("This workspace is not connected to your account.")
    if len(found) > 1:
        raise WorkspaceRequired(
            "Several workspaces are connected.", hint="Name one in X-Workspace-Id."
        )
    return found[0]
