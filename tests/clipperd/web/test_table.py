"""Every route is documented as it is enforced, and refuses callers without its scope."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

import clipperd.web.app
import clipperd.web.handlers
from clipperd.model import REASONS, State
from clipperd.web.app import ROUTES, SHELL_ROUTES
from clipperd.web.openapi import FILE, document, text
from clipperd.web.routes import Route
from tests.clipperd.web.middleware_stage import MiddlewareStage, running_api


def _every_route() -> tuple[Route, ...]:
    """The routes of every module below web/, so that a new module cannot be missed."""
    names = [
        module.name
        for package in (clipperd.web, clipperd.web.handlers)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        if not module.ispkg and module.name != clipperd.web.app.__name__
    ]
    modules = [importlib.import_module(name) for name in names]
    return tuple(route for module in modules for route in getattr(module, "ROUTES", ()))


ALL = _every_route()
OTHERS = tuple(route for route in ALL if route not in SHELL_ROUTES)
DESCRIBED = document(ROUTES)
CLOSED = [route for route in ALL if route.scope != "public"]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MiddlewareStage]:
    async with running_api(tmp_path, extra=OTHERS) as opened:
        yield opened


def path_to(route: Route) -> str:
    return re.sub(r"{[^{}]*}", "22222222-2222-4222-8222-222222222222", route.path)


async def call(api: MiddlewareStage, route: Route, **given: Any) -> tuple[int, Any]:
    status, body, response = await api.call(route.method, path_to(route), **given)
    assert response.headers["Content-Type"].startswith("application/problem+json"), route
    assert {"code", "title", "detail", "request_id", "status", "type"} <= set(body)
    return status, body


def test_no_module_is_left_out_of_the_api() -> None:
    assert {(route.method, route.path) for route in ROUTES} == {
        (route.method, route.path) for route in ALL
    }


def test_a_route_stands_once_in_the_table() -> None:
    keys = [(route.method, route.path) for route in ALL]
    assert len(keys) == len(set(keys))


async def test_without_a_token_every_closed_route_is_401(api: MiddlewareStage) -> None:
    for route in CLOSED:
        assert (await call(api, route, token=None))[0] == 401, route


async def test_with_too_small_a_scope_every_closed_route_is_403(api: MiddlewareStage) -> None:
    lacking = {
        "read": await api.client("clip"),
        "clip": await api.client("read"),
        "admin": await api.client("read", "clip"),
    }
    for route in CLOSED:
        assert (await call(api, route, token=lacking[route.scope]))[0] == 403, route


async def test_with_a_foreign_host_or_any_origin_every_route_is_403(api: MiddlewareStage) -> None:
    for route in ALL:
        for headers in (
            {"Host": "evil.example"},
            {"Host": f"localhost.evil.example:{api.port}"},
            {"Origin": "null"},
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            assert (await call(api, route, headers=headers))[0] == 403, (route, headers)


async def test_garbage_bodies_are_a_4xx_problem_on_every_write(api: MiddlewareStage) -> None:
    json = {"Content-Type": "application/json"}
    for route in ALL:
        if route.method == "GET" or route.raw_body or route.body is None:
            continue
        for data in (b"{", b"\xff", b"[1]", b"[" * 50_000, b'{"\\ud800": 1}', b'{"nobody": 1}'):
            status, _ = await call(api, route, data=data, headers=json)
            assert 400 <= status < 500, (route, data)
        status, _ = await call(api, route, data=b"{}", headers={"Content-Type": "text/plain"})
        assert status == 415, route


async def test_a_limit_out_of_range_is_a_problem_wherever_there_is_one(
    api: MiddlewareStage,
) -> None:
    for route in ALL:
        if route.query is None or "limit" not in route.query.__struct_fields__:
            continue
        for limit in ("0", "101", "-1", "x", "1e3", "%00", "9" * 40):
            status, body, _ = await api.call(route.method, f"{path_to(route)}?limit={limit}")
            assert (status, body["code"]) == (400, "invalid_input"), (route, limit)


async def test_the_daemon_serves_the_file_and_the_file_is_the_description(
    api: MiddlewareStage,
) -> None:
    status, body, _ = await api.call("GET", "/v1/openapi.json")
    assert (status, body) == (200, json.loads(FILE.read_bytes()))
    hint = "run: python -m clipperd.web.openapi"
    assert FILE.read_text("utf-8") == text(ROUTES), hint


def test_the_description_is_valid_and_whole() -> None:
    OpenAPIV31SpecValidator(DESCRIBED).validate()
    described = {
        (method.upper(), path): operation["operationId"]
        for path, item in DESCRIBED["paths"].items()
        for method, operation in item.items()
    }
    own = {
        (route.method, path)
        for route in ALL
        for path in ([route.path] if route.calls is None else route.calls)
    }
    assert described.keys() == own
    assert len(set(described.values())) == len(described)
    for name in described.values():
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name), name


def test_every_property_and_parameter_has_a_sentence_in_plain_text() -> None:
    for name, schema in DESCRIBED["components"]["schemas"].items():
        for member, each in schema.get("properties", {}).items():
            assert each.get("description"), f"describe {name}.{member} in web/vocabulary.py"
    for _, operation in _operations():
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], parameter["name"]
        assert operation["tags"]
    whole = json.dumps(DESCRIBED)
    assert "``" not in whole
    assert ":func:" not in whole


def test_no_schema_is_opaque() -> None:
    """An object that lists no members is one of Notion's, or a map."""
    for name, schema in DESCRIBED["components"]["schemas"].items():
        if schema.get("type") == "object" and not schema.get("properties"):
            assert schema.get("additionalProperties") is False, name


def test_every_body_and_answer_has_an_example_that_its_schema_accepts() -> None:
    for name, operation in _operations():
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for media, content in [pair for each in bodies for pair in each.get("content", {}).items()]:
            if media not in ("application/json", "text/event-stream"):
                continue
            if "Notion" in name and "example" not in content:
                continue  # Notion's own objects
            schema = content["schema"] | {"components": DESCRIBED["components"]}
            OAS31Validator(schema).validate(content["example"])


def _operations() -> list[tuple[str, dict[str, Any]]]:
    return [
        (operation["operationId"], operation)
        for item in DESCRIBED["paths"].values()
        for operation in item.values()
    ]


def test_the_description_holds_every_scope_code_and_reason() -> None:
    described = DESCRIBED
    schemas = described["components"]["schemas"]
    assert described["x-reasons"] == REASONS
    assert set(schemas["Reason"]["enum"]) == set(REASONS)
    assert set(schemas["State"]["enum"]) == set(State)
    assert set(schemas["QueueStatus"]["properties"]) >= set(State)
    assert set(schemas["Scope"]["enum"]) == set(described["x-scopes"])
    assert set(schemas["ErrorCode"]["enum"]) == set(described["x-codes"])
    assert {"read", "clip", "admin"} == set(described["x-scopes"])
    assert {"internal", "host_refused", "body_too_large"} <= set(described["x-codes"])
    for route in ALL:
        for path in [route.path] if route.calls is None else route.calls:
            item = described["paths"][path][route.method.lower()]
            assert item["x-scope"] == route.scope
            assert bool(item["security"]) == (route.scope != "public")
        assert {error.code for error in route.errors} <= set(described["x-codes"])
