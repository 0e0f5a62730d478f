"""Sessions of daemons: access tokens and rotating refresh tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claims:
    """Who a verified access token speaks for. ``expires_at`` is epoch seconds."""

    user_id: str
    session_id: str
    email: str
    tier: str
    expires_at: float


class Sessions:
    """Issues, refreshes, verifies and revokes sessions."""

    async def verify(self, token: str) -> Claims:
        """Return the claims of a live access token. Raises SessionExpired."""
        raise NotImplementedError
