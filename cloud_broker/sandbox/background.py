"""The owner of work that outlives a request: late writes and webhook deliveries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """Keeps its tasks, lets a test wait for them, and cancels and awaits them at the end."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """``sleep`` waits that many seconds."""
        self._sleep = sleep
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` until it ends or the sandbox does."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def later(self, delay_s: float, act: Callable[[], object]) -> None:
        """Call ``act`` after ``delay_s`` seconds."""
        self.start(self._after(delay_s, act))

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Cancel what is under way and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _after(self, delay_s: float, act: Callable[[], object]) -> None:
        await self._sleep(delay_s)
        act()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work failed", exc_info=task.exception())
