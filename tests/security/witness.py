"""What each server was sent and what it answered, as its own outermost middleware saw it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer; bodies as bytes, streams without a body."""

    server: str
    method: str
    url: str
    authorization: str
    sent: bytes
    status: int
    location: str
    answered: bytes


@dataclass
class Witness:
    """Keeps every exchange, in the order of the answers."""

    exchanges: list[Exchange] = field(default_factory=list)

    def of(self, server: str) -> Middleware:
        """Make the middleware of one server."""

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            response: web.StreamResponse
            try:
                response = await handler(request)
            except web.HTTPException as raised:
                self._keep(server, request, raised)
                raise
            self._keep(server, request, response)
            return response

        return watch

    def _keep(self, server: str, request: web.Request, response: web.StreamResponse) -> None:
        body = response.body if isinstance(response, web.Response) else None
        self.exchanges.append(
            Exchange(
                server,
                request.method,
                request.raw_path,
                request.headers.get("Authorization", ""),
                request._read_bytes or b"",
                response.status,
                response.headers.get("Location", ""),
                bytes(body) if isinstance(body, bytes | bytearray) else b"",
            )
        )
