"""A proxy on loopback before a scripted Notion, with a clock that runs faster than real time."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from msgspec.structs import replace
from yarl import URL

from cloud_broker.app import in_background
from cloud_broker.audit import Audit
from cloud_broker.clock import Clock, SystemClock
from cloud_broker.errors import NoConnection, ReauthRequired, SessionExpired
from cloud_broker.identity.connections import OpenToken, Tokens
from cloud_broker.identity.sessions import Claims, Sessions
from cloud_broker.limits.limiter import Limiter
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.randomness import SystemRandomness
from cloud_broker.secret import Secret
from cloud_broker.storage import audit as audit_rows
from cloud_broker.storage import idempotency, outboxes
from cloud_broker.storage.database import Database, Tx
from cloud_broker.storage.migrations import migrate, steps
from cloud_broker.transport import AiohttpTransport, Body, Response
from cloud_broker.web.completion import Completion
from cloud_broker.web.health import READINESS, Readiness
from cloud_broker.web.keys import RANDOMNESS, SESSIONS, SETTINGS
from cloud_broker.web.metrics import METRICS
from cloud_broker.web.metrics import ROUTES as METRICS_ROUTES
from cloud_broker.web.proxy import RELAY, ROUTES, only_reads
from tests.cloud_broker.proxy.wired import a_relay, some_settings
from tests.servers.broker_database import open_kept

PAGE = "11111111-1111-4111-8111-111111111111"
BLOCK = "22222222-2222-4222-8222-222222222222"
WORKSPACE = "33333333-3333-4333-8333-333333333333"
CANARY = "ntn_canary_token_that_must_not_leak"
PROXY = "/api/notion/proxy/v1/"
OURS = [
    ("idempotency", idempotency.STEPS),
    ("outboxes", outboxes.STEPS),
    ("audit", audit_rows.STEPS),
]

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


class QuickClock:
    """A clock that runs ``speed`` times as fast as the machine's, shifted by ``shift``.

    A machine that stalls does not use up a deadline: between two looks at most ``LOOK_S`` passes.
    """

    LOOK_S = 0.01  # real seconds; a sleep looks at least this often

    def __init__(self, speed: float = 50.0) -> None:
        self.speed = speed
        self.shift = 0.0
        self._epoch = time.time()
        self._looked = time.monotonic()
        self._passed = 0.0

    def now(self) -> float:
        return self._epoch + self.monotonic()

    def monotonic(self) -> float:
        before, self._looked = self._looked, time.monotonic()
        self._passed += min(self._looked - before, self.LOOK_S) * self.speed
        return self._passed + self.shift

    async def sleep(self, seconds: float) -> None:
        due, left = self.monotonic() + seconds, seconds
        while left > 0:
            await asyncio.sleep(min(left / self.speed, self.LOOK_S))
            left = due - self.monotonic()
        await asyncio.sleep(0)


class FakeSessions(Sessions):
    """Every token is its user's name, but ``expired``."""

    def __init__(self) -> None:
        pass

    async def verify(self, token: str) -> Claims:
        if token == "expired":
            raise SessionExpired("The session has expired.")
        return Claims(token, f"session-of-{token}", f"{token}@example.org", "FREE", 0.0)


@dataclass
class FakeTokens(Tokens):
    """One connection per user; ``version`` moves with each refresh."""

    version: int = 1
    grant_ended: bool = False
    text: str | None = None  # in place of the canary
    bug: Exception | None = None
    workspace_id: str = WORKSPACE  # as Notion writes it
    workspaces: dict[str, str] = field(default_factory=dict)  # where users have one of their own
    opened: int = 0
    asked_fresh: bool = False  # by the last call
    refreshed: int = 0
    stuck: asyncio.Event | None = None  # a refresh waits for it
    keeps: bool = False  # what is read is of some seconds ago

    async def open(
        self, user_id: str, workspace_id: str | None, purpose: str, *, fresh: bool = True
    ) -> OpenToken:
        assert purpose.startswith("proxy:")
        self.opened += 1
        self.asked_fresh = fresh
        if self.bug is not None:
            raise self.bug
        if workspace_id not in (None, WORKSPACE):
            raise NoConnection("not yours")
        secret = Secret(self.text or f"{CANARY}_{self.version}")
        own = self.workspaces.get(user_id, self.workspace_id)
        kept = self.keeps and not fresh
        return OpenToken(f"conn-{user_id}", user_id, own, "bot", secret, self.version, kept)

    async def refresh(self, opened: OpenToken) -> OpenToken:
        self.refreshed += 1
        if self.stuck is not None:
            await self.stuck.wait()
        if self.grant_ended:
            raise ReauthRequired("ended")
        self.version = opened.version + 1
        return replace(
            opened, version=self.version, access_token=Secret(f"{CANARY}_{self.version}")
        )


@dataclass
class Upstream:
    """A Notion that answers by script, then sensibly; it applies appends and counts them."""

    script: list[Reply] = field(default_factory=list)
    always: Reply | None = None
    seen: list[tuple[str, str]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    applied: list[bytes] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.raw_path))
        self.arrived.set()
        self.requests.append({"headers": dict(request.headers), "body": await request.read()})
        if self.script:
            return await self.script.pop(0)(request)
        if self.always is not None:
            return await self.always(request)
        return await self.apply(request)

    async def apply(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.method == "PATCH" and request.path.endswith("/children"):
            self.applied.append(body)
            count = len(msgspec.json.decode(body)["children"])
            results = [{"object": "block", "id": an_id(i)} for i in range(count)]
            return web.json_response({"object": "list", "results": results, "has_more": False})
        return web.json_response({"object": "page", "id": PAGE, "in_trash": False})


class Held:
    """A reply that applies the request when it is let go; ``arrived`` tells that it is there."""

    def __init__(self, upstream: Upstream) -> None:
        self.arrived, self.gate = asyncio.Event(), asyncio.Event()
        self._upstream = upstream
        upstream.script = [self]

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.arrived.set()
        await self.gate.wait()
        return await self._upstream.apply(request)


def an_id(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def says(status: int, body: Any = None, **headers: str) -> Reply:
    async def reply(_: web.Request) -> web.StreamResponse:
        value = body if body is not None else an_error(status)
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return web.json_response(value, status=status, headers=named)

    return reply


def an_error(status: int, **data: Any) -> dict[str, Any]:
    codes = {429: "rate_limited", 529: "service_overload", 503: "service_unavailable"}
    return {
        "object": "error",
        "status": status,
        "code": codes.get(status, "validation_error"),
        "message": "no",
        **({"additional_data": data} if data else {}),
    }


def drops() -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return reply


def a_key(at_ms: int) -> str:
    tail = uuid.uuid4().hex
    head = f"{at_ms:012x}"
    return f"{head[:8]}-{head[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:18]}"


@dataclass
class ProxyStage:
    """A running proxy."""

    upstream: Upstream
    tokens: FakeTokens
    database: Database
    clock: QuickClock
    audit: Audit
    metrics: Metrics
    client: TestClient[web.Request, web.Application]
    gone: set[str]

    def key(self, age_s: float = 0) -> str:
        return a_key(int((self.clock.now() - age_s) * 1000))

    async def call(
        self, method: str, path: str, *, user: str = "ada", **more: Any
    ) -> ClientResponse:
        headers = {"Authorization": f"Bearer {user}", **more.pop("headers", {})}
        return await self.client.request(method, PROXY + path, headers=headers, **more)

    async def append(
        self, key: str | None = None, *, count: int = 1, user: str = "ada", text: str = "x"
    ) -> ClientResponse:
        headers = {"X-Workspace-Id": WORKSPACE}
        if key is not None:
            headers["Idempotency-Key"] = key
        body = {"children": [{"paragraph": {"text": text}}] * count}
        path = f"blocks/{PAGE}/children"
        return await self.call("PATCH", path, user=user, headers=headers, json=body)


@dataclass
class SleepyTransport:
    """A machine that sleeps ``asleep_s`` when the connection stands, before the first byte."""

    inner: AiohttpTransport
    clock: QuickClock
    asleep_s: float

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: Body = None,
        deadline: float = 30.0,
        max_bytes: int = 5 * 1024 * 1024,
        before_send: Callable[[], None] | None = None,
    ) -> Response:
        def wake() -> None:
            self.clock.shift += self.asleep_s
            if before_send is not None:
                before_send()

        return await self.inner.send(method, url, headers, body, deadline, max_bytes, wake)


@asynccontextmanager
async def a_database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await open_kept(tmp_path)
    try:
        await migrate(database, SystemClock(), wanted=steps(OURS))
        yield database
    finally:
        await database.close()


def an_audit(
    database: Database, clock: Clock, metrics: Metrics | None = None, gone: Set[str] = frozenset()
) -> Audit:
    """An audit log of a world in which there are all accounts but those that are ``gone``."""

    async def living(_: Tx, user_ids: Sequence[str]) -> set[str]:
        return set(user_ids) - gone

    opened = (metrics or Metrics()).opened
    return Audit(database, clock, SystemRandomness(), living=living, opened=opened)


@asynccontextmanager
async def a_proxy(
    tmp_path: Path,
    *,
    speed: float = 50.0,
    upstream: Upstream | None = None,
    base_url: str | None = None,
    seed: int = 1,
    asleep_s: float = 0.0,
    clock: QuickClock | None = None,
    limiter: Limiter | None = None,
    **settings: Any,
) -> AsyncIterator[ProxyStage]:
    notion = upstream or Upstream()
    clock, tokens, metrics = clock or QuickClock(speed), FakeTokens(), Metrics()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(a_database(tmp_path))
        server = TestServer(notion.app())
        await server.start_server()
        stack.push_async_callback(server.close)
        transport = await stack.enter_async_context(AiohttpTransport())
        app = web.Application(middlewares=[Completion(only_reads).middleware()])
        gone: set[str] = set()
        audit = an_audit(database, clock, metrics, gone)
        chosen = {"drain_s": 5.0, "notion_rate": 1000.0, "notion_burst": 100, "tiers": {}}
        asked = some_settings(
            notion_api_url=base_url or str(server.make_url("")), **chosen | settings
        )
        random = SystemRandomness()
        relay, writes = a_relay(
            asked,
            database=database,
            tokens=tokens,
            transport=SleepyTransport(transport, clock, asleep_s),
            clock=clock,
            rng=Random(seed),
            randomness=random,
            audit=audit,
            metrics=metrics,
            limiter=limiter,
        )
        app[RELAY], app[METRICS], app[SETTINGS], app[RANDOMNESS] = relay, metrics, asked, random
        app[SESSIONS] = FakeSessions()
        app[READINESS] = Readiness(database)
        app.router.add_routes([*ROUTES, *METRICS_ROUTES])

        async def lifespan(_: web.Application) -> AsyncIterator[None]:
            async with in_background(writes.purge_for_ever), in_background(audit.run):
                yield
                await writes.close(asked.drain_s)
            await audit.close()

        app.cleanup_ctx.append(lifespan)
        client = TestClient(TestServer(app))  # cancels handlers, as cli/serve.py asks for
        await client.start_server()
        stack.push_async_callback(client.close)
        yield ProxyStage(notion, tokens, database, clock, audit, metrics, client, gone)
