"""The broker's reply to one Notion call, and the rate limits it reports."""

from __future__ import annotations

from typing import Any

import msgspec

_TRANSIENT = frozenset({401, 408, 409, 425, 429})  # a 4xx that a later try may not meet


class Limit(msgspec.Struct, frozen=True):
    """One rate limit: ``quota`` writes per ``span_s`` seconds, ``left`` of them remain, and one
    more is available in ``reset_s`` seconds."""

    name: str
    quota: int
    span_s: float
    left: int
    reset_s: float


class Reply(msgspec.Struct, frozen=True):
    """An answer of any status.

    ``body`` is the decoded JSON, or None. ``code`` is the ``code`` of an error body,
    ``broker_code`` the X-Broker-Code header of an answer by the broker itself. ``date`` is the
    Date header in epoch seconds. ``limits`` are the limits that the request counted against.
    """

    status: int
    body: Any = None
    code: str | None = None
    broker_code: str | None = None
    retry_after_s: float | None = None
    date: float | None = None
    limits: tuple[Limit, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def is_transient(self) -> bool:
        """Return whether the same call may succeed later without a decision of the user."""
        return self.status >= 500 or self.status in _TRANSIENT

    @property
    def message(self) -> str:
        """Return the message of an error body, or an empty string."""
        if isinstance(self.body, dict):
            return str(self.body.get("message") or "")
        return ""
