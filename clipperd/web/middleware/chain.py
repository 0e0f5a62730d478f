"""The middleware of every request, outermost first: id, problems, Host, Origin, token, body.

The order matters: a request learns nothing about the daemon until its Host and Origin are valid,
and its body is not read until its token and scope are.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from clipperd.errors import ClipperdError, InvalidInput
from clipperd.storage.disk import translate_os_error
from clipperd.web.access import Initiator, validate_host, validate_origin, validate_query
from clipperd.web.errors import BodyEncoded, FormExpected, FormTooLarge, ScopeMissing
from clipperd.web.keys import ACCESS, CLOCK, LIMITS, NEW_ID, TABLE
from clipperd.web.middleware import problems
from clipperd.web.middleware.guard import Guard
from clipperd.web.routes import CALLER, Route

log = logging.getLogger("clipperd.web")

_FORM = re.compile(
    r"multipart/form-data;\s*boundary=\"?[A-Za-z0-9'()+_,./:=?-]{1,70}\"?", re.ASCII | re.IGNORECASE
)
"""RFC 2046's boundary, without spaces."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


REQUEST_ID = web.RequestKey("request_id", str)
FOREIGN = web.RequestKey("foreign", str)
"""The allowed foreign origin of this request, if any; the response gets CORS headers."""

STREAM = web.RequestKey("stream", web.StreamResponse)
"""Set by a handler once it streams: no other response can follow."""


def route_of(request: web.Request) -> Route | None:
    """Return the route of this request, or None for a 404 or 405."""
    return request.app[TABLE].get(request.match_info.route)


def port_of(request: web.Request) -> int:
    """Return the local port of the request's connection."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has disconnected")
    return int(transport.get_extra_info("sockname")[1])


@web.middleware
async def request_id(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Assign the request id, stop the header timeout, log the outcome (never the path)."""
    request[REQUEST_ID] = request.app[NEW_ID]()
    started = request.app[CLOCK].boot()
    guard = Guard.of(request.transport)
    if guard is not None:
        guard.busy(True)
    try:
        response = await handler(request)
    finally:
        if guard is not None:
            guard.busy(False)
    route = route_of(request)
    log.log(
        logging.DEBUG if response.status < 500 else logging.WARNING,
        "%s %s %d %.1f ms %s",
        request.method if route else "-",
        route.path if route else "-",
        response.status,
        (request.app[CLOCK].boot() - started) * 1000,
        request[REQUEST_ID],
    )
    return response


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a problem; log unexpected ones without showing them."""
    id_ = request[REQUEST_ID]
    shown: ClipperdError | None = None
    allow = ""
    try:
        return await handler(request)
    except ClipperdError as error:
        problem, shown = problems.from_error(error, id_), error
        if problem.status >= 500:
            log.warning("%s %s", id_, error.code)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        problem = problems.from_status(error.status, id_)
        allow = error.headers.get(hdrs.ALLOW, "")
    except Exception as error:
        if request.transport is None or request.transport.is_closing():
            return web.Response(status=400)  # never sent: the client has disconnected
        log.error("%s unexpected: %s", id_, problems.trace(error))
        shown = translate_os_error(error) if isinstance(error, OSError) else None
        problem = (
            problems.from_error(shown, id_) if shown is not None else problems.from_status(500, id_)
        )
    if STREAM in request:
        if request.transport is not None:
            request.transport.close()
        return request[STREAM]
    response = problems.respond(problem, request.path, shown, method=request.method)
    if allow:
        response.headers[hdrs.ALLOW] = allow
    return response


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Accept only requests to the daemon's own address. Raises HostRefused."""
    validate_host(request.headers.getall(hdrs.HOST, []), request.raw_path, port_of(request))
    return await handler(request)


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse origins that are not on the allow-list; answer the preflights of those that are."""
    route = route_of(request)
    foreign = validate_origin(
        Initiator.of(request.headers, request.headers.getall(hdrs.ORIGIN, [])),
        request.app[ACCESS].allowed_origins,
        visitable=route is not None and route.scope == "public" and route.method == "GET",
    )
    if foreign is None:
        return await handler(request)
    request[FOREIGN] = foreign
    if (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    ):
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, PUT, PATCH, DELETE",
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, Content-Type, Idempotency-Key, "
                "If-Match, Last-Event-ID, X-Workspace-Id, Notion-Version",
                hdrs.ACCESS_CONTROL_MAX_AGE: "600",
            },
        )
    return await handler(request)


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Require a valid token with the route's scope, except on public routes.

    Paths outside ``/v1/`` without a route pass, and get a 404.
    """
    route = route_of(request)
    if (route is not None and route.scope == "public") or (
        route is None and not request.path.startswith("/v1/")
    ):
        return await handler(request)
    validate_query(request.query)
    caller = await request.app[ACCESS].caller(request.headers.getall(hdrs.AUTHORIZATION, []))
    request[CALLER] = caller
    if route is not None and not caller.may(route.scope):
        raise ScopeMissing(f"This needs the scope {route.scope}.", params={"scope": route.scope})
    return await handler(request)


@web.middleware
async def read_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check the body's type, size and timing, and read it before the handler runs.

    The handler reads forms itself: they may be too large for memory.
    """
    route = route_of(request)
    is_form = route is not None and route.form_bytes is not None
    if route is None or not (request.body_exists or is_form) or route.method == hdrs.METH_GET:
        return await handler(request)
    limits = request.app[LIMITS]
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise BodyEncoded("Send the body uncompressed, without Content-Encoding.")
    if route.form_bytes is not None:
        _check_form(request, route.form_bytes)
        await _send_continue(request)
        return await handler(request)
    if not route.raw_body and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    if request.content_length is not None and request.content_length > limits.body_bytes:
        raise web.HTTPRequestEntityTooLarge(limits.body_bytes, request.content_length)
    try:
        is_complete = request.content.is_eof()  # mostly: the body arrived with the headers
        async with asyncio.timeout(None if is_complete else limits.body_timeout_s):
            await _send_continue(request)
            await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    except web.RequestPayloadError as error:
        raise InvalidInput("The body is not complete.") from error
    return await handler(request)


async def _send_continue(request: web.Request) -> None:
    """Send ``100 Continue`` if the client waits for it before it sends the body."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # otherwise aiohttp believes that the response has started


def _check_form(request: web.Request, max_bytes: int) -> None:
    if _FORM.fullmatch(request.headers.get(hdrs.CONTENT_TYPE, "")) is None:
        raise FormExpected("Send Content-Type: multipart/form-data with a boundary.")
    if (request.content_length or 0) > max_bytes:
        raise FormTooLarge(f"A form may have at most {max_bytes:,} bytes here.")


ORDER = (request_id, as_problems, check_host, check_origin, authenticate, read_body)


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the security headers; a handler's own Content-Security-Policy stays."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    headers.setdefault("Cache-Control", "no-store")
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if REQUEST_ID in request:
        headers["X-Request-Id"] = request[REQUEST_ID]
    headers.popall(hdrs.SERVER, None)  # do not reveal the versions of aiohttp and Python
    if FOREIGN in request:
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = request[FOREIGN]
        headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = (
            "ETag, Idempotency-Replayed, Retry-After, X-Request-Id, X-Broker-Code"
        )
        headers.add(hdrs.VARY, hdrs.ORIGIN)
