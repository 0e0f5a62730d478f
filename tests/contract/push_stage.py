"""The daemon's caches and stream, the real broker, and the sandbox with a webhook: one process."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, CookieJar, web
from aiohttp.test_utils import TestServer, unused_port
from yarl import URL

from clipperd.cli.demo.sandbox import section_of, text_of
from clipperd.daemon.background import ActiveAccount
from clipperd.daemon.schema import CACHE_STEPS
from clipperd.model import Position, Scope
from clipperd.notion.port import Call
from clipperd.outline.freshness import FreshnessTracker
from clipperd.outline.outlines import Outline, Outlines
from clipperd.outline.positions import PositionResolver
from clipperd.pages.pages import Pages
from clipperd.pages.schema import PAGE_STEPS
from clipperd.push.event_handler import EventHandler
from clipperd.push.listener import Listener
from clipperd.session.session import Session
from clipperd.storage.database import Store
from clipperd.storage.disposable import open_cache
from clipperd.web.handlers.session import ROUTES
from clipperd.web.keys import CLIPS, SESSION
from cloud_broker import app as broker
from cloud_broker.clock import SystemClock
from cloud_broker.sandbox import app as sandbox
from cloud_broker.settings.config import Settings
from cloud_broker.storage.sqlite import open_sqlite
from cloud_broker.transport import AiohttpTransport
from tests.clipperd.session.session_stage import SessionStage, running_world

OUTLINE = "# Inbox\nfirst\n# Later\nkept"
_TURN_S = 0.01


class Broker:
    """The broker on one port and one file; stopped and started as often as a test likes."""

    def __init__(self, folder: Path, notion: URL) -> None:
        self.port = unused_port()
        self.file = folder / "broker.db"
        self.settings = Settings.from_env(
            {
                "BROKER_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
                "BROKER_NOTION_API_URL": str(notion).rstrip("/"),
                "BROKER_NOTION_CLIENT_ID": "sandbox-client",
                "BROKER_NOTION_CLIENT_SECRET": "sandbox-secret",
                "BROKER_ENCRYPTION_KEYS": "one:" + base64.b64encode(b"k" * 32).decode(),
                "BROKER_SIGNING_KEYS": "one:" + base64.b64encode(b"s" * 32).decode(),
                "BROKER_WEBHOOK_PENDING": "1",
                "BROKER_LIMIT_SCALE": "1000",
                "BROKER_NOTION_RATE": "500",
                "BROKER_NOTION_BURST": "500",
            }
        )
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        database = await open_sqlite(self.file)
        self._stack.push_async_callback(database.close)
        transport = await self._stack.enter_async_context(AiohttpTransport())
        app = broker.create_app(
            self.settings, database=database, transport=transport, clock=SystemClock()
        )
        await self._stack.enter_async_context(TestServer(app, port=self.port))

    async def stop(self) -> None:
        await self._stack.aclose()


class Pushed:
    """What a test of the push channel touches."""

    def __init__(self, world: SessionStage, cache: Store, broker: Broker, notion: URL) -> None:
        self.world = world
        self.broker = broker
        self.clock = world.clock
        self.removed: list[str] = []
        self.scope = Scope("", "")
        self.active = ActiveAccount()
        self.freshness = FreshnessTracker(self.clock)
        self.outlines = Outlines(cache, world.notion, self.clock, self._heard, self.freshness)
        self.places = PositionResolver(self.outlines, world.notion, cache, self.clock)
        self.pages = Pages(cache, world.db, world.notion, self.clock, self._heard)
        session: Session = world.session
        self.listener = Listener(
            world.client,
            session,
            EventHandler(session, self.places, self.pages, self.freshness),
            self.freshness,
            cache,
            self.clock,
            active_user=self.active.get,
            rng=lambda: 0.0,
        )
        self._notion = notion
        self.browser = ClientSession(cookie_jar=CookieJar(unsafe=True))

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """One control request to the sandbox."""
        url = self._notion / "_sandbox" / path
        async with self.browser.request(method, url, json=body) as answer:
            assert answer.status < 400, await answer.text()
            return await answer.json()

    async def page(self) -> str:
        """A page that a person made; its webhooks are through."""
        made = await self.ask("POST", "pages", {"title": "Pushed", "outline": OUTLINE})
        await self.settled()
        page = str(made["id"])
        await self.until(lambda: self.freshness.has_unread_change((self.scope, page)))
        await asyncio.sleep(_TURN_S)  # creation and content are two events of one batch
        self.clock.advance(1)
        self.freshness.on_activity()
        return page

    async def edit(self, **edit: Any) -> None:
        """An edit by a person; its webhook may have failed when this returns."""
        await self.ask("POST", "edit", edit)

    async def settled(self) -> None:
        """Every webhook was delivered and has passed the broker."""
        await self.ask("POST", "settle")

    async def outline(self, page: str) -> Outline:
        """The outline as a client asks for it, a second later."""
        self.clock.advance(1)
        return await self.outlines.get(self.scope, page, "auto")

    async def clip_to_section(self, page: str, heading: str, text: str) -> None:
        """Resolve, append and confirm, as delivery does."""
        self.clock.advance(1)
        place = await self.places.resolve(
            self.scope, page, Position("end_of_section", heading_id=heading)
        )
        block = {"type": "paragraph", "paragraph": {"rich_text": [{"text": {"content": text}}]}}
        after = {"type": "after_block", "after_block": {"id": place.after}}
        body = {"children": [block], "position": after}
        reply = await self.world.notion.send(
            self.scope, Call("PATCH", f"blocks/{place.parent_id}/children", body=_json(body))
        )
        assert reply.ok, reply
        made = [reply.body["results"][0]["id"]]
        await self.places.record_append(self.scope, page, place, made, made[0], [block])

    async def blocks(self, page: str) -> list[dict[str, Any]]:
        return list((await self.ask("GET", f"pages/{page}/blocks"))["blocks"])

    async def section(self, page: str, heading: str) -> list[str]:
        return [text_of(block) for block in section_of(await self.blocks(page), heading)]

    async def calls(self) -> dict[str, int]:
        return dict((await self.ask("GET", "calls"))["by_route"])

    async def forget_calls(self) -> None:
        await self.ask("DELETE", "calls")

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let everything go on until ``holds``; the test's timeout is the bound."""
        while not holds():
            await asyncio.sleep(_TURN_S)
            self.listener.retry_now()

    async def stop_broker(self) -> None:
        await self.broker.stop()

    async def start_broker(self) -> None:
        await self.broker.start()

    def forget_the_log(self) -> None:
        """As after three days: what the stopped broker's log held is gone."""
        with sqlite3.connect(self.broker.file) as connection:
            connection.execute("UPDATE push_state SET head = head + 10, floor = head + 10")
        connection.close()

    async def revoke_session(self) -> None:
        """On another device, the person ends this one's session."""
        token = await self.world.session.token_for(self.scope.user_id)
        url = URL(self.broker.settings.public_url) / "api/auth/sessions"
        async with self.browser.get(url, headers={"Authorization": f"Bearer {token}"}) as listed:
            found = (await listed.json())["sessions"]
        with sqlite3.connect(self.broker.file) as connection:
            connection.execute(
                "UPDATE sessions SET revoked_at = 1, revoked_why = 'elsewhere' WHERE id = ?",
                (found[0]["id"],),
            )
        connection.close()

    async def sign_in(self) -> None:
        started = await self.world.session.start_login("loopback")
        async with self.browser.get(started.login_url, allow_redirects=False) as departed:
            asked = URL(departed.headers["Location"])
        async with self.browser.get(asked.update_query(auto="1")) as arrived:
            assert arrived.status == 200, await arrived.text()
        self.scope = await self.world.accounts.scope(None)
        self.active.user_id = self.scope.user_id
        self.listener.account_changed()

    async def subscribe(self) -> None:
        hook = self.broker.settings.public_url + "/api/notion/webhook"
        asked = {"url": hook, "aggregation_ms": 0, "verify": True}
        made = await self.ask("POST", "webhooks", asked)
        assert made["state"] == "active", made
        await self.ask("PATCH", "config", {"webhook_backoff_s": 0.2})

    def _heard(self, kind: str, data: Any, _user: str | None = None) -> None:
        if kind == "pages":
            self.removed.extend(data["removed"])


@asynccontextmanager
async def a_pushed_daemon(folder: Path) -> AsyncIterator[Pushed]:
    """Everything up: signed in, subscribed, the stream told that it is complete."""
    async with TestServer(sandbox.create_app(rate_per_minute=None)) as notion:
        made = Broker(folder, notion.make_url("/"))
        await made.start()
        port = unused_port()
        cache = open_cache(folder / "cache.db", CACHE_STEPS)
        try:
            url = URL(made.settings.public_url)
            async with running_world(folder, url, port=port, steps=PAGE_STEPS) as world:
                daemon = Pushed(world, cache, made, notion.make_url("/"))
                app = web.Application()
                app[SESSION] = world.session
                app[CLIPS] = _NoClips()  # type: ignore[misc]
                for route in ROUTES:
                    app.router.add_route(route.method, route.path, route.handler)
                async with TestServer(app, port=port), daemon.browser:
                    await daemon.subscribe()
                    task = asyncio.ensure_future(daemon.listener.run())
                    try:
                        await daemon.sign_in()
                        await daemon.until(lambda: daemon.listener.is_live)
                        yield daemon
                    finally:
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
                        await daemon.pages.close()
                        await daemon.outlines.close()
        finally:
            cache.close()
            await made.stop()


class _NoClips:
    """Stands in for ``Clips``: no clip is waiting."""

    async def unsent(self, _workspace_id: str) -> int:
        return 0


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
