"""Work that several callers may want at the same time is done once, by an owner that ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Running pieces of work by key. A caller that gives up does not stop the others."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._running: dict[Hashable, asyncio.Task[T]] = {}

    def start(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> tuple[asyncio.Task[T], bool]:
        """Return the task for ``key`` and whether this call began it."""
        task = self._running.get(key)
        if task is not None:
            return task, False
        task = asyncio.create_task(work())
        self._running[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task, True

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await the result for ``key``, beginning the work when nobody has."""
        return await asyncio.shield(self.start(key, work)[0])

    def _landed(self, key: Hashable, task: asyncio.Task[T]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # a failure nobody waits for any more is not a warning

    async def close(self) -> None:
        """Cancel all that runs and wait for its end."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def race(first: Awaitable[Any], second: Awaitable[Any]) -> None:
    """Return when one of the two is done; the other is cancelled and awaited.

    Raises what the one that is done raised.
    """
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # Gathered, not awaited one by one: being cancelled here must not be taken for their end.
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
