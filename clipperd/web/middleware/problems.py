"""Renders errors as RFC 9457 problems: one status for each kind of error, no internal details.

Below ``/v1/notion/`` the body also has Notion's error format (``object``, ``message`` and one of
Notion's codes), so that an official SDK understands errors of the daemon.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import msgspec
from aiohttp import web

from clipperd.errors import BrokerUnreachable, ClipperdError, Kind

MEDIA_TYPE = "application/problem+json"
NOTION_PREFIX = "/v1/notion/"

STATUS: Mapping[Kind, int] = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.MISSING: 404,
    Kind.CONFLICT: 409,
    Kind.GONE: 410,
    Kind.PRECONDITION: 412,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.TOO_MANY: 429,
    Kind.UPSTREAM: 502,
    Kind.UNAVAILABLE: 503,
    Kind.STORAGE_FULL: 507,
}

HTTP: Mapping[int, tuple[str, str, str]] = {
    400: ("bad_request", "The request is not valid", "The request is malformed."),
    404: ("not_found", "Not found", "There is no such path."),
    405: ("method_not_allowed", "This method is not allowed here", "See the Allow header."),
    408: ("request_timeout", "The body took too long", "Send the body without pauses."),
    413: ("body_too_large", "The body is too large", "A body may have at most 10 MB."),
    415: (
        "unsupported_media_type",
        "This kind of body is not supported",
        "Send Content-Type: application/json.",
    ),
    417: (
        "expectation_failed",
        "This Expect header is not supported",
        "Send the request without it.",
    ),
}
"""Code, title and detail of the errors that aiohttp or the middleware raise by status."""

NOTION_CODES: Mapping[int, str] = {
    400: "validation_error",
    401: "unauthorized",
    403: "restricted_resource",
    404: "object_not_found",
    405: "invalid_request_url",
    409: "conflict_error",
    429: "rate_limited",
    500: "internal_server_error",
    504: "gateway_timeout",
}
"""Notion's codes (https://developers.notion.com/reference/status-codes)."""

_UNKNOWN = "write_outcome_unknown"
_NOTION_UNAUTHORIZED = frozenset({"not_signed_in", "reauth_required"})


class Fault(TypedDict, total=False):
    """A wrong value: a JSON pointer into the body, a parameter, or a header; and a code."""

    pointer: str
    parameter: str
    header: str
    code: str


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The body of every error answer (RFC 9457); ``code`` is stable, the sentences are not."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    hint: str | None = None
    retry_after: int | None = None
    params: dict[str, Any] = {}
    errors: list[Fault] = []


class NotionProblem(Problem, omit_defaults=True, kw_only=True):
    """A Problem in Notion's error format; ``additional_data`` holds the daemon's code."""

    object: str
    message: str
    additional_data: dict[str, str]


def from_error(error: ClipperdError, request_id: str) -> Problem:
    """Render an error of the daemon."""
    wait = error.retry_after
    return Problem(
        type=f"urn:clipperd:problem:{error.code}",
        title=error.title,
        status=STATUS[error.kind],
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        hint=error.hint,
        retry_after=None if wait is None else max(1, math.ceil(wait)),
        params=error.params,
        errors=cast(list[Fault], error.errors),
    )


def from_status(status: int, request_id: str) -> Problem:
    """Render an error that has only a status; an unknown one becomes 500 ``internal``."""
    code, title, detail = HTTP.get(
        status, ("internal", "Something went wrong", "clipperd met an internal error.")
    )
    return Problem(
        type=f"urn:clipperd:problem:{code}",
        title=title,
        status=status if status in HTTP else 500,
        detail=detail,
        code=code,
        request_id=request_id,
        hint=None if status in HTTP else "Search the log for this request_id.",
    )


def respond(
    problem: Problem, path: str, error: ClipperdError | None = None, *, method: str = "GET"
) -> web.Response:
    """Return the response; ``path`` decides whether it has Notion's error format.

    A write that was sent and whose answer did not arrive says so as the broker does.
    """
    is_unknown = False
    if path.startswith(NOTION_PREFIX):
        problem = _in_notion_format(problem, error)
        is_unknown = method != "GET" and problem.status == 504
        if is_unknown:
            problem.additional_data["broker_code"] = _UNKNOWN
    response = web.Response(
        body=msgspec.json.encode(problem), status=problem.status, content_type=MEDIA_TYPE
    )
    if is_unknown:
        response.headers["X-Broker-Code"] = _UNKNOWN
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="clipperd"'
    if problem.status in (408, 413):
        response.force_close()  # do not read the rest of the body
    return response


def _in_notion_format(problem: Problem, error: ClipperdError | None) -> NotionProblem:
    status = problem.status
    if problem.code in _NOTION_UNAUTHORIZED:
        status = 401
    elif isinstance(error, BrokerUnreachable) and error.sent:
        status = 504  # the request was sent: the outcome of a write is unknown
    default = "service_unavailable" if status > 500 else "validation_error"
    return NotionProblem(
        object="error",
        message=problem.detail,
        additional_data={"clipperd_code": problem.code},
        type=problem.type,
        title=problem.title,
        status=status,
        detail=problem.detail,
        code=NOTION_CODES.get(status, default),
        request_id=problem.request_id,
        hint=problem.hint,
        retry_after=problem.retry_after,
        params=problem.params,
        errors=problem.errors,
    )


def trace(error: BaseException) -> str:
    """Return the origin of an exception without its message, which may quote user content."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
    text = f"{type(error).__name__} at {' > '.join(places)}"
    return f"{text} from {trace(error.__cause__)}" if error.__cause__ else text
