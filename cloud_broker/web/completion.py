"""Finishes requests that change something even when their client disconnects.

aiohttp cancels the handler when its connection is lost (``handler_cancellation``). This middleware
lets it cancel reads only: a request that ``only_reads`` recognizes runs unshielded, and a handler
that finds out later that it only reads sets ``request[READS] = True``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from cloud_broker.web.problems import Handler

READS: web.RequestKey[bool] = web.RequestKey("reads")


class Completion:
    """Owns the running handlers."""

    def __init__(self, only_reads: Callable[[web.Request], bool]) -> None:
        """``only_reads`` returns whether a request is a read, before it is handled."""
        self._only_reads = only_reads
        self._under_way: set[asyncio.Future[web.StreamResponse]] = set()

    def middleware(self) -> Middleware:
        """Make the middleware; the ones inside it must turn every error into a response."""

        @web.middleware
        async def complete(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._only_reads(request):
                return await handler(request)
            task = asyncio.ensure_future(handler(request))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                if request.get(READS, False):
                    task.cancel()
                raise

        return complete

    async def close(self, within_s: float) -> None:
        """Wait ``within_s`` for handlers whose clients have left, then cancel them."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=within_s)
        left = set(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
