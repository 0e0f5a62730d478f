"""The one place in the daemon that opens connections to the world outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from clipperd.model import Scope


@dataclass(frozen=True, slots=True)
class Reply:
    """What the broker answered, whatever the status.

    ``body`` is the decoded JSON (None when there was none or it was not JSON). ``code`` is the
    ``code`` of an error body, ``broker_code`` the X-Broker-Code header when the broker itself
    speaks. ``retry_after_s`` comes from Retry-After in either form. ``date`` is the server's
    Date header as epoch seconds.
    """

    status: int
    body: Any = None
    code: str | None = None
    broker_code: str | None = None
    retry_after_s: float | None = None
    date: float | None = None

    @property
    def ok(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """The message of an error body, or an empty string."""
        if isinstance(self.body, dict):
            return str(self.body.get("message") or "")
        return ""


class Notion(Protocol):
    """Notion's API as the daemon sees it: through the broker, under one account's session."""

    async def send(
        self,
        scope: Scope,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        key: str | None = None,
    ) -> Reply:
        """Send one request; ``path`` is Notion's after ``/v1/``, for example ``pages/<id>``.

        ``key`` is the Idempotency-Key of a write. Raises BrokerUnreachable (``sent`` tells
        whether it may have been heard), NotSignedIn or ReauthRequired; every HTTP answer is a
        Reply, errors included.
        """
