"""A page index on real files beside a small Notion."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from clipperd.cache_schema import open_cache
from clipperd.db import Database
from clipperd.pages.pages import Pages
from clipperd.pages.schema import PAGE_STEPS
from tests.clipperd.fake_notion import SCOPE, FakeClock, FakeNotion, Heard


class World:
    """Everything a test of the page index touches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.notion = FakeNotion(self.clock)
        self.heard = Heard()
        self.start()

    def start(self) -> None:
        self.cache = open_cache(self.folder / "cache.db")
        self.outbox = Database.open(
            self.folder / "outbox.db", name="outbox", steps=PAGE_STEPS, synchronous="FULL"
        )
        self.pages = Pages(self.cache, self.outbox, self.notion, self.clock, self.heard)

    async def close(self) -> None:
        await self.pages.close()
        self.cache.close()
        self.outbox.close()

    async def restart(self) -> None:
        """Close the files and open them again, as a new process does."""
        await self.close()
        self.start()

    def some_pages(self, count: int) -> list[str]:
        """Add pages one minute apart, oldest first."""
        ids = []
        for number in range(count):
            ids.append(self.notion.add_page(f"Page {number}"))
            self.clock.advance(60)
        return ids

    async def settle(self) -> None:
        """Run the background work until it waits for a poke."""
        task = asyncio.create_task(self.pages.run(SCOPE))
        await self.breathe(until_complete=True)
        await self.breathe()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def breathe(self, *, until_complete: bool = False) -> None:
        """Let background work go on for many turns of the loop and of both files."""
        for _ in range(40_000 if until_complete else 20):
            await self.cache.read(lambda c: None)
            await self.outbox.read(lambda c: None)
            if until_complete and (await self.pages.index_status(SCOPE)).complete:
                return
