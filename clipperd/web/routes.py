"""What a route is, and how handlers read requests and give answers.

Every route module exports ``ROUTES``; ``web/app.py`` registers them, enforces their scope, and
``web/openapi.py`` describes them. A handler is short: parse, one call, render.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

import msgspec
from aiohttp import web

from clipperd.errors import (
    BrokerUnreachable,
    ClipperdError,
    InvalidInput,
    ReadFailed,
    ReauthRequired,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RouteScope = Literal["public", "read", "clip", "admin"]
S = TypeVar("S", bound=msgspec.Struct)

NOTION_ID: Mapping[str, Any] = {
    "type": "string",
    "pattern": "^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$",
}
"""The schema of an id of Notion's, as ``model.notion_id`` reads it."""

NOTION_ERRORS = (BrokerUnreachable, ReadFailed, ReauthRequired)
"""The errors of every route that reads from Notion."""

WORKSPACE: Mapping[str, Mapping[str, Any]] = {"X-Workspace-Id": NOTION_ID}
"""The header that names a workspace; without it the current one is meant."""


class Route(msgspec.Struct, frozen=True):
    """One method and path of the API, with all that enforcement and documentation need."""

    method: str
    path: str
    handler: Handler
    scope: RouteScope
    summary: str
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    answers: Mapping[int, Any] = msgspec.field(default_factory=lambda: {200: None})
    errors: tuple[type[ClipperdError], ...] = ()
    raw_body: bool = False  # the body is bytes, not JSON (blobs, pass-through)
    form_bytes: int | None = None  # the body is a form of so many bytes, which the handler reads
    headers: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict)
    """Request headers that the handler reads, each with its JSON schema."""
    is_notions: bool = False  # Notion's answer is handed on; errors are in its words


class Caller(msgspec.Struct, frozen=True):
    """Who is asking: the owner or a named client, and what it may do."""

    client_id: str
    name: str
    scopes: frozenset[str]

    def may(self, scope: RouteScope) -> bool:
        """Say whether this caller holds ``scope``; admin holds all."""
        return scope == "public" or scope in self.scopes or "admin" in self.scopes


CALLER = web.RequestKey("caller", Caller)


async def parse_body(request: web.Request, shape: type[S]) -> S:
    """Parse the JSON body into ``shape``. Raises InvalidInput naming the place."""
    raw = await request.read()
    if not raw:
        raw = b"{}"
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError as error:
        raise _invalid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("The body is not valid JSON.") from error


def parse_query(request: web.Request, shape: type[S]) -> S:
    """Parse the query string into ``shape``, converting numbers and booleans from text."""
    try:
        return msgspec.convert(dict(request.query), type=shape, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error) from error


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Render ``value`` (msgspec Struct, dict, list) as JSON."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def _invalid(error: msgspec.ValidationError) -> InvalidInput:
    text = str(error)
    what, _, where = text.partition(" - at `")
    what = what.partition(" '")[0]  # "Invalid enum value 'what was sent'"
    pointer = where.rstrip("`").lstrip("$").replace("[...]", "/*").replace("[", "/")
    pointer = pointer.replace("]", "").replace(".", "/")
    return InvalidInput(what + ".", errors=[{"pointer": pointer or "/", "code": "invalid"}])
