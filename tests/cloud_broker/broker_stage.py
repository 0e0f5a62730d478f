"""The stage of the broker's tests: a manual clock, a small Notion OAuth, a running broker."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import ClientResponse, CookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from cloud_broker.app import create_app
from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import Database
from cloud_broker.transport import AiohttpTransport
from tests.clocks import ManualClock
from tests.servers.broker_database import open_kept

KEY = base64.b64encode(b"k" * 32).decode()
SEED = base64.b64encode(b"s" * 32).decode()
VERIFIER = "v" * 43
LOOPBACK = "http://127.0.0.1:49152/v1/session/callback"
HTML = {"Accept": "text/html"}
WORKSPACE = "0b1f0c9e-1111-4a4a-8c8c-000000000001"
OTHER_WORKSPACE = "0b1f0c9e-2222-4a4a-8c8c-000000000002"


def challenge(verifier: str = VERIFIER) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def an_environment(**changes: str) -> dict[str, str]:
    return {
        "BROKER_PUBLIC_URL": "http://127.0.0.1:8787",
        "BROKER_NOTION_CLIENT_ID": "client",
        "BROKER_NOTION_CLIENT_SECRET": "canary-client-secret",
        "BROKER_ENCRYPTION_KEYS": f"one:{KEY}",
        "BROKER_SIGNING_KEYS": f"one:{SEED}",
        **changes,
    }


@dataclass
class Person:
    id: str = "c2f20311-9e54-4d11-8c79-7398424ae41e"
    name: str = "Ada"
    email: str = "ada@example.org"


@dataclass
class FakeNotion:
    """Notion's token endpoints with rotation, and what was asked of them."""

    person: Person = field(default_factory=Person)
    workspace_id: str = WORKSPACE
    workspace_name: str = "Lovelace"
    gives_refresh_token: bool = True
    revoke_status: int = 200
    revoke_body: dict[str, str] = field(default_factory=dict)
    token_status: int = 200
    calls: list[dict[str, Any]] = field(default_factory=list)
    live_refresh: set[str] = field(default_factory=set)
    revoked: list[str] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/oauth/token", self._token)
        app.router.add_post("/v1/oauth/revoke", self._revoke)
        return app

    def refreshes(self) -> int:
        return sum(call["grant_type"] == "refresh_token" for call in self.calls)

    async def _token(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"].startswith("Basic ")
        body = await request.json()
        self.calls.append(body)
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.token_status != 200:
            return web.json_response({"error": "server_error"}, status=self.token_status)
        if body["grant_type"] == "refresh_token":
            if body["refresh_token"] not in self.live_refresh:
                return web.json_response({"error": "invalid_grant"}, status=400)
            if self.gives_refresh_token:
                self.live_refresh.discard(body["refresh_token"])
        elif body["code"] != "good-code":
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response(self.grant())

    def grant(self) -> dict[str, Any]:
        """Issue a pair of tokens, as an answer."""
        number = len(self.issued) + 1
        access, refresh = f"ntn_canary_access_{number}", f"nrt_canary_refresh_{number}"
        self.issued.append(access)
        if self.gives_refresh_token:
            self.live_refresh.add(refresh)
        return {
            "access_token": access,
            "token_type": "bearer",
            "refresh_token": refresh if self.gives_refresh_token else None,
            "bot_id": f"bot-of-{self.workspace_id}",
            "workspace_id": self.workspace_id,
            "workspace_name": self.workspace_name,
            "workspace_icon": None,
            "owner": {
                "type": "user",
                "user": {
                    "object": "user",
                    "id": self.person.id,
                    "type": "person",
                    "name": self.person.name,
                    "avatar_url": None,
                    "person": {"email": self.person.email},
                },
            },
            "duplicated_template_id": None,
        }

    async def _revoke(self, request: web.Request) -> web.Response:
        if self.revoke_status == 200:
            self.revoked.append((await request.json())["token"])
        return web.json_response(self.revoke_body, status=self.revoke_status)


@dataclass
class BrokerStage:
    """A running broker, its fake Notion, and a browser that keeps cookies."""

    notion: FakeNotion
    clock: ManualClock
    database: Database
    settings: Settings
    app: web.Application
    browser: TestClient[web.Request, web.Application]

    async def begin_sign_in(self, **changes: str | None) -> ClientResponse:
        query = {
            "source": "app",
            "state": "daemon-state-1",
            "code_challenge": challenge(),
            "code_challenge_method": "S256",
            "device": "Ada's laptop",
            **changes,
        }
        given = {name: value for name, value in query.items() if value is not None}
        return await self.browser.get("/api/auth/notion", params=given, allow_redirects=False)

    async def complete_sign_in(self, **query: str) -> ClientResponse:
        return await self.browser.get(
            "/api/auth/notion/callback", params=query, allow_redirects=False, headers=HTML
        )

    async def hand_off(self, **changes: str | None) -> str:
        """Sign in at Notion over the loopback redirect and return the hand-off."""
        begun = await self.begin_sign_in(redirect_uri=LOOPBACK, **changes)
        assert begun.status == 302, await begun.text()
        arrived = await self.complete_sign_in(state=state_of(begun), code="good-code")
        assert arrived.status == 302, await arrived.text()
        return parameters(arrived.headers["Location"])["token"]

    async def token(self, **body: str) -> ClientResponse:
        return await self.browser.post("/api/auth/token", json=body)

    async def sign_in(self, **changes: str) -> dict[str, Any]:
        """Go all the way; return the token answer."""
        handoff = await self.hand_off(**changes)
        answer = await self.token(grant_type="handoff", token=handoff, code_verifier=VERIFIER)
        assert answer.status == 200, await answer.text()
        return dict(await answer.json())

    async def refresh(self, token: str) -> ClientResponse:
        return await self.token(grant_type="refresh_token", refresh_token=token)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Let background work go on until ``is_so``; the test's own timeout is the bound."""
        while not is_so():
            await self.turn()

    async def turn(self) -> None:
        """Let everything else go on for one request."""
        await self.browser.get("/healthz")

    async def get(self, path: str, access_token: str) -> ClientResponse:
        return await self.browser.get(path, headers=bearer(access_token))

    async def delete(self, path: str, access_token: str) -> ClientResponse:
        return await self.browser.delete(path, headers=bearer(access_token))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def parameters(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def state_of(begun: ClientResponse) -> str:
    return parameters(begun.headers["Location"])["state"]


def link_in(page: str) -> str:
    match = re.search(r'id="open" href="([^"]+)"', page)
    assert match is not None
    return match[1].replace("&amp;", "&")


@asynccontextmanager
async def a_broker(folder: Path, **changes: str) -> AsyncIterator[BrokerStage]:
    """Run a broker over a database in ``folder`` against a fake Notion."""
    notion, clock = FakeNotion(), ManualClock()
    async with TestServer(notion.app()) as server:
        origin = f"http://{server.host}:{server.port}"
        settings = Settings.from_env(an_environment(BROKER_NOTION_API_URL=origin, **changes))
        database = await open_kept(folder)
        try:
            async with AiohttpTransport() as transport:
                app = create_app(settings, database=database, transport=transport, clock=clock)
                jar = CookieJar(unsafe=True)
                async with TestClient(TestServer(app), cookie_jar=jar) as browser:
                    yield BrokerStage(notion, clock, database, settings, app, browser)
        finally:
            await database.close()
