"""Defines errors in Notion's shape: status, stable code, message, optional additional data.

Codes and messages are Notion's (https://developers.notion.com/reference/status-codes); messages
that Notion does not document imitate its wording.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ARCHIVED = "Can't edit block that is archived. You must unarchive the block before editing."
# The default code of each status that a fault rule may set.
CODES = {
    400: "validation_error",
    401: "unauthorized",
    403: "restricted_resource",
    404: "object_not_found",
    409: "conflict_error",
    429: "rate_limited",
    500: "internal_server_error",
    502: "bad_gateway",
    503: "service_unavailable",
    504: "gateway_timeout",
    529: "service_overload",
}
MESSAGES = {
    401: "API token is invalid.",
    403: "API token does not have access to this resource.",
    409: "Conflict occurred while saving. Please try again.",
    429: "You have been rate limited. Please try again later.",
    500: "Unexpected error occurred.",
    502: "Bad gateway.",
    503: "Notion is unavailable. Please try again later.",
    504: "The request timed out.",
    529: "Notion is overloaded. Please try again later.",
}


class NotionError(Exception):
    """An error response, rendered as ``{"object":"error", …}``."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        extra: Mapping[str, str | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``extra`` becomes ``additional_data`` (values are strings or lists of strings)."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> dict[str, Any]:
        """Render Notion's error object."""
        shown: dict[str, Any] = {
            "object": "error",
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "request_id": request_id,
        }
        if self.extra:
            shown["additional_data"] = self.extra
        return shown


class OAuthError(NotionError):
    """An OAuth error in the shape of RFC 6749: ``{"error", "error_description"?}``."""

    def body(self, request_id: str) -> dict[str, Any]:
        """Render as measured at the live token endpoint: no object, code or message."""
        return {"error": self.code, "request_id": request_id}


class ControlError(Exception):
    """An invalid request to the sandbox's own routes; answered with 400 and the text."""


def plain(status: int, *, code: str = "", message: str = "") -> NotionError:
    """Return the usual error of ``status``, or one with the given code or message."""
    return NotionError(
        status,
        code or CODES.get(status, "internal_server_error"),
        message or MESSAGES.get(status, "Unexpected error occurred."),
    )


def validation(message: str) -> NotionError:
    """Return a 400 ``validation_error``."""
    return NotionError(400, "validation_error", message)


def not_found(node_id: str, integration: str, what: str = "block") -> NotionError:
    """Return the 404 of a missing, deleted or unshared object."""
    return NotionError(
        404,
        "object_not_found",
        f"Could not find {what} with ID: {node_id}. Make sure the relevant pages and databases "
        f'are shared with your integration "{integration}".',
    )


def rate_limited(retry_after_s: int, reason: str) -> NotionError:
    """Return a 429 with Retry-After in the header and in the body."""
    return NotionError(
        429,
        "rate_limited",
        MESSAGES[429],
        extra={"rate_limit_reason": reason, "retry_after": str(retry_after_s)},
        headers={"Retry-After": str(retry_after_s)},
    )
