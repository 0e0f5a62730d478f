"""Notion's API through the daemon: paths, scopes, unchanged answers, an official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notion_client import APIResponseError, AsyncClient

from clipperd.broker.reply import Reply
from clipperd.errors import (
    BrokerUnreachable,
    ClipperdError,
    InvalidInput,
    NotSignedIn,
    ReauthRequired,
)
from clipperd.model import Scope
from clipperd.web.handlers.notion import path_of
from tests.clipperd.web.middleware_stage import TOKEN, WORKSPACE, MiddlewareStage, running_api

PAGE = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MiddlewareStage]:
    async with running_api(tmp_path) as opened:
        yield opened


def sdk(api: MiddlewareStage, token: str = TOKEN) -> AsyncClient:
    return AsyncClient(auth=token, base_url=f"{api.url}/v1/notion", retry=False)


@pytest.mark.parametrize("prefix", ["/v1/notion/", "/v1/notion/v1/"])
async def test_a_read_is_handed_on_and_answered_as_notion_did(
    api: MiddlewareStage, prefix: str
) -> None:
    api.notion.reply = Reply(200, {"object": "page", "id": PAGE})
    status, body, response = await api.call("GET", f"{prefix}pages/{PAGE}?filter_properties=a")
    assert (status, body) == (200, {"object": "page", "id": PAGE})
    assert response.headers["Content-Type"].startswith("application/json")
    scope = Scope("user-1", WORKSPACE)
    assert api.notion.asked == [(scope, "GET", f"pages/{PAGE}", {"filter_properties": "a"}, None)]


async def test_the_callers_version_is_handed_on(api: MiddlewareStage) -> None:
    for version in (None, "2022-06-28"):
        headers = {} if version is None else {"Notion-Version": version}
        await api.call("GET", f"/v1/notion/pages/{PAGE}", headers=headers)
    assert api.notion.versions == [None, "2022-06-28"]
    bad = await api.call("GET", f"/v1/notion/pages/{PAGE}", headers={"Notion-Version": "x"})
    assert bad[0] == 400
    assert len(api.notion.versions) == 2


async def test_a_write_hands_its_bytes_on_as_they_are(api: MiddlewareStage) -> None:
    body = b'{ "children": [ {"x": 1.0} ] }'
    json = {"Content-Type": "application/json", "X-Workspace-Id": PAGE.replace("-", "")}
    await api.call("PATCH", f"/v1/notion/blocks/{PAGE}/children", data=body, headers=json)
    ((scope, method, path, _, sent),) = api.notion.asked
    assert scope.workspace_id == PAGE
    assert (method, path, sent) == ("PATCH", f"blocks/{PAGE}/children", body)


async def test_writes_need_admin_and_queries_do_not(api: MiddlewareStage) -> None:
    reader = await api.client("read", "clip")
    for path in ("search", f"data_sources/{PAGE}/query", f"v1/databases/{PAGE}/query"):
        call = await api.call("POST", f"/v1/notion/{path}", token=reader, json={})
        assert call[0] == 200
    for method, path in (
        ("POST", "pages"),
        ("PATCH", f"blocks/{PAGE}/children"),
        ("DELETE", f"v1/blocks/{PAGE}"),
        ("POST", f"data_sources/{PAGE}/query/x"),
    ):
        call = await api.call(method, f"/v1/notion/{path}", token=reader, json={})
        assert (call[0], call[1]["code"]) == (403, "restricted_resource")
        assert call[1]["additional_data"] == {"clipperd_code": "scope_missing"}
    assert len(api.notion.asked) == 3


async def test_notions_own_refusals_keep_their_words(api: MiddlewareStage) -> None:
    error = {"object": "error", "status": 429, "code": "rate_limited", "message": "slow"}
    api.notion.reply = Reply(429, error, "rate_limited", "limit_user", 2.4)
    status, body, response = await api.call("GET", "/v1/notion/users")
    assert (status, body) == (429, error)
    assert response.headers["Retry-After"] == "3"
    assert response.headers["X-Broker-Code"] == "limit_user"


@pytest.mark.parametrize(
    ("error", "status", "code", "own"),
    [
        (BrokerUnreachable("Off.", sent=False), 503, "service_unavailable", "broker_unreachable"),
        (BrokerUnreachable("Cut.", sent=True), 504, "gateway_timeout", "broker_unreachable"),
        (NotSignedIn("Sign in."), 401, "unauthorized", "not_signed_in"),
        (ReauthRequired("Again."), 401, "unauthorized", "reauth_required"),
    ],
)
async def test_the_daemons_own_refusals_speak_notions_language(
    api: MiddlewareStage, error: ClipperdError, status: int, code: str, own: str
) -> None:
    api.notion.reply = error
    got, body, _ = await api.call("GET", "/v1/notion/users")
    assert (got, body["status"], body["code"]) == (status, status, code)
    assert (body["object"], body["message"]) == ("error", error.detail)
    assert body["additional_data"] == {"clipperd_code": own}


async def test_a_write_whose_answer_was_lost_says_that_its_outcome_is_unknown(
    api: MiddlewareStage,
) -> None:
    api.notion.reply = BrokerUnreachable("Cut.", sent=True)
    status, body, response = await api.call("PATCH", "/v1/notion/pages/x", json={})
    assert (status, body["code"]) == (504, "gateway_timeout")
    assert response.headers["X-Broker-Code"] == "write_outcome_unknown"
    assert body["additional_data"]["broker_code"] == "write_outcome_unknown"
    assert body["request_id"] == response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "path",
    [
        "pages/../users",
        "pages/%2e%2e/users",
        "pages%2fx",
        "pages//x",
        "pages/",
        "pages/a%00",
        "pages/é",
        "pages/" + "a" * 65,
        "a/b/c/d/e/f/g",
        "pages/a;b",
    ],
)
async def test_odd_paths_reach_nobody(api: MiddlewareStage, path: str) -> None:
    with pytest.raises(InvalidInput):
        path_of(f"/v1/notion/{path}")


@pytest.mark.parametrize("data", [b"{", b"[]", b'"x"', b"[" * 100_000])
async def test_only_json_objects_are_handed_on(api: MiddlewareStage, data: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    status, _, _ = await api.call("POST", "/v1/notion/pages", data=data, headers=headers)
    assert status == 400
    bad = await api.call("GET", "/v1/notion/users", headers={"X-Workspace-Id": "x"})
    twice = await api.call("GET", "/v1/notion/users?a=1&a=2")
    assert (bad[0], twice[0]) == (400, 400)
    assert api.notion.asked == []


@given(st.text(max_size=80))
def test_a_path_is_taken_whole_and_plain_or_not_at_all(text: str) -> None:
    try:
        path = path_of(f"/v1/notion/{text}")
    except InvalidInput:
        return
    assert text.partition("?")[0] in (path, f"v1/{path}")
    assert path.isascii()
    assert not set(path) & set("%.?#\\;: \n")


async def test_the_official_sdk_works_against_it(api: MiddlewareStage) -> None:
    api.notion.reply = Reply(200, {"object": "list", "results": []})
    async with sdk(api) as notion:
        await notion.search(query="x")
        await notion.blocks.children.append(block_id=PAGE, children=[])
        await notion.blocks.delete(block_id=PAGE)
        await notion.pages.retrieve(page_id=PAGE)
    assert [(method, path) for _, method, path, _, _ in api.notion.asked] == [
        ("POST", "search"),
        ("PATCH", f"blocks/{PAGE}/children"),
        ("DELETE", f"blocks/{PAGE}"),
        ("GET", f"pages/{PAGE}"),
    ]


async def test_the_official_sdk_understands_the_daemons_refusals(api: MiddlewareStage) -> None:
    api.notion.reply = BrokerUnreachable("Off.", sent=False)
    async with sdk(api) as notion, sdk(api, "wrong") as stranger:
        with pytest.raises(APIResponseError) as offline:
            await notion.users.list()
        with pytest.raises(APIResponseError) as refused:
            await stranger.users.list()
    assert offline.value.code == "service_unavailable"
    assert refused.value.code == "unauthorized"
