"""What the proxy needs from the rest of the broker, and nothing more."""

from __future__ import annotations

from typing import Protocol

from cloud_broker.identity.connections import OpenToken
from cloud_broker.identity.sessions import Claims


class Tokens(Protocol):
    """Opens connections' tokens; see connections.Tokens."""

    async def open(self, user_id: str, workspace_id: str | None, purpose: str) -> OpenToken:
        """Raises NoConnection, WorkspaceRequired, ReauthRequired."""

    async def refresh(self, opened: OpenToken) -> OpenToken:
        """Raises ReauthRequired, NotionUnavailable."""


class Sessions(Protocol):
    """Knows who speaks; see sessions.Sessions."""

    async def verify(self, token: str) -> Claims:
        """Raises SessionExpired."""
