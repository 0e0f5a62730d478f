"""The routes of pages and outlines on a real socket, over real files and a small Notion."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from clipperd.daemon.schema import CACHE_STEPS
from clipperd.errors import WorkspaceMismatch
from clipperd.model import Scope
from clipperd.outline.outlines import Outlines
from clipperd.pages.pages import Pages
from clipperd.pages.schema import PAGE_STEPS
from clipperd.storage.database import Database
from clipperd.storage.disposable import open_cache
from clipperd.web import keys
from clipperd.web.access import Access
from clipperd.web.app import create_app, listening
from clipperd.web.handlers import outlines, pages
from clipperd.web.tokens import CLIENT_STEPS, ApiTokens
from tests.clipperd.memory_notion import SCOPE, Heard, MemoryNotion
from tests.clipperd.web.middleware_stage import INSTANCE, TOKEN
from tests.clocks import SkippingClock

WORKSPACE = "11111111-1111-4111-8111-111111111111"


class OneAccount:
    """One account with one workspace."""

    async def scope(self, workspace_id: str | None) -> Scope:
        if workspace_id not in (None, WORKSPACE):
            raise WorkspaceMismatch("That workspace is not one of this account's.")
        return SCOPE


class PagesApiStage:
    """A client of the routes, with the world behind them."""

    def __init__(self, session: aiohttp.ClientSession, notion: MemoryNotion, shown: Pages) -> None:
        self.notion = notion
        self.pages = shown
        self._session = session

    async def __call__(self, method: str, path: str, **given: Any) -> tuple[int, Any]:
        async with self._session.request(method, path, **given) as response:
            return response.status, await response.json()


@asynccontextmanager
async def reading(folder: Path) -> AsyncIterator[PagesApiStage]:
    """Serve the routes of pages and outlines."""
    clock, heard = SkippingClock(), Heard()
    notion = MemoryNotion(clock)
    cache = open_cache(folder / "cache.db", CACHE_STEPS)
    outbox = Database.open(
        folder / "outbox.db",
        name="outbox",
        steps=(*PAGE_STEPS, *CLIENT_STEPS),
        synchronous="FULL",
    )
    numbers = itertools.count(1)
    clients = await ApiTokens.open(
        outbox, clock, new_id=lambda: f"id{next(numbers)}", new_token=lambda: f"{next(numbers)}"
    )
    app = create_app(
        routes=[*pages.ROUTES, *outlines.ROUTES],
        access=Access(TOKEN, instance_id=INSTANCE, tokens=clients, clock=clock),
        clock=clock,
        new_id=lambda: f"req{next(numbers)}",
    )
    app[keys.PAGES] = Pages(cache, outbox, notion, clock, heard)
    app[keys.OUTLINES] = Outlines(cache, notion, clock, heard)
    app[keys.ACCOUNTS] = OneAccount()  # type: ignore[misc]
    try:
        async with (
            listening(app) as at,
            aiohttp.ClientSession(at.url, headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        ):
            yield PagesApiStage(session, notion, app[keys.PAGES])
    finally:
        await app[keys.PAGES].close()
        await app[keys.OUTLINES].close()
        cache.close()
        outbox.close()
