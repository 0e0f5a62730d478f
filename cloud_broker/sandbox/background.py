"""Runs work that outlives a request: late writes and webhook deliveries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """Owns background tasks: tests can wait for them, and ``close`` cancels them."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """``sleep`` waits for a number of seconds."""
        self._sleep = sleep
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` until it or the sandbox ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def later(self, delay_s: float, act: Callable[[], object]) -> None:
        """Call ``act`` after ``delay_s`` seconds."""
        self.start(self._after(delay_s, act))

    async def idle(self) -> None:
        """Wait until no task is running."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Cancel the running tasks and wait for them."""
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
            log.error("A background task failed.", exc_info=task.exception())
