"""Builds the OpenAPI document from the route table: ``python -m clipperd.web.openapi`` writes it.

The daemon serves the written file; a test compares it with a new one. ``web/schemas.py`` makes
the schemas, ``web/vocabulary.py`` holds the sentence and the example of each property.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import clipperd
from clipperd.errors import ClipperdError, InvalidInput, StorageFull
from clipperd.model import REASONS
from clipperd.web.errors import (
    HostRefused,
    OriginRefused,
    ScopeMissing,
    TokenInQuery,
    TooManyAttempts,
    TooManyConnections,
    Unauthenticated,
)
from clipperd.web.middleware.problems import (
    HTTP,
    MEDIA_TYPE,
    STATUS,
    NotionProblem,
)
from clipperd.web.routes import NOTION_ID, WORKSPACE, Route
from clipperd.web.schemas import Schema, Schemas, header, parameter
from clipperd.web.vocabulary import EXAMPLES, TAGS

FILE = Path(__file__).with_name("openapi.json")

_PARAMETER = re.compile(r"{(\w+)(?::[^{}]*)?}")
_SCOPED = re.compile(r"/v1/(pages|outlines|data_sources|notion)\b")
_EVERYWHERE = (HostRefused, OriginRefused, TooManyConnections)
_GUARDED = (Unauthenticated, TooManyAttempts, TokenInQuery, ScopeMissing)
_NOT_NOTIONS = frozenset({"clip_id", "client_id", "login_id"})
"""Path parameters that are not Notion ids."""

SCOPES = {
    "read": "read everything, change nothing",
    "clip": "create clips and act on them; does not include read",
    "admin": "everything; the token of endpoint.json has this scope",
}


def document(routes: Sequence[Route], *, version: str = clipperd.__version__) -> Schema:
    """Build the OpenAPI 3.1 document of ``routes``."""
    codes = _codes()
    schemas = Schemas(codes)
    paths: dict[str, Schema] = {}
    for route in routes:
        for path, name in _described(route):
            paths.setdefault(path, {})[route.method.lower()] = _operation(
                route, path, name, schemas
            )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clipperd",
            "version": version,
            "description": "The local API of clipperd, on 127.0.0.1 only. endpoint.json holds the "
            "address and the owner's token. docs/api.md says how the API may change.",
        },
        "servers": [
            {
                "url": "http://127.0.0.1:{port}",
                "variables": {"port": {"default": "0", "description": "port of endpoint.json"}},
            }
        ],
        "tags": [{"name": name, "description": text} for name, (text, _) in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "responses": dict(sorted(schemas.responses.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "x-scopes": SCOPES,
        "x-codes": codes,
        "x-reasons": dict(sorted(REASONS.items())),
    }


def _described(route: Route) -> Iterator[tuple[str, str]]:
    """Yield the paths that the document shows for the route, with their operation ids."""
    if route.calls is not None:
        yield from route.calls.items()
    else:
        first, *rest = route.handler.__name__.strip("_").split("_")
        yield _PARAMETER.sub(r"{\1}", route.path), first + "".join(map(str.title, rest))


def _operation(route: Route, path: str, name: str, schemas: Schemas) -> Schema:
    module = route.handler.__module__.rpartition(".")[2]
    scoped = WORKSPACE if _SCOPED.match(path) else {}
    parameters = [
        *(_path_parameter(each) for each in _PARAMETER.findall(path)),
        *schemas.parameters(route.query),
        *(
            parameter("header", header, schema, required=header == "If-Match")
            for header, schema in {**scoped, **route.headers}.items()
        ),
    ]
    operation: Schema = {
        "operationId": name,
        "summary": route.summary,
        "tags": [next(tag for tag, (_, modules) in TAGS.items() if module in modules)],
        "x-scope": route.scope,
        "security": [] if route.scope == "public" else [{"bearer": [route.scope]}],
    }
    if parameters:
        operation["parameters"] = parameters
    if (body := _request_body(route, name, schemas)) is not None:
        operation["requestBody"] = body
    operation["responses"] = responses = {
        str(status): _answer(route, shape, schemas) for status, shape in route.answers.items()
    }
    if route.is_notions:
        responses["default"] = _notions(schemas)
        return operation
    for status, codes in _refusals(route, path).items():
        if str(status) in responses:  # the sign-in page, whose errors are pages too
            responses[str(status)]["content"] |= schemas.refusal(codes)
        else:
            responses[str(status)] = schemas.refusal_response(status, codes)
    return operation


def _path_parameter(name: str) -> Schema:
    schema = {"type": "string"} if name in _NOT_NOTIONS else dict(NOTION_ID)
    return parameter("path", name, schema, required=True)


def _request_body(route: Route, name: str, schemas: Schemas) -> Schema | None:
    if route.form_bytes is not None:
        return {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
    if route.raw_body:
        return {"required": True, "content": {"application/octet-stream": {}}}
    if route.is_notions:
        if route.method in ("GET", "DELETE"):
            return None
        schema = {"type": "object", "additionalProperties": True}
        return {"content": {"application/json": {"schema": schema, "example": {}}}}
    if route.body is None:
        return None
    schema = schemas.of(route.body, is_request=True)
    example = EXAMPLES.get(name) or schemas.example(schema)
    return {
        "required": bool(schemas.resolved(schema).get("required")),
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _answer(route: Route, shape: Any, schemas: Schemas) -> Schema:
    answer: Schema = {"description": "Done"}
    if isinstance(shape, str):  # a media type that is not JSON
        answer["content"] = {shape: {"schema": {"type": "string"}}}
    elif shape is not None:
        schema = schemas.of(shape)
        media = "text/event-stream" if schema.get("$ref", "").endswith("/Event") else None
        answer["content"] = {
            media or "application/json": {"schema": schema, "example": schemas.example(schema)}
        }
        if media:
            answer["description"] = "A stream of events; the schema is that of one event."
        if schema.get("$ref", "").endswith("/ClipView"):
            answer["headers"] = {
                "ETag": header("The clip's version, for If-Match", {"type": "string"})
            }
    for name, text in route.answer_headers.items():
        answer.setdefault("headers", {})[name] = header(text, {"type": "string"})
    return answer


def _notions(schemas: Schemas) -> Schema:
    schema = schemas.of(NotionProblem)
    return {
        "description": "An error of Notion, the broker or the daemon, in Notion's error format",
        "headers": {
            "Retry-After": header("Seconds to wait", {"type": "integer"}),
            "X-Broker-Code": header("The code of an error of the broker", {"type": "string"}),
        },
        "content": {
            "application/json": {"schema": {"type": "object", "additionalProperties": True}},
            MEDIA_TYPE: {"schema": schema, "example": schemas.example(schema)},
        },
    }


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


_FORM: Schema = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "description": "The bytes of the part"},
        "part_number": {"type": "string", "description": "Its number, from 1"},
    },
    "required": ["file"],
}


def _codes() -> dict[str, dict[str, Any]]:
    for module in pkgutil.walk_packages(clipperd.__path__, "clipperd."):
        if module.name.endswith(".errors"):
            importlib.import_module(module.name)
    codes: dict[str, dict[str, Any]] = {
        code: {"status": status, "title": title} for status, (code, title, _) in HTTP.items()
    }
    codes["internal"] = {"status": 500, "title": ClipperdError.title}
    for error in sorted(every_error(), key=lambda each: each.__qualname__):
        if error.__module__.startswith("clipperd."):
            codes.setdefault(error.code, {"status": STATUS[error.kind], "title": error.title})
    return dict(sorted(codes.items()))


def every_error() -> Iterator[type[ClipperdError]]:
    """Yield every loaded subclass of ClipperdError."""
    pending = list(ClipperdError.__subclasses__())
    while pending:
        error = pending.pop()
        pending.extend(error.__subclasses__())
        yield error


def text(routes: Sequence[Route]) -> str:
    """Return the text of the file."""
    return json.dumps(document(routes), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    from clipperd.web.app import ROUTES

    FILE.write_text(text(ROUTES), "utf-8")
