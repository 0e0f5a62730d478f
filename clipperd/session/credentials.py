"""Keeps one account's tokens: the access token in memory, the refresh token in the keychain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from clipperd.broker.auth import AuthRefused, BrokerAuth, Tokens
from clipperd.clock import Clock
from clipperd.errors import BrokerNotConfigured, BrokerUnreachable
from clipperd.keychain.errors import KeychainLocked
from clipperd.keychain.secrets import Secrets

_ENDED = frozenset({"invalid_grant", "session_expired"})
"""The broker's codes for a session that has ended; any other refusal passes with time."""
_MARGIN_S = 30.0  # refresh an access token this long before it expires


class Expired(Exception):
    """The refresh token is missing, or the broker refuses it: the user must sign in again."""

    def __init__(self, why: str) -> None:
        """``why``: a stable code, ``no_secret`` or the broker's."""
        super().__init__(why)
        self.why = why


class Credentials:
    """The tokens of one account. Its owner closes it with :meth:`close`."""

    def __init__(
        self,
        user_id: str,
        auth: BrokerAuth,
        secrets: Secrets,
        clock: Clock,
        on_refresh: Callable[[Tokens], Awaitable[None]],
    ) -> None:
        """``on_refresh`` gets each new answer: profile and workspaces may have changed."""
        self.user_id = user_id
        self._auth = auth
        self._secrets = secrets
        self._clock = clock
        self._on_refresh = on_refresh
        self._access: str | None = None
        self._expires_at = 0.0
        self._refresh_token: str | None = None
        self._retired = False
        self._refreshing: asyncio.Task[str] | None = None

    @property
    def holds_tokens(self) -> bool:
        """Return whether tokens are in memory already."""
        return self._refresh_token is not None

    def issued(self, access_token: str) -> bool:
        """Return whether ``access_token`` is the one in use."""
        return self._access == access_token

    async def adopt(self, tokens: Tokens) -> None:
        """Keep a new pair of tokens; store the refresh token before the access token is used."""
        await self._secrets.set(secret_name(self.user_id), tokens.refresh_token)
        self._refresh_token = tokens.refresh_token
        self._access = tokens.access_token
        self._expires_at = self._clock.boot() + tokens.expires_in

    async def token(self, stale: str | None = None) -> str:
        """Return an access token other than ``stale``; concurrent callers share one refresh.

        Raises Expired when the user must sign in again, BrokerUnreachable(sent=False) when the
        broker or the keychain does not answer.
        """
        is_fresh = self._clock.boot() < self._expires_at - _MARGIN_S
        if is_fresh and self._access is not None and self._access != stale:
            return self._access
        if self._retired:
            raise _being_replaced()
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(self._refresh_ended)
        task = self._refreshing
        await asyncio.wait([task])  # a canceled caller must not interrupt a token rotation
        if task.cancelled():
            raise _being_replaced()
        return task.result()

    async def retire(self) -> tuple[str | None, str | None]:
        """Stop refreshing; return (refresh token, access token), None for an unknown one.

        New credentials of the same account must not compete for the same secret.
        """
        self._retired = True
        await self.close()
        if self._refresh_token is None:
            with contextlib.suppress(KeychainLocked):  # then it cannot be revoked either
                self._refresh_token = await self._secrets.get(secret_name(self.user_id))
        return self._refresh_token, self._access

    def resume(self) -> None:
        """Undo :meth:`retire`: the new sign-in failed."""
        self._retired = False

    async def close(self) -> None:
        """Cancel a refresh in progress."""
        task = self._refreshing
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _refresh_ended(self, task: asyncio.Task[str]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio logs nothing: callers have it

    async def _refresh(self) -> str:
        if self._refresh_token is None:
            self._refresh_token = await self._secrets.get(secret_name(self.user_id))
        if self._refresh_token is None:
            raise Expired("no_secret")
        try:
            tokens = await self._ask(self._refresh_token)
        except AuthRefused as error:
            if error.code in _ENDED:
                raise Expired(error.code) from error
            raise BrokerUnreachable(
                f"The service cannot renew the session now ({error.code}).", sent=False
            ) from error
        if tokens.user.id != self.user_id:
            raise Expired("other_user")
        await self.adopt(tokens)
        await self._on_refresh(tokens)
        return tokens.access_token

    async def _ask(self, refresh_token: str) -> Tokens:
        try:
            try:
                return await self._auth.refresh(refresh_token)
            except BrokerUnreachable as error:
                if not error.sent or error.retry_after is not None:
                    raise
                # The answer was lost. The broker accepts the old refresh token until the new one
                # has been used, so a retry is safe.
                return await self._auth.refresh(refresh_token)
        except BrokerNotConfigured:
            raise
        except BrokerUnreachable as error:
            # The caller's own request has not been sent.
            unsent = BrokerUnreachable(error.detail, sent=False)
            unsent.retry_after = error.retry_after
            raise unsent from error


def _being_replaced() -> BrokerUnreachable:
    return BrokerUnreachable("The session is being replaced or closed.", sent=False)


def secret_name(user_id: str) -> str:
    """Return the name of an account's refresh token in the keychain."""
    return f"session:{user_id}"
