"""The whole broker against the sandbox Notion: sign-in, a proxied call, refresh, disconnect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from tests.cloud_broker.broker_stage import bearer
from tests.cloud_broker.browser_sign_in import (
    Browser,
    a_browser_at_a_broker,
    a_sandbox,
    arrival,
    signed_in,
    world,
)


@pytest.fixture
async def sandbox() -> AsyncIterator[TestServer]:
    server = a_sandbox()
    async with server:
        yield server


@pytest.fixture
async def browser(sandbox: TestServer, tmp_path: Path) -> AsyncIterator[Browser]:
    async with a_browser_at_a_broker(sandbox, tmp_path) as client:
        yield client


async def test_a_sign_in_leads_to_the_workspace_through_the_proxy(browser: Browser) -> None:
    answer = await signed_in(browser)
    bot = await browser.get(
        "/api/notion/proxy/v1/users/me",
        headers={
            **bearer(answer["access_token"]),
            "X-Workspace-Id": answer["workspaces"][0]["id"],
        },
    )
    body = await bot.json()
    assert bot.status == 200, body
    assert body["id"] == answer["workspaces"][0]["bot_id"]


async def test_a_token_that_notion_has_ended_is_refreshed_on_the_way(
    browser: Browser, sandbox: TestServer
) -> None:
    answer = await signed_in(browser)
    for token in world(sandbox).tokens.values():
        token.ends_at = 0.0
    bot = await browser.get("/api/notion/proxy/v1/users/me", headers=bearer(answer["access_token"]))
    assert bot.status == 200


async def test_opened_tokens_are_counted_beside_the_calls_that_they_were_for(
    browser: Browser, sandbox: TestServer
) -> None:
    answer = await signed_in(browser)
    call = "/api/notion/proxy/v1/users/me"
    for _ in range(3):
        assert (await browser.get(call, headers=bearer(answer["access_token"]))).status == 200
    assert (await browser.get("/api/notion/proxy/v1/nowhere")).status == 401  # opens nothing
    told = (await (await browser.get("/metrics")).text()).splitlines()
    assert 'broker_tokens_opened_total{purpose="proxy"} 3' in told
    assert "broker_proxy_calls_total 3" in told
    for token in world(sandbox).tokens.values():
        token.ends_at = 0.0
    assert (await browser.get(call, headers=bearer(answer["access_token"]))).status == 200
    path = f"/api/workspaces/{answer['workspaces'][0]['id']}"
    assert (await browser.delete(path, headers=bearer(answer["access_token"]))).status == 204
    # Once to move both from the connection to the outbox, once each to tell Notion.
    while 'broker_tokens_opened_total{purpose="revoke"} 3' not in told:
        told = (await (await browser.get("/metrics")).text()).splitlines()
    assert "broker_proxy_calls_total 4" in told
    assert 'broker_tokens_opened_total{purpose="refresh"} 1' in told


async def test_a_refused_consent_comes_back_to_the_daemon(browser: Browser) -> None:
    back = await arrival(browser, auto="deny")
    assert back == {"error": "access_denied", "state": "daemon-state-1"}


async def test_a_disconnected_workspace_is_revoked_at_notion(
    browser: Browser, sandbox: TestServer
) -> None:
    answer = await signed_in(browser)
    path = f"/api/workspaces/{answer['workspaces'][0]['id']}"
    assert (await browser.delete(path, headers=bearer(answer["access_token"]))).status == 204
    while world(sandbox).tokens:
        await browser.get("/healthz")
    refused = await browser.get(
        "/api/notion/proxy/v1/users/me", headers=bearer(answer["access_token"])
    )
    assert refused.status >= 400


async def test_a_person_connects_two_workspaces(browser: Browser, sandbox: TestServer) -> None:
    notion = world(sandbox)
    person, spaces = next(
        (user, spaces)
        for user in notion.users.values()
        if len(spaces := [w for w in notion.workspaces.values() if user.id in w.members]) > 1
    )
    answers = [await signed_in(browser, user=person.id, workspace=s.id) for s in spaces]
    assert {w["id"] for w in answers[-1]["workspaces"]} == {space.id for space in spaces}
