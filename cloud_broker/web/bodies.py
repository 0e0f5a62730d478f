"""Reading requests and giving answers: the one form that JSON takes here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from cloud_broker.errors import BodyTooSlow, InvalidInput, SessionExpired, UnsupportedMedia
from cloud_broker.identity.sessions import Claims
from cloud_broker.web.keys import SESSIONS

S = TypeVar("S")
BODY_MAX_BYTES = 64 * 1024  # of these routes; the proxy's are larger
BODY_WITHIN_S = 30.0
_BEARER = "bearer "

Authorized = Callable[[web.Request, Claims], Awaitable[web.StreamResponse]]
Plain = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_coded(request: web.Request) -> bool:
    """Whether the body has a coding, and so another length and other bytes than stand in it.

    Nobody here needs one. Of a packed body that is cut off, the decoder says nothing.
    """
    codings = request.headers.getall("Content-Encoding", [])
    return any(coding.strip().lower() != "identity" for coding in codings)


async def read_raw(request: web.Request, max_bytes: int) -> bytes:
    """The body as it came. Raises UnsupportedMedia, BodyTooSlow, InvalidInput, aiohttp's 413."""
    if is_coded(request):
        raise UnsupportedMedia("The body must come without a Content-Encoding.")
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for chunk in request.content.iter_any():
                raw += chunk
                if len(raw) > max_bytes:
                    raise web.HTTPRequestEntityTooLarge(max_bytes, len(raw))
    except TimeoutError as error:
        raise BodyTooSlow("The body did not arrive within 30 seconds.") from error
    except web.RequestPayloadError:  # its chunks are none
        raise InvalidInput("The body cannot be read.") from None
    return bytes(raw)


async def read_body(request: web.Request, shape: type[S]) -> S:
    """Parse a JSON body into ``shape``.

    Raises InvalidInput naming the place, UnsupportedMedia, BodyTooSlow, or aiohttp's 413.
    """
    if request.content_type != "application/json":
        raise UnsupportedMedia("The body must be application/json.")
    raw = await read_raw(request, BODY_MAX_BYTES)
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError as error:
        # Not chained: the cause may quote the body.
        raise InvalidInput(
            "The body is not of the documented form.", errors=[_fault(error)]
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("The body is not valid JSON.") from None


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Render ``value`` as JSON that nobody caches."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type="application/json",
    )


def signed_in(handler: Authorized) -> Plain:
    """Let a handler be called with a live session's claims only."""

    async def authorized(request: web.Request) -> web.StreamResponse:
        return await handler(request, await claims_of(request))

    return authorized


async def claims_of(request: web.Request) -> Claims:
    """The claims of the request's bearer token. Raises SessionExpired."""
    header = request.headers.get("Authorization", "")
    if header[: len(_BEARER)].lower() != _BEARER:
        raise SessionExpired("This address needs an access token.")
    return await request.app[SESSIONS].verify(header[len(_BEARER) :].strip())


def _fault(error: msgspec.ValidationError) -> dict[str, str]:
    _, _, where = str(error).partition(" - at `")
    pointer = where.rstrip("`").lstrip("$").replace("[...]", "/*").replace(".", "/")
    return {"pointer": pointer or "/", "code": "invalid"}
