"""What the proxy needs from the rest of the broker, and nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from cloud_broker.identity.connections import OpenToken
from cloud_broker.identity.sessions import Claims
from cloud_broker.proxy.errors import ProxyError
from cloud_broker.transport import TransportError


class Tokens(Protocol):
    """Opens connections' tokens; see connections.Tokens."""

    async def open(
        self, user_id: str, workspace_id: str | None, purpose: str, *, fresh: bool
    ) -> OpenToken:
        """Raises NoConnection, WorkspaceRequired, ReauthRequired."""

    async def refresh(self, opened: OpenToken) -> OpenToken:
        """Raises ReauthRequired, NotionUnavailable."""


class Sessions(Protocol):
    """Knows who speaks; see sessions.Sessions."""

    async def verify(self, token: str) -> Claims:
        """Raises SessionExpired."""


class Upload(Protocol):
    """A body that goes through as it comes, once."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces."""

    def fault(self, error: TransportError) -> ProxyError | None:
        """Why sending it failed, where its caller did not bring it to its end.

        Notion then has a part of a request, which it cannot apply.
        """
