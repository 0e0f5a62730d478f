"""Renders the session for clients: ``GET /v1/session`` and the ``session`` event."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from clipperd.clock import rfc3339
from clipperd.session.accounts import Account

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


class SessionView(msgspec.Struct):
    """The answer of ``GET /v1/session`` and the data of a ``session`` event."""

    state: SessionState
    user: SessionUser | None = None
    workspaces: list[SessionWorkspace] = []
    subscription: SessionSubscription | None = None
    limits: dict[str, Any] | None = None
    why: str | None = None
    signed_in_at: str | None = None  # changes with every completed sign-in of any purpose


def view_of(state: SessionState, account: Account | None) -> SessionView:
    """Render the account. When signed out, do not reveal the previous account."""
    if account is None or account.state == "signed_out":
        return SessionView(state)
    return SessionView(
        state=state,
        user=SessionUser(account.user_id, account.email, account.name, account.avatar_url),
        workspaces=[SessionWorkspace(w.id, w.name, w.icon, w.current) for w in account.workspaces],
        subscription=SessionSubscription(account.tier, account.subscription_status),
        limits=account.limits,
        why=account.why,
        signed_in_at=rfc3339(account.signed_in_at),
    )
