"""Reads request bodies and access tokens, and renders JSON responses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from cloud_broker.errors import BodyTooSlow, InvalidInput, SessionExpired, UnsupportedMedia
from cloud_broker.identity.sessions import Claims
from cloud_broker.proxy.bodies import decode_json
from cloud_broker.web.keys import SESSIONS

S = TypeVar("S")
BODY_MAX_BYTES = 64 * 1024  # of JSON routes other than the proxy's, whose bodies are larger
BODY_WITHIN_S = 30.0  # a slower client would hold a connection for too long
_BEARER = "bearer "

Authorized = Callable[[web.Request, Claims], Awaitable[web.StreamResponse]]
Plain = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_coded(request: web.Request) -> bool:
    """Whether the body has a Content-Encoding. The broker refuses those.

    Its decoded length is unknown in advance, and the decoder does not report a truncated body.
    """
    codings = request.headers.getall("Content-Encoding", [])
    return any(coding.strip().lower() != "identity" for coding in codings)


async def read_raw(request: web.Request, max_bytes: int) -> bytes:
    """Return the body. Raises UnsupportedMedia, BodyTooSlow, InvalidInput, or aiohttp's 413."""
    if is_coded(request):
        raise UnsupportedMedia("The body has a Content-Encoding. Send it without one.")
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for chunk in request.content.iter_any():
                raw += chunk
                if len(raw) > max_bytes:
                    raise web.HTTPRequestEntityTooLarge(max_bytes, len(raw))
    except TimeoutError as error:
        raise BodyTooSlow(
            "The body did not arrive within 30 seconds. Send the request again."
        ) from error
    except web.RequestPayloadError:  # its chunked framing is invalid
        raise InvalidInput("The body cannot be read: its framing is not valid HTTP.") from None
    return bytes(raw)


async def read_body(request: web.Request, shape: type[S]) -> S:
    """Parse a JSON body into ``shape``.

    Raises InvalidInput with the invalid place, UnsupportedMedia, BodyTooSlow, or aiohttp's 413.
    """
    if request.content_type != "application/json":
        raise UnsupportedMedia("The body must be application/json.")
    raw = await read_raw(request, BODY_MAX_BYTES)
    try:
        return decode_json(raw, shape)
    except msgspec.ValidationError as error:
        # Not chained: the cause may quote the body.
        raise InvalidInput(
            "The body is not of the documented form.", errors=[_fault(error)]
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("The body is not valid JSON.") from None


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Render ``value`` as JSON with ``no-store``."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type="application/json",
    )


def signed_in(handler: Authorized) -> Plain:
    """Wrap a handler that needs the claims of a live session."""

    async def authorized(request: web.Request) -> web.StreamResponse:
        return await handler(request, await claims_of(request))

    return authorized


async def claims_of(request: web.Request) -> Claims:
    """Return the claims of the request's access token. Raises SessionExpired."""
    header = request.headers.get("Authorization", "")
    if header[: len(_BEARER)].lower() != _BEARER:
        raise SessionExpired("The request has no access token. Send it as Authorization: Bearer.")
    return await request.app[SESSIONS].verify(header[len(_BEARER) :].strip())


def _fault(error: msgspec.ValidationError) -> dict[str, str]:
    _, _, where = str(error).partition(" - at `")
    pointer = where.rstrip("`").lstrip("$").replace("[...]", "/*").replace(".", "/")
    return {"pointer": pointer or "/", "code": "invalid"}
