"""Wraps every handler: request ids, access log lines, and errors as RFC 9457 problems."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from math import ceil
from typing import Any

import msgspec
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Middleware

from cloud_broker.clock import Clock
from cloud_broker.errors import BrokerError, DatabaseFailed, Kind
from cloud_broker.monitoring.logs import REQUEST_ID as LOGGED_ID
from cloud_broker.randomness import Randomness
from cloud_broker.web.keys import REQUEST_ID
from cloud_broker.web.pages import keep_unframed

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS_MAX_BYTES = 64 * 1024
DATABASE_AGAIN_S = 2  # seconds: Retry-After while the database fails
VERSIONS = (HttpVersion10, HttpVersion11)  # aiohttp's parser also accepts 0.9 and 2.0
_GIVEN_ID = re.compile(r"\A[A-Za-z0-9_-]{8,64}\Z")

STATUS: dict[Kind, HTTPStatus] = {
    Kind.INVALID: HTTPStatus.BAD_REQUEST,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.MISSING: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.UNSUPPORTED: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Kind.TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Kind.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UPSTREAM: HTTPStatus.BAD_GATEWAY,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_HTTP_PROBLEMS: dict[int, tuple[str, str, str]] = {
    404: ("not_found", "Not found", "This address does not exist. Check the path."),
    405: (
        "method_not_allowed",
        "Method not allowed",
        "This address does not take this method. The Allow header lists its methods.",
    ),
    413: (
        "too_large",
        "Too large",
        "The body is larger than this address takes. Send a smaller one.",
    ),
    415: (
        "unsupported_media_type",
        "Send JSON",
        "The body is not JSON. Send it as application/json.",
    ),
}


def problem(
    request: web.Request,
    status: int,
    *,
    code: str,
    title: str,
    detail: str,
    extra: dict[str, Any] | None = None,
) -> web.Response:
    """Render a problem (RFC 9457) with its stable ``code`` and the request's id."""
    body = {
        "type": f"urn:clipper:problem:{code}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "code": code,
        "request_id": request.get(REQUEST_ID, ""),
        **(extra or {}),
    }
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store"},
    )


def malformed(status: int) -> web.Response:
    """Render the refusal of a malformed request, which has no id yet."""
    code, title, detail = ("bad_request", "Not a request", "The request is not valid HTTP.")
    if status >= 500:
        code, title, detail = (
            "internal",
            "Something went wrong",
            "The broker failed. Try again later.",
        )
    body = {"title": title, "status": status, "detail": detail, "code": code, "request_id": "-"}
    return web.Response(
        status=status,
        body=msgspec.json.encode({"type": f"urn:clipper:problem:{code}", **body}),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store"},
    )


def problem_of(request: web.Request, error: BrokerError) -> web.Response:
    """Render a BrokerError."""
    extra: dict[str, Any] = {}
    if error.hint:
        extra["hint"] = error.hint
    if error.retry_after is not None:
        extra["retry_after"] = max(1, ceil(error.retry_after))
    if error.params:
        extra["params"] = error.params
    if error.errors:
        extra["errors"] = error.errors
    detail = error.detail
    if isinstance(error, DatabaseFailed) and error.kind is Kind.UNAVAILABLE:
        # The log has the cause: the caller can only wait.
        detail = "The broker's database does not answer. Try again in a few seconds."
        extra.pop("hint", None)
        extra["retry_after"] = DATABASE_AGAIN_S
    answer = problem(
        request,
        STATUS[error.kind],
        code=error.code,
        title=error.title,
        detail=detail,
        extra=extra,
    )
    if "retry_after" in extra:
        answer.headers["Retry-After"] = str(extra["retry_after"])
    if error.kind is Kind.UNAUTHENTICATED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem, aiohttp's included; unexpected ones reveal nothing."""
    size = sum(len(name) + len(value) for name, value in request.raw_headers)
    if size > HEADERS_MAX_BYTES:
        return problem(
            request,
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            code="headers_too_large",
            title="Headers too large",
            detail="The request's headers have more than 64 KB. Send fewer or shorter ones.",
        )
    if request.version not in VERSIONS:
        return problem(
            request,
            HTTPStatus.BAD_REQUEST,
            code="http_version",
            title="Another HTTP",
            detail="The broker does not speak this version of HTTP. Use HTTP/1.1.",
        )
    if request.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        return malformed(HTTPStatus.BAD_REQUEST)  # aiohttp's parser lets it pass beside an Upgrade
    try:
        return await handler(request)
    except BrokerError as error:
        if error.kind in {Kind.INTERNAL, Kind.UNAVAILABLE}:
            log.error("A request failed (%s).", error.code, exc_info=error)
        return problem_of(request, error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        status = HTTPStatus(error.status)
        usual = (status.name.lower(), status.phrase, f"{status.phrase}.")
        code, title, detail = _HTTP_PROBLEMS.get(error.status, usual)
        answer = problem(request, status, code=code, title=title, detail=detail)
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except Exception as error:  # the last boundary: the client gets the id, the log the trace
        if _broke_off(request, error):
            log.info("A request broke off (%s).", type(error).__name__)
            return malformed(HTTPStatus.BAD_REQUEST)
        log.error("A request failed unexpectedly.", exc_info=error)
        return problem(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            code="internal",
            title="Something went wrong",
            detail="The broker failed. Try again; if it fails again, report the request_id.",
        )


def _broke_off(request: web.Request, error: Exception) -> bool:
    """Whether the client disconnected within its body, or sent an undecodable one."""
    if isinstance(error, ConnectionError):
        return request.transport is None or request.transport.is_closing()
    return isinstance(error, web.RequestPayloadError)


def request_ids(clock: Clock, randomness: Randomness) -> Middleware:
    """Make the middleware that gives each request an id and logs each failed one.

    Successful requests are in the audit log and the metrics; DEBUG logs them too.
    """

    @web.middleware
    async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _GIVEN_ID.match(given) else randomness.new_id()
        request[REQUEST_ID] = request_id
        token = LOGGED_ID.set(request_id)
        begun = clock.monotonic()
        status = 0
        try:
            response = await handler(request)
            status = response.status
            if not response.prepared:
                response.headers["X-Request-Id"] = request_id
                response.headers.setdefault("X-Content-Type-Options", "nosniff")
                keep_unframed(response)
            return response
        except web.HTTPException as redirect:
            status = redirect.status
            raise
        finally:
            level = logging.DEBUG if 200 <= status < 400 else logging.INFO
            if log.isEnabledFor(level):
                took_ms = round((clock.monotonic() - begun) * 1000, 1)
                log.log(level, "request", extra={"fields": _fields(request, status, took_ms)})
            LOGGED_ID.reset(token)

    return identify


def _fields(request: web.Request, status: int, took_ms: float) -> dict[str, object]:
    route = route_of(request)
    return {"method": request.method, "route": route, "status": status, "duration_ms": took_ms}


def route_of(request: web.Request) -> str:
    """Return the route's template; the path may hold ids, which no log or metric contains."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(none)"
