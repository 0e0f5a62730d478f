"""Every route is documented as it is enforced, and refuses callers without its scope."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import clipperd.web.app
import clipperd.web.handlers
from clipperd.web.app import ROUTES, SHELL_ROUTES
from clipperd.web.openapi import document
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


async def test_the_description_is_valid_and_whole(api: MiddlewareStage) -> None:
    status, body, _ = await api.call("GET", "/v1/openapi.json")
    assert status == 200
    OpenAPIV31SpecValidator(body).validate()
    described = {(method.upper(), path) for path, item in body["paths"].items() for method in item}
    assert described == {(route.method, re.sub(r":[^{}]*}", "}", route.path)) for route in ALL}


def test_the_description_holds_every_scope_code_and_reason() -> None:
    reasons = {"heading_gone": "The heading is no longer there."}
    described = document(ALL, version="1", reasons=reasons)
    assert described["x-reasons"] == reasons
    assert {"read", "clip", "admin"} == set(described["x-scopes"])
    assert {"internal", "host_refused", "body_too_large"} <= set(described["x-codes"])
    for route in ALL:
        item = described["paths"][re.sub(r":[^{}]*}", "}", route.path)][route.method.lower()]
        assert item["x-scope"] == route.scope
        assert bool(item["security"]) == (route.scope != "public")
        assert {error.code for error in route.errors} <= set(described["x-codes"])
