"""A broker against the sandbox Notion: started, and signed in to as a browser does it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import CookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from cloud_broker.app import create_app
from cloud_broker.clock import Clock, SystemClock
from cloud_broker.sandbox.app import WORLD
from cloud_broker.sandbox.app import create_app as create_sandbox
from cloud_broker.sandbox.world import World
from cloud_broker.settings.config import Settings
from cloud_broker.transport import AiohttpTransport
from tests.cloud_broker.broker_stage import (
    LOOPBACK,
    VERIFIER,
    an_environment,
    challenge,
    parameters,
)
from tests.servers.broker_database import database_url, open_kept

Browser = TestClient[web.Request, web.Application]


def a_sandbox() -> TestServer:
    return TestServer(create_sandbox(client_id="client", client_secret="canary-client-secret"))


def environment(sandbox: TestServer, folder: Path) -> dict[str, str]:
    """The settings of a broker, or of a command beside it."""
    return an_environment(
        BROKER_NOTION_API_URL=str(sandbox.make_url("/")).rstrip("/"),
        BROKER_DATABASE_URL=database_url(folder),
    )


@asynccontextmanager
async def a_browser_at_a_broker(
    sandbox: TestServer, folder: Path, clock: Clock | None = None
) -> AsyncIterator[Browser]:
    """Run a broker over the database of ``folder``."""
    settings = Settings.from_env(environment(sandbox, folder))
    database = await open_kept(folder)
    try:
        async with AiohttpTransport() as transport:
            time = clock or SystemClock()
            app = create_app(settings, database=database, transport=transport, clock=time)
            async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
                yield client
    finally:
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
