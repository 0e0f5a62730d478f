"""The whole chain in one process, over real sockets: daemon's session, broker, sandbox Notion."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, CookieJar, web
from aiohttp.test_utils import TestServer, unused_port
from yarl import URL

from clipperd.web.handlers.session import ROUTES
from clipperd.web.keys import CLIPS, SESSION
from cloud_broker import app as broker
from cloud_broker.clock import SystemClock
from cloud_broker.sandbox import app as sandbox
from cloud_broker.settings.config import Settings
from cloud_broker.storage.sqlite import open_sqlite
from cloud_broker.transport import AiohttpTransport
from tests.clipperd.session.session_stage import SessionStage, running_world


@dataclass
class SessionToSandbox:
    """The daemon's session side, the sandbox behind its broker, and a person's browser."""

    world: SessionStage
    sandbox: URL
    browser: ClientSession

    async def sign_in(self) -> str:
        """Sign in through the browser; return the text of the page where that ends."""
        started = await self.world.session.start_login("loopback")
        async with self.browser.get(started.login_url, allow_redirects=False) as departed:
            asked = URL(departed.headers["Location"])
        async with self.browser.get(asked.update_query(auto="1")) as arrived:
            return await arrived.text()


@asynccontextmanager
async def a_chain(folder: Path) -> AsyncIterator[SessionToSandbox]:
    """Run all three; the daemon's files and the broker's are in ``folder``."""
    async with TestServer(sandbox.create_app(rate_per_minute=None)) as notion:
        port = unused_port()
        settings = Settings.from_env(
            {
                "BROKER_PUBLIC_URL": f"http://127.0.0.1:{port}",
                "BROKER_NOTION_API_URL": str(notion.make_url("/")).rstrip("/"),
                "BROKER_NOTION_CLIENT_ID": "sandbox-client",
                "BROKER_NOTION_CLIENT_SECRET": "sandbox-secret",
                "BROKER_ENCRYPTION_KEYS": "one:" + base64.b64encode(b"k" * 32).decode(),
                "BROKER_SIGNING_KEYS": "one:" + base64.b64encode(b"s" * 32).decode(),
            }
        )
        database = await open_sqlite(folder / "broker.db")
        try:
            async with AiohttpTransport() as transport:
                app = broker.create_app(
                    settings, database=database, transport=transport, clock=SystemClock()
                )
                async with (
                    TestServer(app, port=port),
                    _daemon(folder, settings.public_url, notion.make_url("/")) as chain,
                ):
                    yield chain
        finally:
            await database.close()


@asynccontextmanager
async def _daemon(folder: Path, broker_url: str, notion: URL) -> AsyncIterator[SessionToSandbox]:
    port = unused_port()
    async with running_world(folder, URL(broker_url), port=port) as world:
        app = web.Application()
        app[SESSION] = world.session
        app[CLIPS] = _NoClips()  # type: ignore[misc]
        for route in ROUTES:
            app.router.add_route(route.method, route.path, route.handler)
        async with (
            TestServer(app, port=port),
            ClientSession(cookie_jar=CookieJar(unsafe=True)) as browser,
        ):
            yield SessionToSandbox(world, notion, browser)


class _NoClips:
    """Stands in for ``Clips``: no clip is waiting."""

    async def unsent(self, _workspace_id: str) -> int:
        return 0
