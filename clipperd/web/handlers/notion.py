"""``/v1/notion/...``: passes calls of Notion's API through the session, for SDKs and the app.

The broker's allow-list decides which calls exist; this module checks only the form of the path.
An official SDK appends ``/v1/`` to its base URL, so both forms are served. Reads need the scope
read; writes need admin, because they bypass the queue.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

from clipperd.broker.client import SEGMENT
from clipperd.broker.reply import Reply
from clipperd.errors import (
    BrokerUnreachable,
    InvalidInput,
    NotSignedIn,
    ReauthRequired,
    WorkspaceMismatch,
    invalid,
)
from clipperd.notion.port import Call, Form
from clipperd.storage.text import decode_json
from clipperd.web.errors import FormExpected, FormTooLarge
from clipperd.web.keys import LIMITS, PASS_THROUGH
from clipperd.web.middleware.problems import NOTION_PREFIX
from clipperd.web.params import scope_of
from clipperd.web.routes import Route, RouteScope

_PATH = re.compile(rf"(?:v1/)?({SEGMENT}{{1,64}}(?:/{SEGMENT}{{1,64}}){{0,5}})", re.ASCII)

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def path_of(raw: str) -> str:
    """Return Notion's path from the undecoded request path. Raises InvalidInput.

    The raw path may not hold percent signs or dots: a decoded ``../`` could name another call
    than the checked one.
    """
    match = _PATH.fullmatch(raw.partition("?")[0].removeprefix(NOTION_PREFIX))
    if match is None:
        raise InvalidInput(
            "This is not a path of Notion's API.",
            hint="Use segments of letters, digits, - and _, for example pages/<id>.",
        )
    return match[1]


async def _forward(request: web.Request) -> web.Response:
    path = path_of(request.raw_path)
    query = dict(request.query)
    if len(query) != len(request.query):
        raise InvalidInput("A query parameter is repeated. Send each one once.")
    body = await request.read() if request.method != "GET" else b""
    if body:
        _check_json(body)
    scope = await scope_of(request)
    reply = await request.app[PASS_THROUGH].send(
        scope, Call(request.method, path, query, body or None, version=_version(request))
    )
    return _render(reply)


async def _send_part(request: web.Request) -> web.Response:
    """Stream one part of a file to Notion; keep none of it."""
    path = path_of(request.raw_path)
    scope = await scope_of(request)
    form = Form(request.headers["Content-Type"], request.content_length, _pieces(request))
    return _render(await request.app[PASS_THROUGH].upload(scope, path, form, _version(request)))


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body as it arrives. Raises FormTooLarge, HTTPRequestTimeout, InvalidInput."""
    size, within_s = 0, request.app[LIMITS].body_timeout_s
    try:
        while True:
            async with asyncio.timeout(within_s):
                piece = await request.content.readany()
            if not piece:
                return
            size += len(piece)
            if size > PART_BYTES:
                raise FormTooLarge(f"This form may have at most {PART_BYTES:,} bytes.")
            yield piece
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    except web.RequestPayloadError as error:
        raise InvalidInput("The body is not complete.") from error


def _check_json(body: bytes) -> None:
    try:
        decoded = decode_json(body, Any)  # the broker repairs it again before it sends it
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("The body is not valid JSON.") from error
    if not isinstance(decoded, dict):
        raise InvalidInput("The body is not a JSON object.")


def _version(request: web.Request) -> str | None:
    """Return the Notion-Version header; the broker decides which versions it supports."""
    version = request.headers.get("Notion-Version")
    if version is not None and not _VERSION.fullmatch(version):
        raise invalid(
            "Notion-Version must be a date, for example 2026-03-11.", {"header": "Notion-Version"}
        )
    return version


def _render(reply: Reply) -> web.Response:
    """Return Notion's response, or the broker's in Notion's form."""
    headers: dict[str, str] = {}
    if reply.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(reply.retry_after_s)))
    if reply.broker_code is not None:
        headers["X-Broker-Code"] = reply.broker_code
    return web.Response(
        body=msgspec.json.encode(reply.body),
        status=reply.status,
        headers=headers,
        content_type="application/json",
    )


PART_BYTES = (20 << 20) + (64 << 10)
"""A part of 20 MB and its form headers (https://developers.notion.com/docs/sending-larger-files)."""

_QUERIES = {
    "search": "searchNotion",
    "data_sources/{data_source_id}/query": "queryNotionDataSource",
    "databases/{database_id}/query": "queryNotionDatabase",
}
"""Reads that Notion accepts by POST."""

_CALLS: Mapping[str, Mapping[str, str]] = {
    "GET": {
        "users/me": "getNotionBot",
        "pages/{page_id}": "getNotionPage",
        "blocks/{block_id}": "getNotionBlock",
        "blocks/{block_id}/children": "listNotionBlocks",
        "databases/{database_id}": "getNotionDatabase",
        "data_sources/{data_source_id}": "getNotionDataSource",
        "file_uploads/{file_upload_id}": "getNotionFileUpload",
    },
    "POST": {
        "pages": "createNotionPage",
        "file_uploads": "createNotionFileUpload",
        "file_uploads/{file_upload_id}/complete": "completeNotionFileUpload",
    },
    "PATCH": {
        "pages/{page_id}": "updateNotionPage",
        "blocks/{block_id}": "trashNotionBlock",
        "blocks/{block_id}/children": "appendNotionBlocks",
    },
    "DELETE": {"blocks/{block_id}": "deleteNotionBlock"},
}
"""The broker's allow-list beside the queries, for the description: the broker decides."""


def _routes() -> list[Route]:
    routes = []
    for prefix in ("/v1/notion/", "/v1/notion/v1/"):  # the description names the first only
        described = prefix == "/v1/notion/"
        for path, name in _QUERIES.items():
            calls = {prefix + path: name} if described else {}
            routes.append(_route("POST", prefix + path, "read", "A query of Notion's API", calls))
        part = prefix + "file_uploads/{file_upload_id}/send"
        routes.append(_part_route(part, {part: "sendNotionFilePart"} if described else {}))
        for method, names in _CALLS.items():
            scope: RouteScope = "read" if method == "GET" else "admin"
            summary = (
                "A read of Notion's API"
                if method == "GET"
                else "A write of Notion's API, in order with the page's clips"
            )
            calls = {prefix + path: name for path, name in names.items()} if described else {}
            routes.append(_route(method, prefix + "{path:.+}", scope, summary, calls))
    return routes


def _route(
    method: str, path: str, scope: RouteScope, summary: str, calls: Mapping[str, str]
) -> Route:
    return Route(
        method,
        path,
        _forward,
        scope,
        summary,
        answers={200: dict[str, Any]},
        errors=_ERRORS,
        headers=_HEADERS,
        is_notions=True,
        calls=calls,
    )


def _part_route(path: str, calls: Mapping[str, str]) -> Route:
    return Route(
        "POST",
        path,
        _send_part,
        "admin",
        "Send one part of a file as a form",
        answers={200: dict[str, Any]},
        errors=(*_ERRORS, FormExpected, FormTooLarge),
        form_bytes=PART_BYTES,
        headers=_HEADERS,
        is_notions=True,
        calls=calls,
    )


_ERRORS = (InvalidInput, NotSignedIn, ReauthRequired, WorkspaceMismatch, BrokerUnreachable)
_HEADERS = {"Notion-Version": {"type": "string", "pattern": f"^{_VERSION.pattern}$"}}


ROUTES: tuple[Route, ...] = tuple(_routes())
