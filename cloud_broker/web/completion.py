"""A caller who leaves ends a read; whatever changes something is finished all the same.

The server cancels the handler of a connection that is lost (``handler_cancellation``). This keeps
that from everything but the reads: requests that are known for reads at once run as they are, and
those that turn out to be say so by ``request[READS] = True``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from cloud_broker.web.problems import Handler

READS: web.RequestKey[bool] = web.RequestKey("reads")


class Completion:
    """Owns the handlers under way."""

    def __init__(self, only_reads: Callable[[web.Request], bool]) -> None:
        """``only_reads``: whether a request is known for a read before it is handled."""
        self._only_reads = only_reads
        self._under_way: set[asyncio.Future[web.StreamResponse]] = set()

    def middleware(self) -> Middleware:
        """Make the middleware; what is inside it must turn every error into an answer."""

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
        """Give handlers whose callers have left ``within_s`` to end, then cancel them."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=within_s)
        left = set(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
