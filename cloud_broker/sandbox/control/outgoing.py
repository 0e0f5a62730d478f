"""Posts webhooks, the only outgoing requests of the sandbox."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

TIMEOUT_S = 10.0


class Outgoing:
    """Posts bodies over one session, which the first request opens."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None  # noqa: TID251 (see post)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post JSON and return the status; 0 without an answer in time."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            # The sandbox does not use the broker's transport.
            self._session = aiohttp.ClientSession(timeout=timeout)  # noqa: TID251
        sent = {"Content-Type": "application/json", "User-Agent": "notion-api", **headers}
        try:
            async with self._session.post(
                url, data=body, headers=sent, allow_redirects=False
            ) as got:
                return got.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
