"""The middleware on a real socket, with sample routes and fakes of the daemon's parts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from clipperd.broker.reply import Reply
from clipperd.health import Check, Health
from clipperd.model import Scope
from clipperd.notion.port import Call, Form
from clipperd.settings import config
from clipperd.settings.stored import StoredSettings
from clipperd.storage.database import Database
from clipperd.web import keys
from clipperd.web.access import Access
from clipperd.web.app import SHELL_ROUTES, create_app, listening
from clipperd.web.hub import EventHub
from clipperd.web.keys import Limits
from clipperd.web.routes import Route, answer, parse_body
from clipperd.web.tokens import CLIENT_STEPS, ApiTokens
from tests.clocks import ManualClock

TOKEN = "owner-token-of-endpoint-json-0123456789abcdef"
INSTANCE = "instance-1"
WORKSPACE = "11111111-1111-4111-8111-111111111111"


class SampleBody(msgspec.Struct, forbid_unknown_fields=True):
    text: str


async def _echo(request: web.Request) -> web.Response:
    return answer(await parse_body(request, SampleBody))


async def _size(request: web.Request) -> web.Response:
    return answer({"bytes": len(await request.read())})


async def _broken(request: web.Request) -> web.Response:
    raise RuntimeError((await request.text()) + request.headers["Authorization"])


SAMPLES = (
    Route("POST", "/v1/sample", _echo, "clip", "Echo", body=SampleBody, answers={200: SampleBody}),
    Route("GET", "/v1/sample/{name}", _size, "read", "Nothing"),
    Route("POST", "/v1/raw", _size, "clip", "Count bytes", raw_body=True),
    Route("POST", "/v1/broken", _broken, "clip", "Fails"),
)


class FakeNotion:
    """Answers the pass-through with what the test put there, and keeps what it was asked."""

    def __init__(self) -> None:
        self.reply: Reply | Exception = Reply(200, {"object": "page"})
        self.asked: list[tuple[Scope, str, str, dict[str, str], bytes | None]] = []
        self.versions: list[str | None] = []
        self.parts: list[tuple[str, Form, bytes]] = []
        self.hears = asyncio.Event()

    async def send(self, scope: Scope, call: Call) -> Reply:
        self.asked.append((scope, call.method, call.path, dict(call.query or {}), call.body))
        self.versions.append(call.version)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    async def upload(self, scope: Scope, path: str, form: Form, version: str | None) -> Reply:
        got = b""
        async for piece in form.pieces:
            got += piece
            self.hears.set()
        self.parts.append((path, form, got))
        return await self.send(scope, Call("POST", path, {}, got, version=version))


class FakeAccounts:
    """The signed-in user, whom a test changes by ``user[0]``, in any workspace."""

    def __init__(self) -> None:
        self.user: list[str | None] = ["user-1"]

    async def current_user(self) -> str | None:
        return self.user[0]

    async def scope(self, workspace_id: str | None) -> Scope:
        return Scope("user-1", workspace_id or WORKSPACE)


@dataclass
class MiddlewareStage:
    """What a test needs of a running API."""

    port: int
    clock: ManualClock
    clients: ApiTokens
    events: EventHub
    notion: FakeNotion
    session: aiohttp.ClientSession
    stops: list[str]
    state: dict[str, Any]
    user: list[str | None] = field(default_factory=lambda: ["user-1"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def call(
        self, method: str, path: str, *, token: str | None = TOKEN, **given: Any
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        headers = dict(given.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token}")
        async with self.session.request(
            method, self.url + path, headers=headers, **given
        ) as response:
            raw = await response.read()
        is_json = "json" in response.headers.get("Content-Type", "")
        return response.status, msgspec.json.decode(raw) if is_json else raw, response

    async def client(self, *scopes: str) -> str:
        _, token = await self.clients.create(f"client {len(self.clients.all())}", scopes)
        return token


@contextlib.asynccontextmanager
async def running_api(
    folder: Path,
    *,
    extra: Sequence[Route] = SAMPLES,
    limits: Limits | None = None,
    origins: Sequence[str] = (),
    checks: Mapping[str, Check] | None = None,
) -> AsyncIterator[MiddlewareStage]:
    clock, numbers = ManualClock(1_700_000_000.0, shortest_s=0.1), itertools.count(1)
    db = Database.open(folder / "outbox.db", name="outbox", steps=CLIENT_STEPS, synchronous="FULL")
    clients = await ApiTokens.open(
        db,
        clock,
        new_id=lambda: f"id{next(numbers)}",
        new_token=lambda: f"clp_{next(numbers):064d}",
    )
    access = Access(
        TOKEN, instance_id=INSTANCE, tokens=clients, clock=clock, allowed_origins=origins
    )
    app = create_app(
        routes=[*SHELL_ROUTES, *extra],
        access=access,
        clock=clock,
        new_id=lambda: f"req{next(numbers)}",
        limits=limits,
    )
    hub, fake, stops, state = EventHub(clock), FakeNotion(), list[str](), dict[str, Any](n=0)
    accounts = FakeAccounts()

    async def snapshot() -> dict[str, Any]:
        return dict(state)

    async def queue() -> dict[str, Any]:
        return {"queued": 2}

    app[keys.EVENTS], app[keys.SNAPSHOT] = hub, snapshot
    app[keys.STATUS_PARTS] = {"queue": queue}
    app[keys.HEALTH] = Health(checks or {})
    app[keys.SETTINGS] = StoredSettings(
        config.load({"CLIPPERD_PORT": "5"}, {}, ""), {"CLIPPERD_PORT": "5"}, {}, folder / "c.toml"
    )
    app[keys.SHUTDOWN] = stops.append
    app[keys.PASS_THROUGH] = fake  # type: ignore[misc]
    app[keys.ACCOUNTS] = accounts  # type: ignore[misc]
    try:
        async with listening(app) as at, aiohttp.ClientSession() as session:
            yield MiddlewareStage(
                at.port, clock, clients, hub, fake, session, stops, state, accounts.user
            )
    finally:
        db.close()


async def raw_request(port: int, data: bytes) -> tuple[int, bytes]:
    """Send bytes as they are; the answer's status and whole text (0 for none)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        text = await asyncio.wait_for(reader.read(65536), 30)
    finally:
        writer.close()
        await writer.wait_closed()
    return (int(text.split()[1]) if text else 0), text
