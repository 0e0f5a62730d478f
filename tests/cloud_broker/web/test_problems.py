"""Around every handler: problems, request ids, access lines, size limits."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from cloud_broker.cluster.cluster import single_process
from cloud_broker.errors import BrokerError, Kind, TooManyRequests
from cloud_broker.monitoring.logs import JsonLines
from cloud_broker.proxy.errors import LimitReached
from cloud_broker.proxy.responses import from_refusal
from cloud_broker.randomness import SystemRandomness
from cloud_broker.web import health
from cloud_broker.web.drain import Drain
from cloud_broker.web.keys import CLUSTER, DRAIN
from cloud_broker.web.problems import STATUS, problems, request_ids
from tests.clocks import ManualClock
from tests.cloud_broker.broker_stage import BrokerStage
from tests.servers.broker_database import open_kept


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    access = logging.getLogger("aiohttp.access")  # off in the product too: see logs.set_up
    access.disabled = True
    yield stream
    access.disabled = False
    root.setLevel(level)
    root.removeHandler(handler)


def parsed(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("PUT", "/healthz", 405, "method_not_allowed"),
        ("DELETE", "/api/auth/sessions/x", 401, "session_expired"),
        ("GET", "/api/auth/notion", 400, "invalid_input"),
        ("GET", "/api/auth/notion/callback", 400, "login_expired"),
    ],
)
async def test_every_refusal_is_a_problem_with_its_code(
    stage: BrokerStage, method: str, path: str, status: int, code: str
) -> None:
    answer = await stage.browser.request(method, path)
    body = await answer.json()
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert (body["code"], body["status"]) == (code, status)
    assert body["type"] == f"urn:clipper:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["X-Request-Id"]


async def test_a_wrong_method_names_the_right_ones(stage: BrokerStage) -> None:
    answer = await stage.browser.post("/healthz")
    assert "GET" in answer.headers["Allow"]


async def test_a_body_that_is_not_json_is_unsupported(stage: BrokerStage) -> None:
    answer = await stage.browser.post("/api/auth/token", data=b"<xml/>")
    assert (answer.status, (await answer.json())["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("raw", [b"{", b"", b"\xff", b"[" * 50_000])
async def test_broken_json_is_invalid(stage: BrokerStage, raw: bytes) -> None:
    answer = await stage.browser.post(
        "/api/auth/token", data=raw, headers={"Content-Type": "application/json"}
    )
    assert (answer.status, (await answer.json())["code"]) == (400, "invalid_input")


async def test_a_body_that_is_too_large_is_refused(stage: BrokerStage) -> None:
    answer = await stage.browser.post("/api/auth/token", json={"token": "x" * 70_000})
    assert (answer.status, (await answer.json())["code"]) == (413, "too_large")


async def test_headers_of_more_than_64_kb_are_refused(stage: BrokerStage) -> None:
    headers = {f"X-{number}": "x" * 7000 for number in range(10)}
    answer = await stage.browser.get("/healthz", headers=headers)
    assert (answer.status, (await answer.json())["code"]) == (431, "headers_too_large")


async def test_a_given_request_id_is_kept_when_it_is_harmless(stage: BrokerStage) -> None:
    kept = await stage.browser.get("/healthz", headers={"X-Request-Id": "abc-12345678"})
    replaced = await stage.browser.get("/healthz", headers={"X-Request-Id": "<script>"})
    assert kept.headers["X-Request-Id"] == "abc-12345678"
    assert replaced.headers["X-Request-Id"] != "<script>"


async def test_an_unexpected_failure_tells_the_caller_nothing(lines: io.StringIO) -> None:
    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError("canary in a message")

    app = web.Application(middlewares=[request_ids(ManualClock(), SystemRandomness()), problems])
    app.router.add_get("/broken", broken)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/broken?canary=1")
        body = await answer.text()
    assert answer.status == 500
    assert json.loads(body)["code"] == "internal"
    assert "canary" not in body + lines.getvalue()
    (failure,) = [line for line in parsed(lines) if line["level"] == "error"]
    assert failure["exception"] == "RuntimeError"
    assert failure["request_id"] == json.loads(body)["request_id"]


@pytest.mark.parametrize(("wait_s", "told"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.5, 60)])
async def test_a_wait_is_told_in_whole_seconds_rounded_up_and_never_as_none(
    wait_s: float, told: int
) -> None:
    async def crowded(_: web.Request) -> web.Response:
        raise TooManyRequests("Wait.", retry_after=wait_s)

    app = web.Application(middlewares=[request_ids(ManualClock(), SystemRandomness()), problems])
    app.router.add_get("/crowded", crowded)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/crowded")
        assert (await answer.json())["retry_after"] == told
    assert answer.headers["Retry-After"] == str(told)
    refused = from_refusal(LimitReached(retry_after_s=wait_s), "request")
    assert refused.headers["Retry-After"] == str(told)


async def test_a_whole_sign_in_leaves_no_secret_in_the_log(
    stage: BrokerStage, lines: io.StringIO
) -> None:
    answer = await stage.sign_in()
    await stage.refresh(answer["refresh_token"])
    await stage.get("/api/user/me?email=ada@example.org", answer["access_token"])
    logged = lines.getvalue()
    for secret in ("canary", "good-code", "daemon-state", answer["access_token"], "ada@example"):
        assert secret not in logged
    assert answer["refresh_token"] not in logged
    routes = {line["route"] for line in parsed(lines) if "route" in line}
    assert "/api/auth/notion/callback" in routes


async def test_a_stopping_broker_is_not_ready_but_alive(stage: BrokerStage) -> None:

    stage.app[DRAIN].begin()
    assert (await stage.browser.get("/healthz")).status == 200
    ready = await stage.browser.get("/readyz")
    assert (ready.status, (await ready.json())["checks"]["accepting"]) == (503, False)


async def test_without_its_database_a_broker_is_not_ready(tmp_path: Path) -> None:
    database = await open_kept(tmp_path)
    await database.close()
    app = web.Application()
    app[health.READINESS] = health.Readiness(database)
    app[DRAIN] = Drain()
    app[CLUSTER] = single_process()
    app.router.add_routes(health.ROUTES)
    async with TestClient(TestServer(app)) as client:
        ready = await client.get("/readyz")
        assert (ready.status, (await ready.json())["checks"]["database"]) == (503, False)


def test_every_kind_of_error_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


def test_every_error_has_a_code_of_its_own() -> None:
    def tree(kind: type[BrokerError]) -> list[type[BrokerError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]

    codes = [kind.code for kind in tree(BrokerError)]
    assert len(codes) == len(set(codes))
