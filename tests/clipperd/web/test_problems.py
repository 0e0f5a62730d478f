"""Every error is a problem that reveals no internal detail and no user content."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clipperd.errors import ClipperdError, Kind
from clipperd.web.handlers import clips, pages
from clipperd.web.middleware import problems
from clipperd.web.middleware.problems import STATUS
from clipperd.web.openapi import every_error
from tests.clipperd.web.middleware_stage import TOKEN, MiddlewareStage, raw_request, running_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MiddlewareStage]:
    async with running_api(tmp_path) as opened:
        yield opened


def test_every_kind_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


def test_every_error_has_a_code_and_a_title_of_its_own() -> None:
    for error in every_error():
        assert error.code != ClipperdError.code, error
        assert error.title != ClipperdError.title, error
        assert error.code == error.code.lower()


async def test_an_unknown_path_is_a_problem_after_the_token_is_right(api: MiddlewareStage) -> None:
    status, body, response = await api.call("GET", "/v1/nothing/here")
    assert status == 404
    assert response.headers["Content-Type"].startswith("application/problem+json")
    assert body["code"] == "not_found"
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert {"type", "title", "status", "detail"} <= set(body)
    assert (await api.call("GET", "/v1/nothing/here", token=None))[0] == 401


async def test_the_root_has_nothing_to_show_yet(api: MiddlewareStage) -> None:
    status, body, _ = await api.call("GET", "/", token=None)
    assert (status, body["code"]) == (404, "not_found")


async def test_a_wrong_method_names_the_right_ones(api: MiddlewareStage) -> None:
    status, body, response = await api.call("PUT", "/v1/clients")
    assert (status, body["code"]) == (405, "method_not_allowed")
    assert set(response.headers["Allow"].split(",")) == {"GET", "POST"}


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b"null", b'{"text":', b"\xff\xfe", b"[" * 100_000, b"NaN"],
)
async def test_garbage_is_invalid_input(api: MiddlewareStage, data: bytes) -> None:
    status, body, _ = await api.call(
        "POST", "/v1/sample", data=data, headers={"Content-Type": "application/json"}
    )
    assert (status, body["code"]) == (400, "invalid_input")


async def test_a_wrong_field_is_named(api: MiddlewareStage) -> None:
    _, body, _ = await api.call("POST", "/v1/sample", json={"text": 5})
    assert body["errors"] == [{"pointer": "/text", "code": "invalid"}]


@pytest.mark.parametrize(
    ("json", "place"),
    [
        ([], {"pointer": "", "code": "invalid"}),
        ({}, {"pointer": "/text", "code": "required"}),
        ({"text": "x", "a/b~`c": 1}, {"pointer": "/a~1b~0`c", "code": "unknown"}),
    ],
)
async def test_the_pointer_names_the_member(
    api: MiddlewareStage, json: Any, place: dict[str, str]
) -> None:
    _, body, _ = await api.call("POST", "/v1/sample", json=json)
    assert (body["code"], body["errors"]) == ("invalid_input", [place])


@pytest.mark.parametrize(
    ("path", "headers", "place"),
    [
        ("/v1/clips?limit=0", {}, {"parameter": "limit", "code": "invalid"}),
        ("/v1/clips?nope=1", {}, {"parameter": "nope", "code": "unknown"}),
        ("/v1/clips?since=now", {}, {"parameter": "since", "code": "invalid"}),
        ("/v1/clips?state=x", {}, {"parameter": "state", "code": "invalid"}),
        ("/v1/events?types=x", {}, {"parameter": "types", "code": "invalid"}),
        ("/v1/pages/x", {}, {"parameter": "id", "code": "invalid"}),
        ("/v1/pages", {"X-Workspace-Id": "x"}, {"header": "X-Workspace-Id", "code": "invalid"}),
    ],
)
async def test_a_value_outside_the_body_is_named_by_its_parameter_or_header(
    tmp_path: Path, path: str, headers: dict[str, str], place: dict[str, str]
) -> None:
    async with running_api(tmp_path, extra=(*clips.ROUTES, *pages.ROUTES)) as api:
        _, body, _ = await api.call("GET", path, headers=headers)
    assert (body["code"], body["errors"]) == ("invalid_input", [place])


async def test_retry_after_stands_in_header_and_body() -> None:
    class Later(ClipperdError):
        code, kind, title = "later", Kind.TOO_MANY, "Later"

    problem = problems.from_error(Later("Wait.", retry_after=1.2), "r")
    response = problems.respond(problem, "/v1/x")
    assert problem.retry_after == 2
    assert response.headers["Retry-After"] == "2"


async def test_a_bug_shows_only_its_id_and_logs_no_words_of_the_user(
    api: MiddlewareStage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        status, body, _ = await api.call("POST", "/v1/broken", json={"text": "CANARY-CLIP"})
    assert (status, body["code"]) == (500, "internal")
    assert body["request_id"] in caplog.text
    assert "RuntimeError" in caplog.text
    assert "_broken" in caplog.text
    for canary in ("CANARY", TOKEN):
        assert canary not in caplog.text
        assert canary not in str(body)


async def test_no_log_or_answer_holds_a_token_a_clip_or_an_address(
    api: MiddlewareStage, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "CANARY-bearer-CANARY"
    own = f"Host: 127.0.0.1:{api.port}"
    with caplog.at_level(logging.DEBUG):
        seen = [
            await api.call("GET", f"/v1/status?token={secret}"),
            await api.call("GET", "/v1/status", token=secret),
            await api.call("POST", "/v1/sample", json={"text": "CANARY", "CANARY": 1}),
            await api.call("POST", "/v1/sample", json={"text": 5, "CANARY-x": 1}),
            await api.call("GET", "/v1/sample/CANARY?q=CANARY"),
            await api.call("GET", "/v1/CANARY"),
            await api.call("POST", "/v1/hello", token=None, json={"nonce": "CANARY:x"}),
        ]
        for broken in (
            f"GET / HTTP/1.1\r\n{own}\r\nAuthorization: Bearer {secret}\x00\r\n\r\n",
            f"GET / HTTP/1.1\r\n{own}\r\nX: {secret * 500}\r\n\r\n",
            f"CANARY / HTTP/9\r\n{own}\r\n\r\n",
        ):
            await raw_request(api.port, broken.encode())
    assert "CANARY" not in caplog.text
    for _, body, _ in (seen[0], seen[1], seen[5], seen[6]):
        assert "CANARY" not in str(body)
