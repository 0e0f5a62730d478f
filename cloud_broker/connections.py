"""Connections to Notion workspaces: the sealed tokens and their refresh."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_broker.secret import Secret


@dataclass(frozen=True, slots=True)
class OpenToken:
    """A connection's access token, open for one request. ``version`` is its row's version."""

    connection_id: str
    user_id: str
    workspace_id: str
    bot_id: str
    access_token: Secret
    version: int


class Tokens:
    """Opens sealed tokens and refreshes them once, however many ask."""

    async def open(self, user_id: str, workspace_id: str | None, purpose: str) -> OpenToken:
        """Open the token of the user's workspace (the only one when None).

        ``purpose`` goes to the audit log. Raises NoConnection, WorkspaceRequired, ReauthRequired.
        """
        raise NotImplementedError

    async def refresh(self, opened: OpenToken) -> OpenToken:
        """Return a newer token than ``opened`` after Notion refused it.

        Raises ReauthRequired when the grant has ended, NotionUnavailable when Notion cannot say.
        """
        raise NotImplementedError
