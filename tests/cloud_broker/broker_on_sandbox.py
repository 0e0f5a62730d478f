"""A whole broker and the sandbox Notion, in the test's own process, with signed-in users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, CookieJar
from aiohttp.test_utils import TestServer, unused_port

from cloud_broker.app import create_app
from cloud_broker.clock import SystemClock
from cloud_broker.sandbox import app as sandbox
from cloud_broker.settings.config import Settings
from cloud_broker.transport import AiohttpTransport
from tests.cloud_broker.broker_stage import an_environment
from tests.servers.broker_database import open_kept
from tests.stack.lone_broker import signed_in
from tests.stack.notion import text_of


@dataclass
class BrokerOnSandbox:
    """Where an SDK points, whose token it takes, and the sandbox as a test sees it."""

    url: str
    token: str
    workspace: str
    notion: str
    http: ClientSession

    @property
    def base_url(self) -> str:
        """What an SDK takes for ``https://api.notion.com``."""
        return f"{self.url}/api/notion/proxy"

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the sandbox something that is not Notion's."""
        async with self.http.request(method, f"{self.notion}/_sandbox/{path}", json=body) as answer:
            assert answer.status < 400, await answer.text()
            return await answer.json()

    async def fault(self, kind: str, route: str = "*", **rule: Any) -> None:
        """Let the sandbox misbehave."""
        await self.control("POST", "faults", {"kind": kind, "route": route, **rule})

    async def texts(self, page: str) -> list[str]:
        """The text of a page's first-level blocks."""
        blocks = (await self.control("GET", f"pages/{page}/blocks"))["blocks"]
        return [text_of(block) for block in blocks]


@asynccontextmanager
async def a_whole_broker(folder: Path, **changes: str) -> AsyncIterator[BrokerOnSandbox]:
    """Everything up and the sandbox's first person signed in; ``changes`` are settings."""
    async with AsyncExitStack() as stack:
        app = sandbox.create_app(
            client_id="client", client_secret="canary-client-secret", rate_per_minute=None
        )
        notion = await stack.enter_async_context(TestServer(app))
        origin, port = str(notion.make_url("/")).rstrip("/"), unused_port()
        url = f"http://127.0.0.1:{port}"
        generous = {"BROKER_LIMIT_SCALE": "1000", "BROKER_NOTION_BURST": "1000"}
        environment = an_environment(
            **{"BROKER_PUBLIC_URL": url, "BROKER_NOTION_API_URL": origin, **generous, **changes}
        )
        database = await open_kept(folder)
        stack.push_async_callback(database.close)
        transport = await stack.enter_async_context(AiohttpTransport())
        broker = create_app(
            Settings.from_env(environment),
            database=database,
            transport=transport,
            clock=SystemClock(),
        )
        await stack.enter_async_context(TestServer(broker, port=port))
        jar = CookieJar(unsafe=True)
        http = await stack.enter_async_context(ClientSession(cookie_jar=jar))
        tokens = await signed_in(http, url)
        yield BrokerOnSandbox(
            url, tokens["access_token"], tokens["workspaces"][0]["id"], origin, http
        )
