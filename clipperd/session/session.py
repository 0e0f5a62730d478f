"""The session: who is signed in now, and the only way to a token.

One account at a time. Its tokens are asked for by user id, so work that belongs to another
account can never leave under this one's name; it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from clipperd.broker.auth import AuthRefused, BrokerAuth, Tokens
from clipperd.broker.connectivity import Connectivity
from clipperd.clock import Clock
from clipperd.errors import (
    BrokerUnreachable,
    ClipperdError,
    NotSignedIn,
    ReauthRequired,
    StorageFull,
    WorkspaceMismatch,
)
from clipperd.keychain.errors import KeychainLocked
from clipperd.keychain.secrets import Secrets
from clipperd.model import Scope
from clipperd.session.accounts import Account, Accounts
from clipperd.session.credentials import Credentials, Expired, secret_name
from clipperd.session.errors import LoginDenied, LoginExpired, LoginOtherAccount
from clipperd.session.login import Answered, Logins, Pending, Purpose, Return, Started
from clipperd.session.view import SessionState, SessionView, view_of

Publish = Callable[[str, dict[str, Any]], None]

_LAST_WORD_S = 0.5  # a stop has two seconds; a session that is not ended there ends unused

# What the broker calls a hand-off that came too late or twice.
_LATE = frozenset({"invalid_grant", "handoff_expired", "handoff_used", "login_expired"})


class Session:
    """Sign-in, sign-out and tokens. Call :meth:`open` before use and :meth:`close` after."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        logins: Logins,
        auth: BrokerAuth,
        secrets: Secrets,
        connectivity: Connectivity,
        clock: Clock,
        publish: Publish,
    ) -> None:
        """``publish`` gets ("session", the view) at every change."""
        self.accounts = accounts
        self.secrets = secrets
        self._logins = logins
        self._auth = auth
        self._connectivity = connectivity
        self._clock = clock
        self._publish = publish
        self._grant: Credentials | None = None
        self._lapsed = False
        self._turn = asyncio.Lock()  # sign-in, sign-out and switching, one after the other
        self._expiry: asyncio.Task[None] | None = None
        self._revoking: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Take up the last session from the store; needs neither keychain nor network."""
        account = await self.accounts.current()
        if account is not None and account.state != "signed_out":
            self._grant = self._new_grant(account.user_id)
            self._lapsed = account.state == "reauth_required"
        self._connectivity.account_changed("signed_out" if account is None else account.state)

    async def check(self) -> None:
        """Open the keychain and see whether the session survived; for the background after start.

        A session kept in memory only ended with the last process: that is told here, not at the
        first clip. Raises SecretsUnusable.
        """
        await self.secrets.open()
        await self._forget_left_over()
        account, grant = await self.accounts.current(), self._grant
        if account is None or grant is None or grant.holds_tokens:
            return
        try:
            found = await self.secrets.get(secret_name(grant.user_id))
        except KeychainLocked:
            return  # not known yet: the first request asks again
        if self._grant is not grant or grant.holds_tokens:
            return  # somebody signed in or out meanwhile
        if found is None and not self._lapsed:
            await self._lapse(grant, "no_secret")
        elif found is not None and account.why == "no_secret":
            await self._mend(grant)

    async def _forget_left_over(self) -> None:
        """A crash while signing out may have left the secret."""
        async with self._turn:
            account = await self.accounts.current()
            if account is not None and account.state == "signed_out":
                await self.secrets.delete(secret_name(account.user_id))

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self._stop_expiry()
        if self._grant is not None:
            await self._grant.close()
        if self._revoking:
            _, late = await asyncio.wait(self._revoking, timeout=_LAST_WORD_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def state(self) -> SessionState:
        """The state now."""
        return await self._state(await self.accounts.current())

    async def view(self) -> SessionView:
        """The whole session as clients see it."""
        account = await self.accounts.current()
        return view_of(await self._state(account), account)

    async def start_login(
        self, return_to: Return, purpose: Purpose = "sign_in", device: str | None = None
    ) -> Started:
        """Begin a sign-in. Raises NotSignedIn when there is no account to extend."""
        if purpose != "sign_in" and self._grant is None:
            raise NotSignedIn("Sign in first; then workspaces can be added.")
        started = await self._logins.start(return_to, purpose, device)
        await self._stop_expiry()
        self._expiry = asyncio.create_task(self._tell_expiry(started.expires_in))
        await self._tell()
        return started

    async def cancel_login(self, login_id: str) -> None:
        """Stop waiting for a sign-in. Raises NotFound."""
        await self._logins.cancel(login_id)
        await self._tell()

    async def finish_login(self, answered: Answered) -> SessionView:
        """Complete a sign-in with what the browser brought; a second delivery changes nothing.

        Raises LoginStateUnknown, LoginExpired, LoginDenied, LoginOtherAccount, and
        BrokerUnreachable, after which the same answer may be handed over again.
        """
        async with self._turn:
            pending = await self._logins.find(answered.state)
            if not pending.completed:
                if answered.token is None:
                    await self._logins.cancel(pending.login_id)
                    await self._tell()
                    raise _denied(answered.error or "unknown")
                await self._exchange(pending, answered.token)
            return await self.view()

    async def token_for(self, user_id: str, stale: str | None = None) -> str:
        """Return an access token of ``user_id`` other than ``stale``.

        Raises NotSignedIn unless that user is the one signed in, ReauthRequired when the session
        has ended, BrokerUnreachable(sent=False) when it cannot be refreshed now.
        """
        while True:
            grant = self._grant
            if grant is None or grant.user_id != user_id:
                raise NotSignedIn("That account is not signed in now.")
            if self._lapsed:
                raise _sign_in_again()
            try:
                token = await grant.token(stale)
            except Expired as lapsed:
                if self._grant is grant:
                    await self._lapse(grant, lapsed.why)
            except BrokerUnreachable as error:
                if self._grant is grant:
                    if isinstance(error, KeychainLocked):
                        self._connectivity.keychain_locked()
                    raise
            else:
                if self._grant is grant:
                    return token
            # Signed out, switched or signed in again while the refresh was under way: look again.

    async def lapse(self, user_id: str, token: str, why: str) -> bool:
        """Note that the account must sign in again, its queue being kept; ``why`` is a stable word.

        ``token`` is the access token that was refused. Returns False, and changes nothing, when
        it is not the one in use any more: then the refusal says nothing about the session now.
        """
        grant = self._grant
        if grant is None or grant.user_id != user_id or not grant.issued(token):
            return False
        await self._lapse(grant, why)
        return True

    async def sign_out(self) -> None:
        """Forget the session here; the broker is told behind, as far as it can be reached.

        Raises StorageFull, and whoever was signed in still is.
        """
        async with self._turn:
            grant, lapsed = self._grant, self._lapsed
            if grant is None:
                return
            self._grant, self._lapsed = None, False  # from here on nothing leaves
            try:
                await self.accounts.set_state(grant.user_id, "signed_out")
            except StorageFull:
                self._grant, self._lapsed = grant, lapsed
                raise
            # A crash here leaves a secret, which the next start forgets.
            former = await grant.take()
            await self.secrets.delete(secret_name(grant.user_id))
            self._connectivity.account_changed("signed_out")
            await self._tell()
            self._revoke_behind(*former)

    async def set_current(self, workspace_id: str) -> None:
        """Choose the current workspace. Raises NotSignedIn, WorkspaceMismatch."""
        await self.accounts.set_current(workspace_id)
        await self._tell()

    async def disconnect(self, scope: Scope) -> None:
        """Disconnect a workspace at the broker. Raises as :meth:`token_for`."""
        token = await self.token_for(scope.user_id)
        try:
            try:
                await self._auth.disconnect(token, scope.workspace_id)
            except AuthRefused as refused:
                if refused.status != 401:
                    raise
                token = await self.token_for(scope.user_id, stale=token)
                await self._auth.disconnect(token, scope.workspace_id)
        except AuthRefused as refused:
            if refused.status == 401:
                raise _sign_in_again() from refused
            raise WorkspaceMismatch(
                "The service refuses to disconnect that workspace.", params={"error": refused.code}
            ) from refused
        await self.accounts.disconnect(scope)
        await self._tell()

    async def _exchange(self, pending: Pending, handoff: str) -> None:
        try:
            tokens = await self._auth.exchange(handoff, pending.verifier)
        except AuthRefused as refused:
            await self._logins.cancel(pending.login_id)
            await self._tell()
            if refused.code in _LATE:
                raise LoginExpired("The sign-in took too long.", hint="Start it again.") from None
            raise _denied(refused.code) from None
        before = self._grant
        if pending.purpose != "sign_in" and (before is None or before.user_id != tokens.user.id):
            await self._logins.cancel(pending.login_id)
            self._revoke_behind(tokens.refresh_token, tokens.access_token)
            raise LoginOtherAccount(
                "Somebody else signed in than the account to be extended.",
                hint="Sign out first to change accounts.",
            )
        limits = await self._limits(tokens)
        await self._replace(before, tokens, limits, pending.login_id)

    async def _replace(
        self,
        before: Credentials | None,
        tokens: Tokens,
        limits: dict[str, Any] | None,
        login_id: str,
    ) -> None:
        if before is not None and before.user_id != tokens.user.id:
            self._grant = None  # from here on nothing leaves as the account before
        former = (None, None) if before is None else await before.take()
        try:
            await self.accounts.remember(
                tokens.user,
                tokens.workspaces or (),
                tokens.subscription,
                limits,
                login_id=login_id,
            )
        except ClipperdError:
            self._grant = before  # the disk is full: who was signed in still is
            if before is not None:
                before.resume()
            self._revoke_behind(tokens.refresh_token, tokens.access_token)
            raise
        # A crash here leaves an account without its secret, which asks for one more sign-in.
        grant = self._new_grant(tokens.user.id)
        await grant.adopt(tokens)
        self._grant, self._lapsed = grant, False
        if before is not None and before.user_id != grant.user_id:
            await self.secrets.delete(secret_name(before.user_id))
        self._connectivity.account_changed("signed_in")
        await self._stop_expiry()
        await self._tell()
        self._revoke_behind(*former)

    async def _lapse(self, grant: Credentials, why: str) -> None:
        """The session of ``grant`` has ended. A sign-in under way goes first: it may replace it."""
        async with self._turn:
            if self._grant is not grant:
                return
            is_news, self._lapsed = not self._lapsed, True
            with contextlib.suppress(StorageFull):  # then it is found out again after a restart
                await self.accounts.set_state(grant.user_id, "reauth_required", why)
            if is_news:
                self._connectivity.account_changed("reauth_required")
                await self._tell()

    async def _mend(self, grant: Credentials) -> None:
        """The keychain was away, not the session: go on with it."""
        async with self._turn:
            if self._grant is not grant:
                return
            self._lapsed = False
            await self.accounts.set_state(grant.user_id, "signed_in")
            self._connectivity.account_changed("signed_in")
            await self._tell()

    def _new_grant(self, user_id: str) -> Credentials:
        return Credentials(user_id, self._auth, self.secrets, self._clock, self._refreshed)

    async def _refreshed(self, tokens: Tokens) -> None:
        """Keep up with the profile. A full disk does not stop a refresh: the next one tells it."""
        with contextlib.suppress(StorageFull):
            if await self.accounts.refresh(tokens.user, tokens.workspaces, tokens.subscription):
                limits = await self._limits(tokens)  # they depend on what is paid for
                await self.accounts.refresh(tokens.user, None, limits=limits)
                await self._tell()

    async def _limits(self, tokens: Tokens) -> dict[str, Any] | None:
        """Ask for the account's limits. They are shown only, so an outage does not matter."""
        try:
            return await self._auth.limits(tokens.access_token)
        except (BrokerUnreachable, AuthRefused):
            return None

    def _revoke_behind(self, refresh_token: str | None, access_token: str | None) -> None:
        """Nobody who signs out or in waits for the network."""
        task = asyncio.create_task(self._revoke(refresh_token, access_token))
        self._revoking.add(task)
        task.add_done_callback(self._revoking.discard)

    async def _revoke(self, refresh_token: str | None, access_token: str | None) -> None:
        """End a session at the broker. Best effort: it ends by itself there when unused."""
        if refresh_token is None:
            return
        try:
            if access_token is None or not await self._auth.logout(access_token):
                renewed = await self._auth.refresh(refresh_token)
                await self._auth.logout(renewed.access_token)
        except (BrokerUnreachable, AuthRefused):
            return

    async def _state(self, account: Account | None) -> SessionState:
        if account is not None and account.state == "signed_in" and not self._lapsed:
            return "signed_in"
        if await self._logins.waiting():
            return "signing_in"
        if account is None:
            return "signed_out"
        return "reauth_required" if self._lapsed else account.state

    async def _tell(self) -> None:
        self._publish("session", msgspec.to_builtins(await self.view()))

    async def _stop_expiry(self) -> None:
        task, self._expiry = self._expiry, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _tell_expiry(self, after_s: float) -> None:
        """Say so when a sign-in has run out: the one deadline that no request would notice."""
        await self._clock.sleep(after_s)
        await self._tell()


def _denied(word: str) -> LoginDenied:
    return LoginDenied(
        "The sign-in was refused or given up.", hint="Start it again.", params={"error": word}
    )


def _sign_in_again() -> ReauthRequired:
    return ReauthRequired(
        "The session has ended. What is queued is safe.", hint="Sign in again to send it."
    )
