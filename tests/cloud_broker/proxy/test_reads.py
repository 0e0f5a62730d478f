"""Reads: forwarded calls, retries, and the caller's answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from tests.cloud_broker.proxy.proxy_stage import (
    BLOCK,
    CANARY,
    PAGE,
    PROXY,
    Held,
    ProxyStage,
    a_proxy,
    an_error,
    drops,
    says,
)


async def test_a_page_is_read_with_headers_built_from_nothing(proxy: ProxyStage) -> None:
    answer = await proxy.call(
        "GET", f"pages/{PAGE}", headers={"X-Evil": "1", "Cookie": "a=b", "User-Agent": "me"}
    )
    assert answer.status == 200
    assert proxy.upstream.seen == [("GET", f"/v1/pages/{PAGE}")]
    sent = proxy.upstream.requests[0]["headers"]
    assert set(sent) == {
        "Host",
        "Authorization",
        "Notion-Version",
        "User-Agent",
        "Accept",
        "Accept-Encoding",
    }
    assert sent["Authorization"] == f"Bearer {CANARY}_1"
    assert sent["Notion-Version"] == "2026-03-11"


async def test_response_headers_are_allow_listed(proxy: ProxyStage) -> None:
    proxy.upstream.script = [
        says(200, {"object": "page"}, Set_Cookie="a=b", x_notion_request_id="r-1", X_Other="1")
    ]
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert answer.headers["x-notion-request-id"] == "r-1"
    assert "no-store" in answer.headers["Cache-Control"]
    assert not {"Set-Cookie", "X-Other"} & set(answer.headers)


async def test_a_read_may_open_a_row_of_a_moment_ago_and_a_write_may_not(proxy: ProxyStage) -> None:
    for method, path in (("GET", f"pages/{PAGE}"), ("POST", "search")):
        await proxy.call(method, path, json={} if method == "POST" else None)
        assert not proxy.tokens.asked_fresh
    await proxy.append()
    assert proxy.tokens.asked_fresh


async def test_both_prefixes_lead_to_the_same_place(proxy: ProxyStage) -> None:
    plain = PROXY.removesuffix("v1/")
    answer = await proxy.client.get(
        f"{plain}blocks/{PAGE.replace('-', '')}/children?page_size=500",
        headers={"Authorization": "Bearer ada"},
    )
    assert answer.status == 200
    assert proxy.upstream.seen == [("GET", f"/v1/blocks/{PAGE}/children?page_size=100")]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
async def test_a_read_is_asked_again_after_a_passing_failure(
    proxy: ProxyStage, status: int
) -> None:
    proxy.upstream.script = [says(status), drops()]
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert answer.status == 200
    assert len(proxy.upstream.seen) == 3


async def test_after_three_retries_notions_own_answer_is_passed_on(proxy: ProxyStage) -> None:
    proxy.upstream.always = says(503)
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert (answer.status, (await answer.json())["code"]) == (503, "service_unavailable")
    assert len(proxy.upstream.seen) == 4


@pytest.mark.parametrize("status", [400, 403, 404, 409])
async def test_a_refusal_of_notion_is_passed_on_once(proxy: ProxyStage, status: int) -> None:
    proxy.upstream.always = says(status)
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert (answer.status, await answer.json()) == (status, an_error(status))
    assert "X-Broker-Code" not in answer.headers
    assert len(proxy.upstream.seen) == 1


async def test_notions_429_is_waited_for_when_short(proxy: ProxyStage) -> None:
    proxy.upstream.script = [says(429, Retry_After="2")]
    begun = proxy.clock.monotonic()
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert answer.status == 200
    assert proxy.clock.monotonic() - begun >= 2


async def test_notions_long_429_is_passed_on_and_pauses_the_connection(proxy: ProxyStage) -> None:
    proxy.upstream.script = [says(429, Retry_After="45")]
    first = await proxy.call("GET", f"pages/{PAGE}")
    assert (first.status, first.headers["Retry-After"]) == (429, "45")
    assert "X-Broker-Code" not in first.headers
    second = await proxy.call("GET", f"blocks/{BLOCK}")
    assert second.status == 429
    assert second.headers["X-Broker-Code"] == "limit_connection"
    assert 1 <= int(second.headers["Retry-After"]) <= 45
    other = await proxy.call("GET", f"blocks/{BLOCK}", user="bob")
    assert other.status == 200
    assert len(proxy.upstream.seen) == 2


async def test_a_workspaces_429_pauses_every_connection_to_it(proxy: ProxyStage) -> None:
    body = an_error(429, rate_limit_reason="public_api_space_request_rate_limit")
    proxy.upstream.script = [says(429, body, Retry_After="300")]
    await proxy.call("GET", f"pages/{PAGE}")
    other = await proxy.call("GET", f"pages/{PAGE}", user="bob")
    assert (other.status, other.headers["X-Broker-Code"]) == (429, "limit_connection")


async def test_an_endpoints_429_pauses_that_endpoint_only(proxy: ProxyStage) -> None:
    body = an_error(429, rate_limit_reason="public_api_endpoint_rate_limit")
    proxy.upstream.script = [says(429, body, Retry_After="300")]
    await proxy.call("POST", "search", json={})
    assert (await proxy.call("POST", "search", json={})).status == 429
    assert (await proxy.call("GET", f"pages/{PAGE}")).status == 200


async def test_a_blocked_connection_is_not_asked_again(proxy: ProxyStage) -> None:
    body = an_error(429, rate_limit_reason="public_api_request_blocked")
    proxy.upstream.script = [says(429, body, Retry_After="1")]
    assert (await proxy.call("GET", f"pages/{PAGE}")).status == 429
    assert len(proxy.upstream.seen) == 1


async def test_a_401_is_refreshed_once_and_sent_again(proxy: ProxyStage) -> None:
    proxy.upstream.script = [says(401)]
    assert (await proxy.call("GET", f"pages/{PAGE}")).status == 200
    assert proxy.upstream.requests[1]["headers"]["Authorization"].endswith("_2")


async def test_a_second_401_says_that_the_grant_is_gone(proxy: ProxyStage) -> None:
    proxy.upstream.always = says(401)
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert answer.status == 401
    assert answer.headers["X-Broker-Code"] == "NOTION_TOKEN_INVALID"
    assert len(proxy.upstream.seen) == 2


async def test_a_token_that_was_kept_may_be_two_behind(proxy: ProxyStage) -> None:
    proxy.tokens.keeps = True
    proxy.upstream.script = [says(401), says(401)]  # a person had connected again, and that is over
    assert (await proxy.call("GET", f"pages/{PAGE}")).status == 200
    assert proxy.tokens.refreshed == 2
    proxy.upstream.always = says(401)
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert answer.headers["X-Broker-Code"] == "NOTION_TOKEN_INVALID"
    assert proxy.tokens.refreshed == 4
    written = await proxy.append(proxy.key())  # read anew: once is enough to know
    assert written.headers["X-Broker-Code"] == "NOTION_TOKEN_INVALID"
    assert proxy.tokens.refreshed == 5


async def test_an_ended_grant_is_said_so(proxy: ProxyStage) -> None:
    proxy.tokens.grant_ended = True
    proxy.upstream.always = says(401)
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert answer.headers["X-Broker-Code"] == "NOTION_TOKEN_INVALID"
    assert (await answer.json())["code"] == "unauthorized"


async def test_nobody_waits_longer_than_the_deadline_for_a_refresh(proxy: ProxyStage) -> None:
    proxy.tokens.stuck = asyncio.Event()
    proxy.upstream.always = says(401)
    begun = proxy.clock.monotonic()
    reading = asyncio.ensure_future(proxy.call("GET", f"pages/{PAGE}"))
    writing = asyncio.ensure_future(proxy.append(proxy.key()))
    answers = await asyncio.gather(reading, writing)
    assert proxy.clock.monotonic() - begun >= 30  # the default of BROKER_ANSWER_WITHIN_S
    signs = [answer.headers["X-Broker-Code"] for answer in answers]
    assert signs[0] == "upstream_unavailable"
    assert signs[1] in ("upstream_unavailable", "in_progress")  # whichever is a little sooner
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)


@pytest.mark.parametrize("token", ["", "Basic x", "Bearer expired"])
async def test_without_a_live_session_nothing_is_sent(proxy: ProxyStage, token: str) -> None:
    answer = await proxy.client.get(f"{PROXY}pages/{PAGE}", headers={"Authorization": token})
    assert (answer.status, answer.headers["X-Broker-Code"]) == (401, "session_expired")
    body = await answer.json()
    assert (body["object"], body["code"]) == ("error", "unauthorized")
    assert body["additional_data"] == {"broker_code": "session_expired"}
    assert proxy.upstream.seen == []


async def test_another_accounts_workspace_looks_like_none(proxy: ProxyStage) -> None:
    answer = await proxy.call("GET", f"pages/{PAGE}", headers={"X-Workspace-Id": PAGE})
    assert (answer.status, answer.headers["X-Broker-Code"]) == (403, "no_connection")
    assert proxy.upstream.seen == []


async def test_a_garbled_answer_is_a_bad_gateway(proxy: ProxyStage) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>gateway</html>", content_type="text/html")

    proxy.upstream.always = page
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert (answer.status, answer.headers["X-Broker-Code"]) == (502, "bad_gateway")


async def test_an_unreachable_notion_is_an_overload_of_which_nothing_was_sent(
    tmp_path: Path,
) -> None:
    async with a_proxy(tmp_path, base_url="http://127.0.0.1:1") as proxy:
        answer = await proxy.call("GET", f"pages/{PAGE}")
        assert (answer.status, answer.headers["X-Broker-Code"]) == (529, "upstream_unavailable")


@pytest.mark.parametrize("status", [200, 400, 503])
async def test_a_token_that_a_gateway_echoes_does_not_get_out(
    proxy: ProxyStage, status: int
) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        sent = request.headers["Authorization"]
        body = {**an_error(status), "message": f"refused: {sent}"}
        return web.json_response(body, status=status, headers={"x-notion-request-id": sent})

    proxy.upstream.always = echo
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert answer.status == status
    assert (await answer.json())["message"] == "refused: Bearer [removed]"
    assert CANARY not in str(answer.headers)
    await proxy.audit.flush()
    async with proxy.database.reading() as tx:
        assert CANARY not in str(await tx.all("SELECT * FROM audit_log"))


async def test_a_redirect_is_not_followed(proxy: ProxyStage) -> None:
    proxy.upstream.always = says(302, {"object": "page"}, Location="/v1/users")
    answer = await proxy.call("GET", f"pages/{PAGE}", allow_redirects=False)
    assert answer.status == 502
    assert len(proxy.upstream.seen) == 1
    assert "Location" not in answer.headers


async def test_a_read_whose_caller_leaves_is_given_up(proxy: ProxyStage) -> None:
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    proxy.upstream.script = [hang]
    caller = asyncio.ensure_future(proxy.call("POST", "search", json={}))
    await arrived.wait()
    caller.cancel()
    await ended.wait()  # Notion's side sees the connection go
    assert (await proxy.call("GET", f"pages/{PAGE}")).status == 200


async def test_a_write_whose_caller_leaves_is_finished(proxy: ProxyStage) -> None:
    held = Held(proxy.upstream)
    caller = asyncio.ensure_future(proxy.append())
    await held.arrived.wait()
    caller.cancel()
    await proxy.client.get("/metrics")  # by now the server has seen the caller leave
    held.gate.set()
    await proxy.call("GET", f"pages/{PAGE}")
    assert len(proxy.upstream.applied) == 1
