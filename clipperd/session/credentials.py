"""One account's tokens: the access token in memory, the refresh token in the keychain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from clipperd.broker.auth import AuthRefused, BrokerAuth, Tokens
from clipperd.clock import Clock
from clipperd.errors import BrokerUnreachable
from clipperd.keychain.errors import KeychainLocked
from clipperd.keychain.secrets import Secrets

_MARGIN_S = 30.0  # an access token this close to its end is not sent any more


class Expired(Exception):
    """The refresh token is gone or the broker refuses it: only a new sign-in helps."""

    def __init__(self, why: str) -> None:
        """``why`` is a stable word: no_secret, or the broker's code."""
        super().__init__(why)
        self.why = why


class Credentials:
    """The tokens of one account. Whoever makes one closes it with :meth:`close`."""

    def __init__(
        self,
        user_id: str,
        auth: BrokerAuth,
        secrets: Secrets,
        clock: Clock,
        refreshed: Callable[[Tokens], Awaitable[None]],
    ) -> None:
        """``refreshed`` is told each new answer: profile and workspaces may have changed."""
        self.user_id = user_id
        self._auth = auth
        self._secrets = secrets
        self._clock = clock
        self._refreshed = refreshed
        self._access: str | None = None
        self._expires_at = 0.0
        self._refresh_token: str | None = None
        self._retired = False
        self._refreshing: asyncio.Task[str] | None = None

    @property
    def holds_tokens(self) -> bool:
        """Whether tokens are in memory already."""
        return self._refresh_token is not None

    def issued(self, access_token: str) -> bool:
        """Whether this is the access token in use."""
        return self._access == access_token

    async def adopt(self, tokens: Tokens) -> None:
        """Keep a new pair of tokens; the refresh token is stored before the other is used."""
        await self._secrets.set(secret_name(self.user_id), tokens.refresh_token)
        self._refresh_token = tokens.refresh_token
        self._access = tokens.access_token
        self._expires_at = self._clock.boot() + tokens.expires_in

    async def token(self, stale: str | None = None) -> str:
        """Return an access token other than ``stale``, refreshed once however many ask.

        Raises Lapsed when signing in again is needed, BrokerUnreachable(sent=False) when the
        broker or the keychain does not answer now.
        """
        fresh = self._clock.boot() < self._expires_at - _MARGIN_S
        if fresh and self._access is not None and self._access != stale:
            return self._access
        if self._retired:
            raise _being_replaced()
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(self._refresh_ended)
        task = self._refreshing
        await asyncio.wait([task])  # a caller that goes away must not stop a rotation half-way
        if task.cancelled():
            raise _being_replaced()
        return task.result()

    async def take(self) -> tuple[str | None, str | None]:
        """Refresh no more, and return (refresh token, access token) as far as they are known.

        Two grants of one account must not write the same secret, so the old one stops first.
        """
        self._retired = True
        await self.close()
        if self._refresh_token is None:
            with contextlib.suppress(KeychainLocked):  # what cannot be read cannot be revoked
                self._refresh_token = await self._secrets.get(secret_name(self.user_id))
        return self._refresh_token, self._access

    def resume(self) -> None:
        """Go on after all: what was to take this one's place did not come to be."""
        self._retired = False

    async def close(self) -> None:
        """Stop a refresh under way."""
        task = self._refreshing
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _refresh_ended(self, task: asyncio.Task[str]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # the callers have it; without callers nobody needs it

    async def _refresh(self) -> str:
        if self._refresh_token is None:
            self._refresh_token = await self._secrets.get(secret_name(self.user_id))
        if self._refresh_token is None:
            raise Expired("no_secret")
        try:
            tokens = await self._ask(self._refresh_token)
        except AuthRefused as error:
            raise Expired(error.code) from error
        if tokens.user.id != self.user_id:
            raise Expired("other_user")
        await self.adopt(tokens)
        await self._refreshed(tokens)
        return tokens.access_token

    async def _ask(self, refresh_token: str) -> Tokens:
        try:
            try:
                return await self._auth.refresh(refresh_token)
            except BrokerUnreachable as error:
                if not error.sent or error.retry_after is not None:
                    raise
                # The answer was lost. The broker lets the predecessor be used again until its
                # successor has been, so asking again with the same token is safe.
                return await self._auth.refresh(refresh_token)
        except BrokerUnreachable as error:
            # Whatever the caller wanted to send has not left.
            unsent = BrokerUnreachable(error.detail, sent=False)
            unsent.retry_after = error.retry_after
            raise unsent from error


def _being_replaced() -> BrokerUnreachable:
    return BrokerUnreachable("The session is just being replaced or closed.", sent=False)


def secret_name(user_id: str) -> str:
    """The keychain's name for an account's refresh token."""
    return f"session:{user_id}"
