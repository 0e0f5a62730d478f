"""Renders the session for clients: ``GET /v1/session`` and the ``session`` event."""

from __future__ import annotations

from typing import Literal, TypedDict, cast

import msgspec

from clipperd.clock import rfc3339
from clipperd.session.accounts import Account
from clipperd.session.login import LoginError, LoginStatus

SessionState = Literal["signed_out", "signing_in", "signed_in", "reauth_required"]


class SessionUser(msgspec.Struct):
    """The user, for clients."""

    id: str
    email: str
    name: str
    avatar_url: str | None


class SessionWorkspace(msgspec.Struct):
    """A connected workspace, for clients."""

    id: str
    name: str
    icon: str | None
    current: bool


class SessionSubscription(msgspec.Struct):
    """The account's subscription, for clients."""

    tier: str | None
    status: str | None


class NotionLimits(TypedDict, total=False):
    """The budget of calls to Notion that all users of a connection share."""

    rate_per_s: float
    burst: float


class AccountLimits(TypedDict, total=False):
    """The account's limits as the broker reports them: calls in any ``window_s`` seconds."""

    window_s: float
    all: int
    routes: dict[str, int]
    notion: NotionLimits


class SessionView(msgspec.Struct):
    """The answer of ``GET /v1/session`` and the data of a ``session`` event."""

    state: SessionState
    user: SessionUser | None = None
    workspaces: list[SessionWorkspace] = []
    subscription: SessionSubscription | None = None
    limits: AccountLimits | None = None
    why: str | None = None
    signed_in_at: str | None = None  # changes with every completed sign-in of any purpose
    login_id: str | None = None  # of the newest sign-in
    error: LoginError | None = None  # why the newest sign-in failed or cannot continue now


def view_of(
    state: SessionState, account: Account | None, login: LoginStatus | None = None
) -> SessionView:
    """Render the account. When signed out, do not reveal the previous account."""
    login_id, error = (None, None) if login is None else (login.login_id, login.error)
    if account is None or account.state == "signed_out":
        return SessionView(state, login_id=login_id, error=error)
    return SessionView(
        state=state,
        user=SessionUser(account.user_id, account.email, account.name, account.avatar_url),
        workspaces=[SessionWorkspace(w.id, w.name, w.icon, w.current) for w in account.workspaces],
        subscription=SessionSubscription(account.tier, account.subscription_status),
        limits=cast(AccountLimits | None, account.limits),
        why=account.why,
        signed_in_at=rfc3339(account.signed_in_at),
        login_id=login_id,
        error=error,
    )
