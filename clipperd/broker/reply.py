"""The broker's reply to one Notion call, and the rate limits it reports."""

from __future__ import annotations

from typing import Any

import msgspec


class Limit(msgspec.Struct, frozen=True):
    """What an answer said of one limit: ``quota`` writes in ``span_s`` seconds, how many are left,
    and in how many seconds one more comes back."""

    name: str
    quota: int
    span_s: float
    left: int
    reset_s: float


class Reply(msgspec.Struct, frozen=True):
    """What the broker answered, whatever the status.

    ``body`` is the decoded JSON (None when there was none or it was not JSON). ``code`` is the
    ``code`` of an error body, ``broker_code`` the X-Broker-Code header when the broker itself
    speaks. ``retry_after_s`` comes from Retry-After in either form. ``date`` is the server's
    Date header as epoch seconds. ``limits`` are those on which the request drew, as far as the
    broker tells.
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
        """True for 2xx."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """The message of an error body, or an empty string."""
        if isinstance(self.body, dict):
            return str(self.body.get("message") or "")
        return ""
