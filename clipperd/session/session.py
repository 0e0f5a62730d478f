"""Holds the session of the signed-in account, and hands out its tokens.

One account is signed in at a time. Callers ask for a token by user id, so a clip of another
account is never sent with this account's token; it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from clipperd.broker.auth import AuthRefused, BrokerAuth, Tokens, User
from clipperd.broker.connectivity import Connectivity
from clipperd.clock import Clock
from clipperd.errors import (
    BrokerUnreachable,
    ClipperdError,
    NotFound,
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
from clipperd.session.login import (
    LoginAnswer,
    Logins,
    LoginStatus,
    PendingLogin,
    Purpose,
    ReturnTo,
    StartedLogin,
)
from clipperd.session.view import SessionState, SessionView, view_of

Publish = Callable[[str, dict[str, Any]], None]

_REVOKE_TIMEOUT_S = 0.5  # a stop has two seconds; an unrevoked session expires unused

# The broker's codes for a hand-off that came too late or twice.
_EXPIRED_CODES = frozenset({"invalid_grant", "handoff_expired", "handoff_used", "login_expired"})


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
        """Call ``publish`` with ("session", the view) at every change."""
        self.accounts = accounts
        self.secrets = secrets
        self._logins = logins
        self._auth = auth
        self._connectivity = connectivity
        self._clock = clock
        self._publish = publish
        self._credentials: Credentials | None = None
        self._is_expired = False
        self._lock = asyncio.Lock()  # one sign-in or sign-out at a time
        self._login_expiry: asyncio.Task[None] | None = None
        self._revoking: set[asyncio.Task[None]] = set()

    @property
    def device(self) -> str:
        """This machine's name for the user."""
        return self._logins.device

    async def open(self) -> None:
        """Load the last session from outbox.db; needs neither keychain nor network."""
        account = await self.accounts.current()
        if account is not None and account.state != "signed_out":
            self._credentials = self._new_credentials(account.user_id)
            self._is_expired = account.state == "reauth_required"
        self._connectivity.account_changed("signed_out" if account is None else account.state)

    async def check(self) -> None:
        """Open the keychain and check that it holds the session; runs in the background at start.

        A session in memory ended with the last process; this reports it before the first clip.
        Raises SecretsUnusable.
        """
        await self.secrets.open()
        await self._delete_leftover()
        account, credentials = await self.accounts.current(), self._credentials
        if account is None or credentials is None or credentials.holds_tokens:
            return
        try:
            found = await self.secrets.get(secret_name(credentials.user_id))
        except KeychainLocked:
            return  # unknown; the first request checks again
        if self._credentials is not credentials or credentials.holds_tokens:
            return  # another sign-in or sign-out came first
        if found is None and not self._is_expired:
            await self._expire(credentials, "no_secret")
        elif found is not None and account.why == "no_secret":
            await self._restore(credentials)

    async def _delete_leftover(self) -> None:
        """Delete the secret that a crash during a sign-out may have left."""
        async with self._lock:
            account = await self.accounts.current()
            if account is not None and account.state == "signed_out":
                await self.secrets.delete(secret_name(account.user_id))

    async def close(self) -> None:
        """Stop the background tasks."""
        await self._stop_login_expiry()
        if self._credentials is not None:
            await self._credentials.close()
        if self._revoking:
            _, late = await asyncio.wait(self._revoking, timeout=_REVOKE_TIMEOUT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def state(self) -> SessionState:
        """Return the current state."""
        return (await self.view()).state

    async def view(self) -> SessionView:
        """Return the session as clients see it."""
        account = await self.accounts.current()
        login = await self._logins.status()
        return view_of(self._state(account, login), account, login)

    async def start_login(
        self, return_to: ReturnTo, purpose: Purpose = "sign_in", device: str | None = None
    ) -> StartedLogin:
        """Start a sign-in, which ends the older ones.

        Raises NotSignedIn when there is no account to add a workspace to, BrokerNotConfigured, and
        BrokerUnreachable, so that no browser opens an address that does not answer.
        """
        if purpose != "sign_in" and self._credentials is None:
            raise NotSignedIn("Sign in first; then workspaces can be added.")
        await self._auth.check()
        started = await self._logins.start(return_to, purpose, device)
        await self._stop_login_expiry()
        self._login_expiry = asyncio.create_task(self._publish_expiry(started.expires_in))
        await self._publish_view()
        return started

    async def cancel_login(self, login_id: str) -> None:
        """Cancel a pending sign-in. Raises NotFound."""
        await self._logins.cancel(login_id)
        await self._publish_view()

    async def login_status(self, login_id: str) -> LoginStatus:
        """Return how far a sign-in is. Raises NotFound."""
        status = await self._logins.status(login_id)
        if status is None:
            raise NotFound("There is no such sign-in.")
        return status

    async def finish_login(self, answer: LoginAnswer) -> SessionView:
        """Complete a sign-in with the browser's answer; repeating it changes nothing.

        Raises LoginStateUnknown, LoginExpired, LoginDenied, LoginOtherAccount, and
        BrokerUnreachable, after which the caller may try the same answer again.
        """
        async with self._lock:
            pending = await self._logins.find(answer.state)
            if not pending.completed:
                try:
                    await self._exchange(pending, answer)
                except StorageFull:
                    raise
                except ClipperdError as error:
                    retryable = isinstance(error, BrokerUnreachable)
                    await self._logins.report(pending.login_id, error, final=not retryable)
                    await self._publish_view()
                    raise
            return await self.view()

    async def token_for(self, user_id: str, stale: str | None = None) -> str:
        """Return an access token of ``user_id`` other than ``stale``.

        Raises NotSignedIn unless that user is signed in, ReauthRequired when the session has
        ended, BrokerUnreachable(sent=False) when the token cannot be refreshed now.
        """
        while True:
            credentials = self._credentials
            if credentials is None or credentials.user_id != user_id:
                raise NotSignedIn("That account is not signed in now.")
            if self._is_expired:
                raise _sign_in_again()
            try:
                token = await credentials.token(stale)
            except Expired as expired:
                if self._credentials is credentials:
                    await self._expire(credentials, expired.why)
            except BrokerUnreachable as error:
                if self._credentials is credentials:
                    if isinstance(error, KeychainLocked):
                        self._connectivity.keychain_locked()
                    raise
            else:
                if self._credentials is credentials:
                    return token
            # A sign-in or sign-out happened during the refresh: check again.

    async def expire(self, user_id: str, token: str, why: str) -> bool:
        """Require a new sign-in and keep the queue; ``why`` is a stable code.

        ``token`` is the refused access token. If it is no longer in use, the refusal does not
        concern the current session: returns False and changes nothing.
        """
        credentials = self._credentials
        if credentials is None or credentials.user_id != user_id or not credentials.issued(token):
            return False
        await self._expire(credentials, why)
        return True

    async def sign_out(self) -> None:
        """Sign out here; revoke the session at the broker in the background, best effort.

        Raises StorageFull, after which the account is still signed in.
        """
        async with self._lock:
            credentials, expired = self._credentials, self._is_expired
            if credentials is None:
                return
            self._credentials, self._is_expired = None, False  # from here on nothing is sent
            try:
                await self.accounts.set_state(credentials.user_id, "signed_out")
            except StorageFull:
                self._credentials, self._is_expired = credentials, expired
                raise
            # A crash here leaves the secret; the next start deletes it.
            former = await credentials.retire()
            await self.secrets.delete(secret_name(credentials.user_id))
            await self._logins.cancel()
            self._connectivity.account_changed("signed_out")
            await self._publish_view()
            self._revoke_in_background(*former)

    async def set_current(self, workspace_id: str) -> None:
        """Choose the current workspace. Raises NotSignedIn, WorkspaceMismatch."""
        await self.accounts.set_current(workspace_id)
        await self._publish_view()

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
        await self._publish_view()

    async def _exchange(self, pending: PendingLogin, answer: LoginAnswer) -> None:
        try:
            if answer.token is None:
                raise _refusal(answer.error or "unknown")
            tokens = await self._auth.exchange(answer.token, pending.verifier)
        except AuthRefused as refused:
            raise _refusal(refused.code) from None
        before = self._credentials
        if pending.purpose != "sign_in" and (before is None or before.user_id != tokens.user.id):
            self._revoke_in_background(tokens.refresh_token, tokens.access_token)
            raise LoginOtherAccount(
                "Another account signed in than the one that is signed in here.",
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
            self._credentials = None  # from here on nothing is sent as the previous account
        former = (None, None) if before is None else await before.retire()
        try:
            await self.accounts.remember(
                tokens.user,
                tokens.workspaces or (),
                tokens.subscription,
                limits,
                login_id=login_id,
            )
        except ClipperdError:
            self._credentials = before  # the disk is full: keep the previous account
            if before is not None:
                before.resume()
            self._revoke_in_background(tokens.refresh_token, tokens.access_token)
            raise
        # A crash here leaves the account without its secret: the user must sign in once more.
        credentials = self._new_credentials(tokens.user.id)
        await credentials.adopt(tokens)
        self._credentials, self._is_expired = credentials, False
        if before is not None and before.user_id != credentials.user_id:
            await self.secrets.delete(secret_name(before.user_id))
        self._connectivity.account_changed("signed_in")
        await self._stop_login_expiry()
        await self._publish_view()
        self._revoke_in_background(*former)

    async def _expire(self, credentials: Credentials, why: str) -> None:
        """End the session of ``credentials``, unless a sign-in in progress replaces it."""
        async with self._lock:
            if self._credentials is not credentials:
                return
            is_new, self._is_expired = not self._is_expired, True
            with contextlib.suppress(StorageFull):  # detected again after a restart
                await self.accounts.set_state(credentials.user_id, "reauth_required", why)
            if is_new:
                self._connectivity.account_changed("reauth_required")
                await self._publish_view()

    async def _restore(self, credentials: Credentials) -> None:
        """Resume a session whose keychain was unavailable at the last start."""
        async with self._lock:
            if self._credentials is not credentials:
                return
            self._is_expired = False
            await self.accounts.set_state(credentials.user_id, "signed_in")
            self._connectivity.account_changed("signed_in")
            await self._publish_view()

    def _new_credentials(self, user_id: str) -> Credentials:
        return Credentials(user_id, self._auth, self.secrets, self._clock, self._on_refresh)

    async def _on_refresh(self, tokens: Tokens) -> None:
        """Store a changed profile; with a full disk the next refresh stores it."""
        with contextlib.suppress(StorageFull):
            if await self.accounts.refresh(tokens.user, tokens.workspaces, tokens.subscription):
                limits = await self._limits(tokens)  # they depend on the subscription
                await self.accounts.refresh(tokens.user, None, limits=limits)
                await self._publish_view()

    async def refresh_profile(self, user_id: str) -> None:
        """Read the account's subscription and limits again, and publish a change.

        Raises as :meth:`token_for`, and StorageFull.
        """
        token = await self.token_for(user_id)
        try:
            profile = await self._auth.profile(token)
        except AuthRefused:
            return  # the next request finds out why
        known = await self.accounts.current()
        if known is None or known.user_id != user_id:
            return
        user = User(user_id, known.email, known.name, known.avatar_url)
        if await self.accounts.refresh(user, None, profile.subscription, profile.limits):
            await self._publish_view()

    async def _limits(self, tokens: Tokens) -> dict[str, Any] | None:
        """Return the account's limits, or None in an outage: clients only display them."""
        try:
            return (await self._auth.profile(tokens.access_token)).limits
        except (BrokerUnreachable, AuthRefused):
            return None

    def _revoke_in_background(self, refresh_token: str | None, access_token: str | None) -> None:
        """Revoke a session without making the caller wait for the network."""
        task = asyncio.create_task(self._revoke(refresh_token, access_token))
        self._revoking.add(task)
        task.add_done_callback(self._revoking.discard)

    async def _revoke(self, refresh_token: str | None, access_token: str | None) -> None:
        """Revoke a session at the broker, best effort: an unused one expires."""
        if refresh_token is None:
            return
        try:
            if access_token is None or not await self._auth.logout(access_token):
                renewed = await self._auth.refresh(refresh_token)
                await self._auth.logout(renewed.access_token)
        except (BrokerUnreachable, AuthRefused):
            return

    def _state(self, account: Account | None, login: LoginStatus | None) -> SessionState:
        """Return the state. A sign-in under way changes it only while no user is signed in."""
        if account is not None and account.state != "signed_out":
            return "reauth_required" if self._is_expired else account.state
        is_pending = login is not None and login.state == "pending"
        return "signing_in" if is_pending else "signed_out"

    async def _publish_view(self) -> None:
        self._publish("session", msgspec.to_builtins(await self.view()))

    async def _stop_login_expiry(self) -> None:
        task, self._login_expiry = self._login_expiry, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _publish_expiry(self, after_s: float) -> None:
        """Publish the session when a sign-in expires: no request notices that deadline."""
        await self._clock.sleep(after_s)
        await self._publish_view()


def _refusal(word: str) -> ClipperdError:
    """Return the error for the broker's ``error`` or code."""
    if word in _EXPIRED_CODES:
        return LoginExpired("The sign-in took too long.", hint="Start it again.")
    return LoginDenied(word)


def _sign_in_again() -> ReauthRequired:
    return ReauthRequired(
        "The session has ended. Your queued clips are safe.", hint="Sign in again to send them."
    )
