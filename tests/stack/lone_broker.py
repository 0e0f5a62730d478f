"""A broker as its own process, with a sandbox Notion that the test controls."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import ClientResponse, ClientSession, CookieJar, web
from aiohttp.test_utils import TestServer
from yarl import URL

from clipperd.cli.demo.web import fetch
from cloud_broker.sandbox import app as sandbox
from cloud_broker.sandbox.world import World
from tests.servers.ports import free_port
from tests.stack.program import Program

PROXY = "/api/notion/proxy/v1/"
_CALLBACK = "http://127.0.0.1:9/v1/session/callback"
_VERIFIER = "v" * 43

Reply = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass
class Notion:
    """The sandbox; ``instead`` may answer in its stead, or return None and leave it to it."""

    world: World
    instead: Reply | None = None
    seen: list[tuple[str, str]] = field(default_factory=list)

    @web.middleware
    async def intervene(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Stand before the sandbox."""
        is_call = request.path.startswith("/v1/") and "/oauth/" not in request.path
        if is_call:
            self.seen.append((request.method, request.path))
        answer = await self.instead(request) if is_call and self.instead else None
        return await handler(request) if answer is None else answer


@dataclass
class LoneBroker:
    """The broker's process, its Notion, and somebody who is signed in."""

    url: str
    program: Program
    notion: Notion
    http: ClientSession
    token: str = ""
    workspace: str = ""

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self.program.start(lambda: _is_up(f"{self.url}/readyz"))

    async def call(self, method: str, path: str, **more: Any) -> ClientResponse:
        """One call through the proxy, its answer read to the end."""
        headers = {
            "Authorization": f"Bearer {self.token}",
            "X-Workspace-Id": self.workspace,
            **more.pop("headers", {}),
        }
        answer = await self.http.request(method, self.url + PROXY + path, headers=headers, **more)
        await answer.read()
        return answer

    async def append(self, page: str, text: str, key: str) -> ClientResponse:
        """Append a paragraph under a key."""
        block = {"paragraph": {"rich_text": [{"text": {"content": text}}]}}
        return await self.call(
            "PATCH",
            f"blocks/{page}/children",
            json={"children": [block]},
            headers={"Idempotency-Key": key},
        )

    async def sign_in(self) -> None:
        """Sign in as the sandbox's first person."""
        tokens = await signed_in(self.http, self.url)
        self.token, self.workspace = tokens["access_token"], tokens["workspaces"][0]["id"]


async def signed_in(http: ClientSession, url: str) -> dict[str, Any]:
    """Sign in at the broker at ``url`` through the real flow, with a jar that keeps cookies."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(_VERIFIER.encode()).digest())
    query = {
        "source": "cli",
        "state": secrets.token_urlsafe(16),
        "code_challenge": digest.rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "device": "a test",
        "redirect_uri": _CALLBACK,
    }
    at = URL(f"{url}/api/auth/notion").with_query(query)
    while not str(at).startswith(_CALLBACK):
        at = at.update_query(auto="1") if at.path.endswith("/authorize") else at
        async with http.get(at, allow_redirects=False) as answer:
            at = at.join(URL(answer.headers["Location"]))
    body = {"grant_type": "handoff", "token": at.query["token"], "code_verifier": _VERIFIER}
    async with http.post(f"{url}/api/auth/token", json=body) as answer:
        return dict(await answer.json())


@asynccontextmanager
async def a_lone_broker(folder: Path, **changes: str) -> AsyncIterator[LoneBroker]:
    """Everything up and somebody signed in; ``changes`` are settings of the broker."""
    app = sandbox.create_app(rate_per_minute=None)
    notion = Notion(app[sandbox.WORLD])
    app.middlewares.insert(0, notion.intervene)
    async with (
        TestServer(app) as server,
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
    ):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        ours = ("CLIPPERD_", "BROKER_")
        env = {name: text for name, text in os.environ.items() if not name.startswith(ours)} | {
            "BROKER_PORT": str(port),
            "BROKER_PUBLIC_URL": url,
            "BROKER_DATABASE_URL": f"sqlite:///{folder / 'broker.db'}",
            "BROKER_NOTION_API_URL": str(server.make_url("/")).rstrip("/"),
            "BROKER_NOTION_CLIENT_ID": "sandbox-client",
            "BROKER_NOTION_CLIENT_SECRET": "sandbox-secret",
            "BROKER_ENCRYPTION_KEYS": _new_key(),
            "BROKER_SIGNING_KEYS": _new_key(),
            "BROKER_LIMIT_SCALE": "1000",
            "BROKER_NOTION_RATE": "500",
            "BROKER_NOTION_BURST": "500",
            **changes,
        }
        program = Program("broker", ["cloud_broker", "run"], env, folder / "broker.txt")
        lone = LoneBroker(url, program, notion, http)
        try:
            lone.start()
            await lone.sign_in()
            yield lone
        finally:
            program.stop()


def resident_kb(pid: int) -> int:
    """Memory that a process holds now, in KiB."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True)
    return int(shown.stdout)


def a_key() -> str:
    """A fresh UUIDv7."""
    value = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    value = (value & ~(0xF << 76)) | (7 << 76)
    return str(UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62)))


def _new_key() -> str:
    return "k1:" + base64.b64encode(os.urandom(32)).decode()


def _is_up(url: str) -> bool:
    try:
        return fetch("GET", url)[0] == 200
    except OSError:
        return False
