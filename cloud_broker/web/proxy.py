"""Serves ``/api/notion/proxy/…``: checks the request and always answers in Notion's shape."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace

from aiohttp import web

from cloud_broker.errors import (
    BodyTooSlow,
    BrokerError,
    DatabaseFailed,
    InvalidInput,
    NoConnection,
    ReauthRequired,
    SessionExpired,
    WorkspaceRequired,
)
from cloud_broker.identity.sessions import Claims
from cloud_broker.proxy import bodies, versions
from cloud_broker.proxy.call import Call
from cloud_broker.proxy.errors import (
    InvalidJson,
    InvalidRequest,
    NoSuchRoute,
    NotConnected,
    NotionTokenInvalid,
    NotSent,
    ProxyError,
    TooLarge,
    TooSlow,
    Unauthorized,
)
from cloud_broker.proxy.keys import parse_key, parse_outbox
from cloud_broker.proxy.relay import Relay
from cloud_broker.proxy.responses import ProxyResponse, from_refusal
from cloud_broker.proxy.routes import Route, match, parse_uuid
from cloud_broker.transport import Interrupted, TransportError
from cloud_broker.web import bodies as request_bodies
from cloud_broker.web.bodies import claims_of, is_coded, read_raw
from cloud_broker.web.completion import READS
from cloud_broker.web.keys import RANDOMNESS, REQUEST_ID, SETTINGS
from cloud_broker.web.metrics import METRICS

log = logging.getLogger(__name__)

PREFIX = "/api/notion/proxy/"
SEND_MAX_BYTES = 20 * 1024 * 1024 + 64 * 1024  # a 20 MB part and its form's framing
_SECONDS = re.compile(r"\A[0-9]{1,4}(?:\.[0-9]{1,3})?\Z", re.ASCII)
_MULTIPART = re.compile(
    r"\Amultipart/form-data;\s*boundary=\"?[A-Za-z0-9'()+_,./:=?-]{1,70}\"?\Z", re.ASCII
)


RELAY: web.AppKey[Relay] = web.AppKey("relay")


def only_reads(request: web.Request) -> bool:
    """Whether method and path alone show that a call reads."""
    return request.method == "GET" and request.path.startswith(PREFIX)


async def relay(request: web.Request) -> web.StreamResponse:
    """Relay one call; every refusal takes Notion's shape."""
    request_id = request.get(REQUEST_ID) or request.app[RANDOMNESS].new_id()
    try:
        claims = await claims_of(request)
        call = await _call(request, claims, request_id)
        request[READS] = call.route.kind == "read"
        answer = await request.app[RELAY].answer(call)
    except ProxyError as refusal:
        answer = _refused(request, refusal, request_id)
    except BrokerError as error:
        answer = _refused(request, refusal_of(error), request_id)
    return _response(answer)


def _refused(request: web.Request, refusal: ProxyError, request_id: str) -> ProxyResponse:
    request.app[METRICS].requests.add("(none)", refusal.broker_code)
    return from_refusal(refusal, request_id)


async def _call(request: web.Request, claims: Claims, request_id: str) -> Call:
    """Check the request against the allow-list and build its call. Raises ProxyError."""
    given = list(request.rel_url.query.items()) if request.rel_url.raw_query_string else []
    pinned = request.app[SETTINGS].notion_version
    route, ids, query = match(request.method, _path(request), given)
    version = versions.spoken(request.headers.get("Notion-Version"), pinned, route)
    call = Call(
        claims=claims,
        route=route,
        ids=ids,
        query=query,
        version=version,
        pinned=pinned,
        request_id=request_id,
        workspace=_workspace(request),
        within_s=_within(request),
    )
    if is_coded(request):
        raise InvalidRequest("The body should have no Content-Encoding.")
    if route.streams:
        upload, length = _Upload(request), request.content_length
        return replace(call, upload=upload, content_type=_multipart(request), length=length)
    outbox = request.headers.get("X-Outbox") if route.kind == "write" else None
    return replace(
        call,
        body=_body(route, await _read(request), version),
        key=_key(request, route),
        is_single_use=request.headers.get("Idempotency-Key-Use") == "once",
        outbox=None if outbox is None else parse_outbox(outbox),
    )


def _path(request: web.Request) -> str:
    """Return the undecoded path; an encoded or doubled slash matches no row of the allow-list.

    Refuses a fragment and an absolute URL, which servers read in different ways.
    """
    target = request.raw_path
    if not target.startswith(PREFIX) or "#" in target:
        raise NoSuchRoute
    return target.partition("?")[0][len(PREFIX) :]


def _body(route: Route, raw: bytes, version: str) -> dict[str, object] | None:
    body = bodies.parse(route, raw)
    return None if body is None else versions.to_upstream(route, body, version)


def _key(request: web.Request, route: Route) -> str | None:
    """Return the write's key; refuse other text here, before it reaches a log or a row."""
    given = request.headers.get("Idempotency-Key") if route.kind == "write" else None
    return None if given is None else parse_key(given)


def _workspace(request: web.Request) -> str | None:
    given = request.headers.get("X-Workspace-Id")
    if given is None:
        return None
    found = parse_uuid(given)
    if found is None:
        raise InvalidRequest("X-Workspace-Id should be a valid uuid.")
    return found


def _within(request: web.Request) -> float | None:
    """Return the caller's deadline in seconds; one above the broker's own has no effect."""
    given = request.headers.get("X-Broker-Deadline")
    if given is None:
        return None
    if not _SECONDS.match(given) or float(given) <= 0:
        raise InvalidRequest("X-Broker-Deadline should be seconds, such as 2.5.")
    return float(given)


def _multipart(request: web.Request) -> str:
    given = request.headers.get("Content-Type", "")
    if not _MULTIPART.match(given):
        raise InvalidRequest("Content-Type should be multipart/form-data with a boundary.")
    if (request.content_length or 0) > SEND_MAX_BYTES:
        raise TooLarge("A file part may have 20 MB.")
    return given


async def _read(request: web.Request) -> bytes:
    """Read the whole body in time. Raises TooLarge, TooSlow or InvalidJson."""
    if not request.body_exists:
        return b""
    max_bytes = request.app[SETTINGS].request_max_bytes
    too_large = TooLarge(f"The request body may have {max_bytes} bytes.")
    if (request.content_length or 0) > max_bytes:
        raise too_large
    try:
        return await read_raw(request, max_bytes)
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None
    except BodyTooSlow:
        raise TooSlow from None
    except InvalidInput:
        raise InvalidJson from None


class _Upload:
    """Streams a form to Notion within its limits; see call.Upload."""

    def __init__(self, request: web.Request) -> None:
        self._content = request.content
        self._refusal: ProxyError | None = None
        self._is_awaited = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        while chunk := await self._next():
            size += len(chunk)
            if size > SEND_MAX_BYTES:
                raise self._cut(TooLarge("A file part may have 20 MB."))
            yield chunk

    async def _next(self) -> bytes:
        self._is_awaited = True  # stays True when the write's deadline ends the wait
        try:
            async with asyncio.timeout(request_bodies.BODY_WITHIN_S):
                piece = await self._content.readany()
        except TimeoutError:
            raise self._cut(TooSlow()) from None
        except (web.RequestPayloadError, ConnectionError):
            raise self._cut(InvalidRequest("The body broke off or is not valid HTTP.")) from None
        self._is_awaited = False
        return piece

    def _cut(self, refusal: ProxyError) -> ProxyError:
        self._refusal = refusal
        return refusal

    def fault(self, error: TransportError) -> ProxyError | None:
        """Return why sending failed when the client did not finish the body, else None."""
        is_late = self._is_awaited and isinstance(error, Interrupted) and error.timed_out
        return self._refusal or (TooSlow() if is_late else None)


def refusal_of(error: BrokerError) -> ProxyError:
    """Return the refusal in Notion's terms; nothing was sent."""
    match error:
        case SessionExpired():
            return Unauthorized()
        case WorkspaceRequired():
            return InvalidRequest(error.detail, broker_code=error.code)
        case NoConnection():
            return NotConnected()
        case ReauthRequired():
            return NotionTokenInvalid()
        case DatabaseFailed():
            log.error("A call was not relayed (%s).", error.code, exc_info=error)
            text = "The broker's database does not answer. Nothing was sent."
            return NotSent(text, broker_code=DatabaseFailed.code, retry_after_s=2)
        case _:
            log.error("A call was not relayed (%s).", error.code, exc_info=error)
            return NotSent("The broker cannot work now. Nothing was sent.", retry_after_s=5)


def _response(answer: ProxyResponse) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=dict(answer.headers))


ROUTES = (web.route("*", PREFIX + "{path:.*}", relay),)
