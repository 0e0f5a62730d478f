"""Runs shared work once for all callers (single flight), and races two awaitables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs one task per key; canceling one caller does not cancel the task for the others."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}

    def start(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> tuple[asyncio.Task[T], bool]:
        """Return the task for ``key``, and whether this call started it."""
        task = self._running.get(key)
        if task is not None:
            return task, False
        task = asyncio.create_task(work())
        self._running[key] = task
        task.add_done_callback(lambda done: self._on_done(key, done))
        return task, True

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await the result for ``key``; start the work unless it is running."""
        return await asyncio.shield(self.start(key, work)[0])

    def _on_done(self, key: Hashable, task: asyncio.Task[T]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # retrieve it, so that asyncio does not warn when no caller is left

    async def close(self) -> None:
        """Cancel all tasks and wait for their end."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def race(first: Awaitable[Any], second: Awaitable[Any]) -> None:
    """Return when the first of the two is done; cancel the other and await it.

    Raises the error of the one that finished.
    """
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # gather: if this coroutine is canceled here, both tasks still end before it returns.
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
