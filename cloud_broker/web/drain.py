"""Whether the broker is stopping: readiness fails first, requests under way go on."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


class Drain:
    """A flag that is raised once."""

    def __init__(self) -> None:
        """Not stopping."""
        self.has_begun = False

    def begin(self) -> None:
        """Report not ready from now on, and keep no connection for another request."""
        self.has_begun = True

    def middleware(self) -> Middleware:
        """Make the middleware that sends kept connections elsewhere once a stop has begun."""

        @web.middleware
        async def part(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            if self.has_begun and not response.prepared:
                response.force_close()
            return response

        return part
