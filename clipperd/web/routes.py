"""The route type, and the functions by which handlers parse requests and render responses.

Every handler module exports ``ROUTES``: ``web/app.py`` registers them, ``web/openapi.py``
describes them. A handler is short: parse, one call, render.
"""

from __future__ import annotations

import re
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
    invalid,
)
from clipperd.storage.text import decode_json

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RouteScope = Literal["public", "read", "clip", "admin"]
_MEMBER = re.compile(r"(unknown|required) field `(.*)`", re.DOTALL)
_STEP = re.compile(r"[.\[]([^.\[\]`]+)")

S = TypeVar("S", bound=msgspec.Struct)

NOTION_ID: Mapping[str, Any] = {
    "type": "string",
    "pattern": "^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$",
}
"""The schema of a Notion id, as ``model.notion_id`` parses it."""

NOTION_ERRORS = (BrokerUnreachable, ReadFailed, ReauthRequired)
"""The errors of every route that reads from Notion."""

WORKSPACE: Mapping[str, Mapping[str, Any]] = {"X-Workspace-Id": NOTION_ID}
"""The header that names a workspace; the default is the current one."""


class Route(msgspec.Struct, frozen=True):
    """One method and path of the API, with its scope and its documentation."""

    method: str
    path: str
    handler: Handler
    scope: RouteScope
    summary: str
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    answers: Mapping[int, Any] = msgspec.field(default_factory=lambda: {200: None})
    errors: tuple[type[ClipperdError], ...] = ()
    raw_body: bool = False  # the body is bytes, not JSON
    form_bytes: int | None = None  # the body is a form of at most so many bytes
    headers: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict)
    """Request headers that the handler reads, with their JSON schemas."""
    is_notions: bool = False  # passes Notion's response on; errors have Notion's format
    answer_headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Headers of the answer, each with a sentence."""
    calls: Mapping[str, str] | None = None
    """Paths that a path with a wildcard stands for, with their operation ids; None: its own."""


class Caller(msgspec.Struct, frozen=True):
    """The caller of a request: the owner or a named client, with its scopes."""

    client_id: str
    name: str
    scopes: frozenset[str]

    def may(self, scope: RouteScope) -> bool:
        """Return whether the caller has ``scope``; admin includes all scopes."""
        return scope == "public" or scope in self.scopes or "admin" in self.scopes


CALLER = web.RequestKey("caller", Caller)


async def parse_body(request: web.Request, shape: type[S]) -> S:
    """Parse the JSON body into ``shape``. Raises InvalidInput with a pointer to the fault."""
    raw = await request.read()
    if not raw:
        raw = b"{}"
    try:
        return decode_json(raw, shape)
    except msgspec.ValidationError as error:
        raise _invalid(error, _pointer) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("The body is not valid JSON.") from error


def parse_query(request: web.Request, shape: type[S]) -> S:
    """Parse the query string into ``shape``. Raises InvalidInput."""
    try:
        return msgspec.convert(dict(request.query), type=shape, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error, lambda names: {"parameter": "/".join(names)}) from error


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON response with ``value`` (msgspec Struct, dict, list)."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def _invalid(
    error: msgspec.ValidationError, place: Callable[[list[str]], str | Mapping[str, str]]
) -> InvalidInput:
    """Render msgspec's error; an unknown or missing member is named like a wrong one."""
    fault, _, path = str(error).partition(" - at `")
    names = _STEP.findall(path)
    code = "invalid"
    if member := _MEMBER.search(fault):
        names.append(member[2])
        code = "unknown" if member[1] == "unknown" else "required"
    else:
        fault = fault.partition(" '")[0]  # do not quote: "Invalid enum value 'the value'"
    return invalid(fault + ".", place(names), code)


def _pointer(names: list[str]) -> str:
    """Return the JSON pointer (RFC 6901); the empty one is the whole body."""
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
