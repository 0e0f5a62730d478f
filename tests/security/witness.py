"""Records the requests and answers of each server, as its outermost middleware."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import StreamReader, web
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
    cookies: str = ""


async def _look_into(request: web.Request) -> None:
    """Read the body, which is then read again: the broker takes it from the stream."""
    with suppress(web.RequestPayloadError, ConnectionError):
        body = await request.read()
        again = StreamReader(request.protocol, 2**16, loop=asyncio.get_running_loop())
        again.feed_data(body)
        again.feed_eof()
        request._payload = again


@dataclass
class Witness:
    """Keeps every exchange, in the order of the answers."""

    exchanges: list[Exchange] = field(default_factory=list)

    def of(self, server: str) -> Middleware:
        """Make the middleware of one server."""

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            response: web.StreamResponse
            if request.path == "/api/auth/token" and 0 < (request.content_length or 0) < 8192:
                await _look_into(request)
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
                response.cookies.output(header="", sep=" "),
            )
        )
