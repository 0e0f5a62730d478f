"""Knows whether the broker is stopping: readiness fails first, running requests continue."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


class Drain:
    """A flag, set once when the stop begins."""

    def __init__(self) -> None:
        """Start as not stopping."""
        self.has_begun = False

    def begin(self) -> None:
        """Report not ready from now on, and close connections after their response."""
        self.has_begun = True

    def middleware(self) -> Middleware:
        """Make the middleware that closes kept-alive connections once the stop has begun."""

        @web.middleware
        async def close_connection(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            if self.has_begun and not response.prepared:
                response.force_close()
            return response

        return close_connection
