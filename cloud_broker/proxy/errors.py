"""Defines the refusals of the proxy, with codes that Notion's SDKs understand.

``code`` is one of Notion's (https://developers.notion.com/reference/status-codes). ``broker_code``
names the exact reason; the X-Broker-Code header and ``additional_data`` carry it. Messages never
quote a body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class ProxyError(Exception):
    """Base: an error that the broker returns in place of Notion. Clients see its text."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "validation_error"
    broker_code: str = "invalid_request"
    message: ClassVar[str] = "The request is not valid."

    def __init__(
        self,
        message: str | None = None,
        *,
        broker_code: str | None = None,
        retry_after_s: float | None = None,
        data: Mapping[str, str | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Use the class's message and code unless others are given."""
        self.text = message or self.message
        super().__init__(self.text)
        self.broker_code = broker_code or type(self).broker_code
        self.retry_after_s = retry_after_s
        self.data = dict(data or {})
        self.headers = dict(headers or {})


class NoSuchRoute(ProxyError):
    """The allow-list has no such route."""

    status = 404
    code = "invalid_request_url"
    broker_code = "route_not_allowed"
    message = "Invalid request URL."


class InvalidRequest(ProxyError):
    """The allow-list refuses the path, query, header or body."""


class InvalidJson(ProxyError):
    """The body is not JSON."""

    code = "invalid_json"
    broker_code = "invalid_json"
    message = "Error parsing JSON body."


class TooSlow(ProxyError):
    """The body did not arrive in time."""

    status = 408
    code = "invalid_request"
    broker_code = "request_timeout"
    message = "The request body did not arrive in time."


class TooLarge(ProxyError):
    """The body has more bytes than the broker accepts."""

    status = 413
    broker_code = "request_too_large"
    message = "The request body is too large."


class Unauthorized(ProxyError):
    """The broker's session token is missing, expired or revoked."""

    status = 401
    code = "unauthorized"
    broker_code = "session_expired"
    message = "Sign in again: the session is not valid."


class NotionTokenInvalid(ProxyError):
    """Notion no longer honours the connection's grant."""

    status = 401
    code = "unauthorized"
    broker_code = "NOTION_TOKEN_INVALID"
    message = "Notion refused the connection's token. Connect the workspace again."


class NotConnected(ProxyError):
    """The account has no such workspace. A 404 would mean that the page is gone."""

    status = 403
    code = "restricted_resource"
    broker_code = "no_connection"
    message = "That workspace is not connected to this account."


class LimitReached(ProxyError):
    """A limit of the broker, or a pause that Notion asked for. Nothing was sent."""

    status = 429
    code = "rate_limited"
    broker_code = "limit_connection"
    message = "You have been rate limited. Please try again later."


class InProgress(ProxyError):
    """The same write is under way."""

    status = 409
    code = "conflict_error"
    broker_code = "in_progress"
    message = "The same write is under way. Repeat the request with the same key."


class KeyExpired(ProxyError):
    """The key is older than the stored outcomes, so the broker cannot tell if it was executed."""

    status = 409
    code = "conflict_error"
    broker_code = "idempotency_key_expired"
    message = "The idempotency key is too old. Nothing was sent."


class KeyReused(ProxyError):
    """The key belongs to another request."""

    status = 422
    broker_code = "idempotency_key_reused"
    message = "The idempotency key belongs to another request. Nothing was sent."


class KeySpent(ProxyError):
    """The write under this single-use key was refused before: this is a late copy or a replay."""

    status = 409
    code = "conflict_error"
    broker_code = "idempotency_key_spent"
    message = "The write under this key was refused. Nothing was applied. Send it with a new key."


class OutboxBehind(ProxyError):
    """The queue that sends is a copy of another, or was set back to an older state."""

    status = 409
    code = "conflict_error"
    broker_code = "outbox_behind"
    message = (
        "Another copy of this queue has sent since. Nothing was sent. Compare before you send."
    )


class OutcomeUnknown(ProxyError):
    """A write was sent, but the broker does not know whether Notion applied it."""

    status = 504
    code = "gateway_timeout"
    broker_code = "write_outcome_unknown"
    message = "The write was sent, but its outcome is not known. Read before you repeat it."


class InternalError(ProxyError):
    """A read failed on a fault of the broker."""

    status = 500
    code = "internal_server_error"
    broker_code = "internal"
    message = "The broker failed on this request. Try it again."


class UpstreamSilent(ProxyError):
    """Notion did not answer a read in time."""

    status = 504
    code = "gateway_timeout"
    broker_code = "upstream_timeout"
    message = "Notion did not answer in time."


class UpstreamGarbled(ProxyError):
    """The answer is not Notion's: it is not JSON, or too large."""

    status = 502
    code = "service_unavailable"
    broker_code = "bad_gateway"
    message = "Notion's answer could not be understood."


class NotSent(ProxyError):
    """Nothing reached Notion; 529, since that status always means "not applied"."""

    status = 529
    code = "service_overload"
    broker_code = "upstream_unavailable"
    message = "Notion cannot be reached. Nothing was sent."
