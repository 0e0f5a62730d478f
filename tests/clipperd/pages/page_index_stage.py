"""A page index on real files, with a small Notion."""

from __future__ import annotations

from pathlib import Path

from clipperd.daemon.schema import CACHE_STEPS
from clipperd.pages.pages import Pages
from clipperd.pages.schema import PAGE_STEPS
from clipperd.pages.usage import record_use
from clipperd.storage.database import Database
from clipperd.storage.disposable import open_cache
from tests.clipperd.memory_notion import SCOPE, Heard, MemoryNotion
from tests.clocks import SkippingClock


class PageIndexStage:
    """Everything a test of the page index touches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SkippingClock()
        self.notion = MemoryNotion(self.clock)
        self.heard = Heard()
        self.start()

    def start(self) -> None:
        self.cache = open_cache(self.folder / "cache.db", CACHE_STEPS)
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

    async def use(self, page_id: str) -> None:
        """Count a clip to the page, as its delivery does."""
        now = self.clock.now()
        await self.outbox.write(lambda c: record_use(c, SCOPE, page_id, now))
        await self.pages.report_use(SCOPE, page_id)

    async def settle(self) -> None:
        """Run the background work until it would wait for a poke."""
        await self.pages.catch_up(SCOPE)

    async def until_called(self) -> None:
        """Wait until Notion was asked for something."""
        while not self.notion.calls:
            await self.breathe()

    async def breathe(self) -> None:
        """Let background work run for some iterations of the loop and of both files."""
        for _ in range(20):
            await self.cache.read(lambda c: None)
            await self.outbox.read(lambda c: None)
