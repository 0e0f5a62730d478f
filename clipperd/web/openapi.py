"""``GET /v1/openapi.json``: describes the API from its route table."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from clipperd.errors import ClipperdError, InvalidInput, StorageFull
from clipperd.web.errors import (
    HostRefused,
    OriginRefused,
    ScopeMissing,
    TokenInQuery,
    TooManyAttempts,
    TooManyConnections,
    Unauthenticated,
)
from clipperd.web.keys import OPENAPI
from clipperd.web.middleware.problems import HTTP, MEDIA_TYPE, STATUS, NotionProblem, Problem
from clipperd.web.routes import NOTION_ID, WORKSPACE, Route

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"{(\w+)(?::[^{}]*)?}")
_SCOPED = re.compile(r"/v1/(pages|outlines|data_sources|notion)\b")
_EVERYWHERE = (HostRefused, OriginRefused, TooManyConnections)
_GUARDED = (Unauthenticated, TooManyAttempts, TokenInQuery, ScopeMissing)
_OURS = frozenset({"clip_id", "client_id", "login_id", "path"})
"""Path parameters that are not Notion ids."""


def document(
    routes: Sequence[Route], *, version: str, reasons: Mapping[str, str]
) -> dict[str, Any]:
    """Build the OpenAPI 3.1 document. ``reasons``: the reasons of deliveries, with a sentence."""
    shapes = {shape for route in routes for shape in _shapes(route)} | {Problem, NotionProblem}
    ordered = sorted(shapes, key=lambda shape: shape.__qualname__)
    _, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clipperd",
            "version": version,
            "description": "The local API of clipperd, on 127.0.0.1 only. endpoint.json holds the "
            "address and the owner's token.",
        },
        "servers": [
            {
                "url": "http://127.0.0.1:{port}",
                "variables": {"port": {"default": "0", "description": "port of endpoint.json"}},
            }
        ],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "x-scopes": {
            "read": "read everything, change nothing",
            "clip": "create clips and act on them; does not include read",
            "admin": "everything; the token of endpoint.json has this scope",
        },
        "x-codes": _codes(),
        "x-reasons": dict(sorted(reasons.items())),
    }


def _shapes(route: Route) -> Iterator[type[msgspec.Struct]]:
    for shape in (route.body, *route.answers.values()):
        if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
            yield shape


def _schema(shape: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([shape], ref_template=_REF)
    return schema


def _operation(route: Route, path: str, components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route.method, path),
        "summary": route.summary,
        "x-scope": route.scope,
        "security": [] if route.scope == "public" else [{"bearer": [route.scope]}],
        "responses": {str(status): _answer(shape) for status, shape in route.answers.items()},
    }
    scoped = WORKSPACE if _SCOPED.match(path) else {}
    headers = [
        _parameter("header", name, schema, False)
        for name, schema in {**scoped, **route.headers}.items()
    ]
    parameters = [*_path_parameters(path), *_query_parameters(route, components), *headers]
    if parameters:
        operation["parameters"] = parameters
    if route.form_bytes is not None:
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": _FORM}}
    elif route.raw_body:
        operation["requestBody"] = {"content": {"application/octet-stream": {}}}
    elif route.is_notions and route.method != "GET":
        operation["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    elif route.body is not None:
        content = {"application/json": {"schema": _schema(route.body)}}
        operation["requestBody"] = {"content": content}
    if route.is_notions:
        operation["responses"]["default"] = _NOTIONS
        return operation
    for status, codes in _refusals(route, path).items():
        known = operation["responses"].setdefault(str(status), {"description": ""})
        known["description"] = ", ".join(codes)
        known.setdefault("content", {})[MEDIA_TYPE] = {"schema": _refusal(codes)}
    return operation


def _operation_id(method: str, path: str) -> str:
    words = re.findall(r"\w+", path.removeprefix("/v1"))
    return "_".join([method.lower(), *words])


def _parameter(place: str, name: str, schema: Mapping[str, Any], required: bool) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": dict(schema)}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        _parameter("path", name, {"type": "string"} if name in _OURS else NOTION_ID, True)
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(route: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one parameter per field; add the schemas of the fields to the components."""
    if route.query is None:
        return []
    _, found = msgspec.json.schema_components([route.query], ref_template=_REF)
    shape = found.pop(route.query.__name__)
    components.update(found)
    required = shape.get("required", [])
    return [
        _parameter("query", name, schema, name in required)
        for name, schema in shape["properties"].items()
    ]


def _answer(shape: Any) -> dict[str, Any]:
    if shape is None:
        return {"description": "Done"}
    if isinstance(shape, str):  # a media type: not JSON
        return {"description": "Done", "content": {shape: {"schema": {"type": "string"}}}}
    return {"description": "Done", "content": {"application/json": {"schema": _schema(shape)}}}


def _refusals(route: Route, path: str) -> dict[int, list[str]]:
    """Return the codes by status: those of the route and those of the middleware."""
    errors: set[type[ClipperdError]] = {*route.errors, *_EVERYWHERE}
    if route.scope != "public":
        errors.update(_GUARDED)
    by_status: dict[int, set[str]] = {500: {"internal"}}
    if route.method != "GET":
        errors.update((InvalidInput, StorageFull))
        for status in (408, 413, 415):
            by_status[status] = {HTTP[status][0]}
    if route.query is not None or "{" in path or _SCOPED.match(path):
        errors.add(InvalidInput)
    for error in errors:
        by_status.setdefault(STATUS[error.kind], set()).add(error.code)
    return {status: sorted(codes) for status, codes in sorted(by_status.items())}


def _refusal(codes: list[str]) -> dict[str, Any]:
    return {
        "allOf": [
            {"$ref": _REF.format(name="Problem")},
            {"properties": {"code": {"enum": codes}}},
        ]
    }


_FORM: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "string"}, "part_number": {"type": "string"}},
        "required": ["file"],
    }
}

_NOTIONS: dict[str, Any] = {
    "description": "An error of Notion, the broker or the daemon, in Notion's error format",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="NotionProblem")}},
    },
}


def _codes() -> dict[str, dict[str, Any]]:
    codes: dict[str, dict[str, Any]] = {
        code: {"status": status, "title": title} for status, (code, title, _) in HTTP.items()
    }
    codes["internal"] = {"status": 500, "title": ClipperdError.title}
    for error in every_error():
        codes.setdefault(error.code, {"status": STATUS[error.kind], "title": error.title})
    return dict(sorted(codes.items()))


def every_error() -> Iterator[type[ClipperdError]]:
    """Yield every loaded subclass of ClipperdError."""
    pending = list(ClipperdError.__subclasses__())
    while pending:
        error = pending.pop()
        pending.extend(error.__subclasses__())
        yield error


class Description:
    """Builds the document at the first request: it takes longer than the daemon's start."""

    def __init__(
        self, routes: Sequence[Route], *, version: str, reasons: Mapping[str, str]
    ) -> None:
        """As :func:`document`."""
        self._routes = tuple(routes)
        self._version = version
        self._reasons = dict(reasons)
        self._encoded: bytes | None = None

    async def encoded(self) -> bytes:
        """Return the JSON text."""
        if self._encoded is None:
            self._encoded = await asyncio.to_thread(self._build)
        return self._encoded

    def _build(self) -> bytes:
        built = document(self._routes, version=self._version, reasons=self._reasons)
        return msgspec.json.encode(built)


async def _openapi(request: web.Request) -> web.Response:
    body = await request.app[OPENAPI]()
    return web.Response(body=body, content_type="application/json")


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/openapi.json",
        _openapi,
        "read",
        "This OpenAPI document",
        answers={200: dict[str, Any]},
    ),
)
