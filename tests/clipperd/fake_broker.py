"""A small real broker on loopback: the auth routes and an echoing proxy, with fault switches.

It keeps the parts of the contract that the daemon's session relies on: single-use hand-offs bound
to a PKCE challenge, rotating refresh tokens whose predecessor stays valid until the successor is
first used, reuse that ends the session, access tokens that expire.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

WORKSPACE_A = "11111111-1111-4111-8111-111111111111"
WORKSPACE_B = "22222222-2222-4222-8222-222222222222"

FaultKind = Literal[
    "drop_before", "drop_after", "hang", "truncate", "garbage", "huge", "redirect", "status"
]


@dataclass
class Fault:
    """What the next request whose path contains ``path`` suffers."""

    kind: FaultKind
    path: str = ""
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass
class Person:
    """Somebody who can sign in."""

    id: str
    email: str
    name: str
    workspaces: list[dict[str, Any]]


def ada() -> Person:
    """A person with two workspaces."""
    return Person(
        "user-ada",
        "ada@example.org",
        "Ada",
        [
            {"id": WORKSPACE_A, "name": "Home", "icon": "🏠", "bot_id": "bot-a"},
            {"id": WORKSPACE_B, "name": "Work", "icon": None, "bot_id": "bot-b"},
        ],
    )


def bob() -> Person:
    """Another person, with one workspace of the same id as one of Ada's."""
    return Person(
        "user-bob",
        "bob@example.org",
        "Bob",
        [{"id": WORKSPACE_B, "name": "Work", "icon": None, "bot_id": "bot-b2"}],
    )


@dataclass
class Call:
    """A request that the broker saw."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class _Refresh:
    session: str
    predecessor: str | None
    state: Literal["fresh", "used", "retired"] = "fresh"


class FakeBroker:
    """The broker's state and switches. Start it with :func:`running_broker`."""

    def __init__(self) -> None:
        """Begin with nobody signed in and no faults."""
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.expires_in = 600
        self.hold: asyncio.Event | None = None  # token answers wait for it
        self.asked = asyncio.Event()  # a token was asked for
        self._departed = asyncio.Event()  # a session was ended
        self.hanging = asyncio.Event()  # a request suffers the fault "hang"
        self.tier, self.limit = "FREE", 120
        self.notion_token_invalid = False
        self.refuse_access = False
        self.sessions: dict[str, Person] = {}
        self._handoffs: dict[str, tuple[Person, str]] = {}
        self._access: dict[str, str] = {}
        self._refresh: dict[str, _Refresh] = {}
        self.server: TestServer | None = None

    @property
    def url(self) -> URL:
        """The broker's base address."""
        assert self.server is not None
        return URL(str(self.server.make_url("/")).rstrip("/"))

    def answer_login(self, login_url: str, person: Person, *, deep_path: str = "") -> str:
        """Play browser and Notion: the person agrees. Returns where the browser is sent."""
        query = URL(login_url).query
        token = f"handoff-{secrets.token_hex(8)}"
        self._handoffs[token] = (person, query["code_challenge"])
        back = query.get("redirect_uri", f"notion-clipper://auth{deep_path}")
        return f"{back}?token={token}&state={query['state']}"

    def refuse_login(self, login_url: str, error: str = "access_denied") -> str:
        """The person declines."""
        query = URL(login_url).query
        back = query.get("redirect_uri", "notion-clipper://auth")
        return f"{back}?error={error}&state={query['state']}"

    def expire_access(self) -> None:
        """Every access token out there is too old now."""
        self._access.clear()

    def revoke(self, person: Person) -> None:
        """End the person's sessions."""
        for session in [s for s, p in self.sessions.items() if p.id == person.id]:
            del self.sessions[session]

    def calls_to(self, part: str) -> list[Call]:
        """The calls whose path contains ``part``."""
        return [call for call in self.calls if part in call.path]

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._middleware], client_max_size=1 << 20)
        app.router.add_get("/healthz", self._health)
        app.router.add_post("/api/auth/token", self._token)
        app.router.add_post("/api/auth/logout", self._logout)
        app.router.add_get("/api/user/me", self._me)
        app.router.add_delete("/api/workspaces/{id}", self._disconnect)
        app.router.add_route("*", "/api/notion/proxy/v1/{path:.+}", self._proxy)
        return app

    @web.middleware
    async def _middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw and request.content_type == "application/json" else None
        headers = {k.lower(): v for k, v in request.headers.items()}
        if request.path != "/healthz":
            self.calls.append(Call(request.method, request.path, headers, body))
        fault = next((f for f in self.faults if f.path in request.path), None)
        if fault is None:
            return await handler(request)
        self.faults.remove(fault)
        return await self._suffer(fault, request, handler)

    async def _suffer(
        self,
        fault: Fault,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        if fault.kind in ("drop_before", "drop_after"):
            if fault.kind == "drop_after":
                await handler(request)
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault.kind == "hang":
            self.hanging.set()
            await asyncio.Event().wait()
        if fault.kind == "truncate":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"object":')
            assert request.transport is not None
            request.transport.close()
            return response
        if fault.kind == "garbage":
            return web.Response(text="<html>Please log in to the Wi-Fi</html>")
        if fault.kind == "huge":
            return web.Response(body=b"[" + b"0," * (5 << 20) + b"0]")
        if fault.kind == "redirect":
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"})
        body = fault.body
        if body is None and "/proxy/" in request.path:
            body = {"object": "error", "status": fault.status, "code": "fault", "message": ""}
        return web.json_response(body, status=fault.status, headers=fault.headers)

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def _token(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if body["grant_type"] == "handoff":
            person, challenge = self._handoffs.pop(body["token"], (None, ""))
            digest = hashlib.sha256(body["code_verifier"].encode()).digest()
            if (
                person is None
                or base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != challenge
            ):
                return _problem(400, "invalid_grant")
            session = secrets.token_hex(4)
            self.sessions[session] = person
            return self._issue(session, None)
        token = body["refresh_token"]
        row = self._refresh.get(token)
        if row is None or row.session not in self.sessions:
            return _problem(400, "invalid_grant")
        if row.state == "retired":
            del self.sessions[row.session]
            return _problem(400, "invalid_grant")
        if row.state == "fresh":
            row.state = "used"
            if row.predecessor is not None:
                self._refresh[row.predecessor].state = "retired"
        return self._issue(row.session, token)

    def _issue(self, session: str, predecessor: str | None) -> web.Response:
        person = self.sessions[session]
        access, refresh = f"access-{secrets.token_hex(8)}", f"refresh-{secrets.token_hex(8)}"
        self._access[access] = session
        self._refresh[refresh] = _Refresh(session, predecessor)
        return web.json_response(
            {
                "access_token": access,
                "token_type": "Bearer",
                "expires_in": self.expires_in,
                "refresh_token": refresh,
                "user": {
                    "id": person.id,
                    "email": person.email,
                    "name": person.name,
                    "avatar_url": None,
                },
                "workspaces": person.workspaces,
                "subscription": {"tier": "FREE", "status": "active"},
            }
        )

    async def left_with(self, *people: str) -> None:
        """Wait until the sessions of these people are all there are."""
        while [person.id for person in self.sessions.values()] != list(people):
            self._departed.clear()
            await self._departed.wait()

    async def _logout(self, request: web.Request) -> web.Response:
        session = self._access.get(request.headers["Authorization"].removeprefix("Bearer "))
        if session not in self.sessions:
            return _problem(401, "session_expired")
        del self.sessions[session]
        self._departed.set()
        return web.Response(status=204)

    async def _me(self, request: web.Request) -> web.Response:
        person = self._person(request)
        if person is None:
            return _problem(401, "session_expired")
        bought = {"tier": self.tier, "status": "active"}
        return web.json_response(
            {"user": {"id": person.id}, "subscription": bought, "limits": {"all": self.limit}}
        )

    async def _disconnect(self, request: web.Request) -> web.Response:
        person = self._person(request)
        if person is None:
            return _problem(401, "session_expired")
        wanted = request.match_info["id"]
        person.workspaces = [w for w in person.workspaces if w["id"] != wanted]
        return web.Response(status=204)

    async def _proxy(self, request: web.Request) -> web.Response:
        person = self._person(request)
        if person is None:
            return _notion_error(401, "unauthorized", "session_expired")
        if self.notion_token_invalid:
            return _notion_error(401, "unauthorized", "NOTION_TOKEN_INVALID")
        return web.json_response(
            {
                "object": "echo",
                "user": person.id,
                "workspace": request.headers.get("X-Workspace-Id"),
                "key": request.headers.get("Idempotency-Key"),
                "method": request.method,
                "path": request.match_info["path"],
                "query": dict(request.query),
            }
        )

    def _person(self, request: web.Request) -> Person | None:
        if self.refuse_access:
            return None
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.sessions.get(self._access.get(token, ""))


def _problem(status: int, code: str) -> web.Response:
    return web.json_response(
        {"code": code, "title": code, "status": status},
        status=status,
        content_type="application/problem+json",
    )


def _notion_error(status: int, code: str, broker_code: str) -> web.Response:
    return web.json_response(
        {"object": "error", "status": status, "code": code, "message": "refused"},
        status=status,
        headers={"X-Broker-Code": broker_code},
    )


@asynccontextmanager
async def running_broker() -> AsyncIterator[FakeBroker]:
    """Serve a fresh fake broker on a free loopback port."""
    broker = FakeBroker()
    server = TestServer(broker.app())
    await server.start_server()
    broker.server = server
    try:
        yield broker
    finally:
        await server.close()
