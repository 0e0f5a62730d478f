"""The broker whole, against the sandbox Notion: sign-in, a proxied call, refresh, disconnect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import CookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from cloud_broker.app import create_app
from cloud_broker.clock import SystemClock
from cloud_broker.sandbox.app import WORLD
from cloud_broker.sandbox.app import create_app as create_sandbox
from cloud_broker.sandbox.world import World
from cloud_broker.settings.config import Settings
from cloud_broker.transport import AiohttpTransport
from tests.cloud_broker.stage import (
    LOOPBACK,
    VERIFIER,
    an_environment,
    bearer,
    challenge,
    parameters,
)
from tests.servers.kept import open_kept

Browser = TestClient[web.Request, web.Application]


@pytest.fixture
async def sandbox() -> AsyncIterator[TestServer]:
    server = TestServer(create_sandbox(client_id="client", client_secret="canary-client-secret"))
    async with server:
        yield server


@pytest.fixture
async def browser(sandbox: TestServer, tmp_path: Path) -> AsyncIterator[Browser]:
    origin = str(sandbox.make_url("/")).rstrip("/")
    settings = Settings.from_env(an_environment(BROKER_NOTION_API_URL=origin))
    database = await open_kept(tmp_path)
    async with AiohttpTransport() as transport:
        app = create_app(settings, database=database, transport=transport, clock=SystemClock())
        async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
            yield client
    await database.close()


async def arrival(browser: Browser, **consent: str) -> dict[str, str]:
    query = {
        "source": "cli",
        "state": "daemon-state-1",
        "code_challenge": challenge(),
        "code_challenge_method": "S256",
        "device": "laptop",
        "redirect_uri": LOOPBACK,
    }
    departed = await browser.get("/api/auth/notion", params=query, allow_redirects=False)
    asked = departed.headers["Location"]
    answered = await browser.session.get(
        asked, params={**parameters(asked), "auto": "1", **consent}, allow_redirects=False
    )
    back = parameters(answered.headers["Location"])
    arrived = await browser.get("/api/auth/notion/callback", params=back, allow_redirects=False)
    return parameters(arrived.headers["Location"])


async def signed_in(browser: Browser, **consent: str) -> dict[str, Any]:
    handoff = (await arrival(browser, **consent))["token"]
    body = {"grant_type": "handoff", "token": handoff, "code_verifier": VERIFIER}
    return dict(await (await browser.post("/api/auth/token", json=body)).json())


def world(sandbox: TestServer) -> World:
    return sandbox.app[WORLD]


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
