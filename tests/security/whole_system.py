"""Sandbox, broker and the whole daemon in one process, on real sockets, with a witness at each.

The witness sees every request and answer of a server. The tests search it for secrets and count
the calls that reached Notion.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, CookieJar, web
from aiohttp.test_utils import TestServer, unused_port
from msgspec.structs import replace
from yarl import URL

from clipperd.clock import SystemClock as DaemonClock
from clipperd.daemon import assembly
from clipperd.daemon.api import Api
from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.daemon.system import System
from clipperd.process import logs
from clipperd.settings import config
from clipperd.settings.locations import Locations, locate, secure
from clipperd.storage.database import ConnectionThread, Database, ExecutorFactory
from clipperd.storage.disposable import Cache, open_cache
from clipperd.web.access import Access
from clipperd.web.app import ROUTES, create_app, listening
from clipperd.web.keys import Limits
from cloud_broker import app as broker
from cloud_broker.clock import SystemClock
from cloud_broker.sandbox import app as sandbox
from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import Database as BrokerDatabase
from cloud_broker.storage.opening import open_database
from cloud_broker.transport import AiohttpTransport
from cloud_broker.web.inbound import Inbound
from tests.security.broker_log import broker_log
from tests.security.witness import Witness
from tests.servers.broker_database import tables

OWNER_TOKEN = "owner-canary-Xq3v9ZpL7wR2tY8sK4nB6mC1"
INSTANCE = "instance-of-the-house"
PASSPHRASE = "passphrase-canary-horse-battery-staple"


class PatientClock(DaemonClock):
    """A real clock for the door, on which a second passes at each look: no lock-out, no delay."""

    def __init__(self) -> None:
        self._looks = 0.0

    def boot(self) -> float:
        self._looks += 10.0
        return self._looks

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class Daemon:
    """The assembled daemon behind its door."""

    parts: assembly.Daemon
    places: Locations
    outbox: Database
    cache: Cache
    url: URL
    browser: ClientSession
    witness: Witness

    @property
    def port(self) -> int:
        assert self.url.port is not None
        return self.url.port

    async def call(
        self, method: str, path: str, *, token: str | None = OWNER_TOKEN, **more: Any
    ) -> tuple[int, dict[str, str], Any]:
        """One request; ``path`` goes out as it is. Returns status, headers and decoded body."""
        headers = dict(more.pop("headers", None) or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        target = URL(f"{self.url}{path}", encoded=True)
        async with self.browser.request(
            method, target, headers=headers, allow_redirects=False, **more
        ) as response:
            is_json = response.content_type.endswith("json")
            found = await (response.json(content_type=None) if is_json else response.text())
            return response.status, dict(response.headers), found

    async def sign_in(self, **who: str) -> str:
        """Sign in through the browser; return the text of the page where that ends."""
        started = await self.parts.session.start_login("loopback")
        self.browser.cookie_jar.clear()
        async with self.browser.get(started.login_url, allow_redirects=False) as departed:
            asked = URL(departed.headers["Location"])
        async with self.browser.get(asked.update_query(auto="1", **who)) as arrived:
            text = await arrived.text()
        await self.indexed()
        return text

    async def indexed(self) -> None:
        """Wait until the page list of the current account has been read to its end."""
        while True:
            _, _, listed = await self.call("GET", "/v1/pages?limit=1")
            if listed.get("index", {}).get("complete"):
                return
            await asyncio.sleep(0.02)

    async def clip(self, page_id: str, text: str, **more: Any) -> dict[str, Any]:
        body = {"targets": [{"page_id": page_id}], "content": {"format": "text", "text": text}}
        status, _, clip = await self.call("POST", "/v1/clips", json=body | more)
        assert status == 202, clip
        return dict(clip)

    async def settled(self, clip_id: str, *states: str) -> dict[str, Any]:
        """The clip once its state is one of ``states``; the test's own timeout is the bound."""
        while True:
            _, _, clip = await self.call("GET", f"/v1/clips/{clip_id}")
            if clip["state"] in (states or ("delivered", "failed", "needs_attention", "canceled")):
                return dict(clip)
            await asyncio.sleep(0.02)

    async def events(self, until: bytes, then: Awaitable[Any]) -> bytes:
        """Resume the stream from its beginning, await ``then``, read on until ``until``."""
        headers = {"Authorization": f"Bearer {OWNER_TOKEN}", "Last-Event-ID": "0"}
        async with self.browser.get(f"{self.url}/v1/events", headers=headers) as response:
            seen = await response.content.readany()
            await then
            while until not in seen:
                seen += await response.content.readany()
        return seen

    async def rows(self) -> dict[str, int]:
        """How many rows each table of the outbox has."""
        return await self.outbox.read(_row_counts)


@dataclass
class WholeSystem:
    """Everything that runs."""

    folder: Path
    notion: web.Application
    notion_url: URL
    broker: web.Application
    broker_url: URL
    database: BrokerDatabase
    witness: Witness
    broker_log: io.StringIO
    browser: ClientSession
    stack: AsyncExitStack
    more_settings: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """How many API calls arrived at Notion."""
        return self.notion[sandbox.CALLS].total

    async def ask(
        self, method: str, path: str, *, token: str | None = None, **more: Any
    ) -> tuple[int, dict[str, str], Any]:
        """One request to the broker; ``path`` goes out as it is."""
        headers = dict(more.pop("headers", None) or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        target = URL(f"{self.broker_url}{path}", encoded=True)
        async with self.browser.request(
            method, target, headers=headers, allow_redirects=False, **more
        ) as response:
            is_json = response.content_type.endswith("json")
            found = await (response.json(content_type=None) if is_json else response.text())
            return response.status, dict(response.headers), found

    async def person(self, user: str, workspace: str, device: str = "desk") -> dict[str, Any]:
        """Sign a person in as a daemon would, without one; return the token answer."""
        verifier = secrets.token_urlsafe(43)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "source": "cli",
            "state": secrets.token_urlsafe(32),
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "device": device,
            "redirect_uri": "http://127.0.0.1:9/v1/session/callback",
        }
        self.browser.cookie_jar.clear()
        url = self.broker_url.join(URL("/api/auth/notion")).with_query(query)
        for more in ({}, {"auto": "1", "user": user, "workspace": workspace}, {}):
            async with self.browser.get(url.update_query(more), allow_redirects=False) as hop:
                assert hop.status == 302, await hop.text()
                url = URL(hop.headers["Location"])
        body = {
            "grant_type": "handoff",
            "token": url.query["token"],
            "code_verifier": verifier,
        }
        status, _, answer = await self.ask("POST", "/api/auth/token", json=body)
        assert status == 200, answer
        return dict(answer)

    async def rows(self) -> dict[str, int]:
        """How many rows each of the broker's tables has.

        The audit's are left out: they come a little later, and may tell of refusals.
        """
        names = await tables(self.database)
        async with self.database.reading() as tx:
            counts = {}
            for name in names:
                row = await tx.one(f'SELECT count(*) AS n FROM "{name}"')
                assert row is not None
                counts[name] = int(row["n"])
            counts.pop("audit_log")
            return counts

    @asynccontextmanager
    async def daemon(
        self,
        name: str = "home",
        limits: Limits | None = None,
        make_executor: ExecutorFactory = ConnectionThread,
        system: System | None = None,
    ) -> AsyncIterator[Daemon]:
        """Run a daemon with its files in a folder of its own; as ``daemon.py`` does it.

        ``make_executor``: makes the executors of its databases. ``system``: its machine.
        """
        env = {
            "CLIPPERD_HOME": str(self.folder / name),
            "CLIPPERD_BROKER_URL": str(self.broker_url).rstrip("/"),
            "CLIPPERD_SECRETS": "memory",
            "CLIPPERD_LOG_LEVEL": "debug",
            "CLIPPERD_RETRY_BASE_S": "0.1",
            "CLIPPERD_RETRY_CAP_S": "0.2",
            "CLIPPERD_SETTLE_UNKNOWN_S": "2",
            "CLIPPERD_SETTLE_ANSWERED_S": "1",
            **self.more_settings,
        }
        settings = config.load(env, {}, "")
        assert settings.home is not None
        places = locate(settings.home)
        secure(places)
        level = logging.getLogger().level
        journal = logs.start(settings.log_level, places.log_file)
        journal.redactor.add(OWNER_TOKEN)
        if settings.secrets_passphrase:
            journal.redactor.add(settings.secrets_passphrase)
        try:
            async with AsyncExitStack() as stack:
                outbox = Database.open(
                    places.outbox,
                    name="outbox",
                    steps=STEPS,
                    synchronous="FULL",
                    make_executor=make_executor,
                )
                stack.callback(outbox.close)
                cache = open_cache(places.cache, CACHE_STEPS, make_executor=make_executor)
                stack.callback(cache.close)
                machine = replace(system or System.real(), env=env)
                parts = await assembly.assemble(settings, places, outbox, cache, machine)
                yield await self._open(stack, parts, places, outbox, cache, limits)
        finally:
            journal.close()
            logging.getLogger().setLevel(level)

    async def _open(
        self,
        stack: AsyncExitStack,
        parts: assembly.Daemon,
        places: Locations,
        outbox: Database,
        cache: Cache,
        limits: Limits | None,
    ) -> Daemon:
        access = Access(
            OWNER_TOKEN, instance_id=INSTANCE, tokens=parts.tokens, clock=PatientClock()
        )
        numbers = iter(range(1, 1_000_000))
        app = create_app(
            routes=ROUTES,
            access=access,
            clock=DaemonClock(),
            new_id=lambda: f"request-{next(numbers)}",
            limits=limits,
        )
        app.middlewares.insert(0, self.witness.of("daemon"))
        api = Api(parts, app)
        stack.push_async_callback(parts.close)
        stack.push_async_callback(api.close)
        await parts.session.open()
        address = await stack.enter_async_context(listening(app, shutdown_timeout_s=0.2))
        parts.port.number = address.port
        await stack.enter_async_context(parts.background.running())
        return Daemon(parts, places, outbox, cache, URL(address.url), self.browser, self.witness)


@asynccontextmanager
async def a_house(folder: Path, **changes: str) -> AsyncIterator[WholeSystem]:
    """Run sandbox and broker; ``changes`` are settings, BROKER_… or CLIPPERD_…."""
    witness, log = Witness(), io.StringIO()
    async with AsyncExitStack() as stack:
        stack.enter_context(broker_log(log))
        notion = sandbox.create_app(rate_per_minute=None)
        notion.middlewares.insert(0, witness.of("notion"))
        server = await stack.enter_async_context(TestServer(notion))
        port = unused_port()
        settings = Settings.from_env(
            {
                "BROKER_PUBLIC_URL": f"http://127.0.0.1:{port}",
                "BROKER_DATABASE_URL": f"sqlite:///{folder / 'broker.db'}",
                "BROKER_NOTION_API_URL": str(server.make_url("/")).rstrip("/"),
                "BROKER_NOTION_CLIENT_ID": "sandbox-client",
                "BROKER_NOTION_CLIENT_SECRET": "sandbox-secret",
                "BROKER_ENCRYPTION_KEYS": "one:" + base64.b64encode(b"k" * 32).decode(),
                "BROKER_SIGNING_KEYS": "one:" + base64.b64encode(b"s" * 32).decode(),
                "BROKER_LIMIT_SCALE": "1000",
                "BROKER_NOTION_RATE": "1000",
                "BROKER_NOTION_BURST": "1000",
                **{name: text for name, text in changes.items() if name.startswith("BROKER_")},
            }
        )
        database = await open_database(settings.database_url.reveal(), connections=10)
        stack.push_async_callback(database.close)
        transport = await stack.enter_async_context(AiohttpTransport())
        app = broker.create_app(
            settings, database=database, transport=transport, clock=SystemClock()
        )
        app.middlewares.insert(0, witness.of("broker"))
        await stack.enter_async_context(serving(app, app[broker.INBOUND], port))
        browser = await stack.enter_async_context(ClientSession(cookie_jar=CookieJar(unsafe=True)))
        yield WholeSystem(
            folder,
            notion,
            server.make_url("/"),
            app,
            URL(settings.public_url),
            database,
            witness,
            log,
            browser,
            stack,
            {name: text for name, text in changes.items() if name.startswith("CLIPPERD_")},
        )


@asynccontextmanager
async def serving(app: web.Application, inbound: Inbound, port: int) -> AsyncIterator[int]:
    """Serve the broker as its command does; ``port`` 0 lets the system choose."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    assert runner.server is not None
    factory = inbound.factory(runner.server)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", port)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await runner.cleanup()


@asynccontextmanager
async def untouched(
    house: WholeSystem, daemon: Daemon, servers: tuple[str, ...] = ("broker", "notion")
) -> AsyncIterator[None]:
    """Inside, nothing is stored, and nothing is sent to any of ``servers``."""
    before, seen = await daemon.rows(), len(house.witness.exchanges)
    yield
    after = await daemon.rows()
    assert after == before, f"stored: {set(after.items()) ^ set(before.items())}"
    later = [each for each in house.witness.exchanges[seen:] if each.server in servers]
    assert not later, f"sent: {[(each.server, each.method, each.url) for each in later]}"
    assert (await daemon.parts.session.view()).state == "signed_in"


def _row_counts(connection: sqlite3.Connection) -> dict[str, int]:
    names = [
        row[0]
        for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not row[0].startswith("sqlite_")
    ]
    return {
        name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names
    }
