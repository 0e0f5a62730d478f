"""Limits inbound connections, as aiohttp does not.

The broker closes a connection that does not send a whole request head in time, stays silent between
requests, or does not read its response. Above a number of connections, in all or from one address,
it closes new ones immediately.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp.web_protocol import RequestHandler

from cloud_broker.web.problems import Handler, malformed
from cloud_broker.web.rate_limit import Network, address_of, is_trusted

log = logging.getLogger(__name__)

HEAD_WITHIN_S = 10.0  # a request head fits into a few packets
IDLE_S = 75.0  # between the requests of a kept-alive connection, as in nginx
CONNECTIONS = 4_000  # each may need one to Notion too: see OPEN_FILES in cli/serve.py
PER_ADDRESS = 256  # a hundred daemons at one address: a stream each, and their requests
Closable = Any  # aiohttp's protocol objects: ``force_close()`` and ``transport`` are theirs


class Inbound:
    """Watches every connection of one server."""

    def __init__(
        self,
        *,
        head_within_s: float = HEAD_WITHIN_S,
        idle_s: float = IDLE_S,
        connections: int = CONNECTIONS,
        per_address: int = PER_ADDRESS,
        proxies: Sequence[Network] = (),
    ) -> None:
        """``per_address`` does not limit connections from ``proxies``."""
        self._head_within_s = head_within_s
        self._idle_s = idle_s
        self._connections = connections
        self._per_address = per_address
        self._proxies = tuple(proxies)
        self._ends: dict[Closable, float] = {}  # loop time; no entry while a request is handled
        self._timers: dict[Closable, asyncio.TimerHandle] = {}
        self._addresses: dict[Closable, str] = {}
        self._counts: Counter[str] = Counter()

    def factory(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Return a protocol factory for ``loop.create_server``; call it inside the running loop."""
        watched = _watched(self)

        def connect() -> asyncio.Protocol:
            protocol = server()
            protocol.__class__ = watched
            crowded = len(server.connections) >= self._connections
            self._arm(protocol, 0.0 if crowded else self._head_within_s)
            return protocol

        return connect

    def middleware(self) -> Middleware:
        """Make the middleware that suspends the timeout while a request is handled."""

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._ends.pop(request.protocol, None)
            try:
                return await handler(request)
            finally:
                if request.protocol.transport is not None:  # still connected
                    self._arm(request.protocol, self._idle_s + self._head_within_s)

        return watch

    def close(self) -> None:
        """Stop watching."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def opened(self, protocol: Closable, transport: asyncio.BaseTransport) -> None:
        """Count a connection, or close it when its address has too many."""
        peer = transport.get_extra_info("peername")
        if not isinstance(peer, tuple) or is_trusted(str(peer[0]), self._proxies):
            return
        address = address_of(str(peer[0]), (), ())
        self._addresses[protocol] = address
        self._counts[address] += 1
        if self._counts[address] > self._per_address:
            self._arm(protocol, 0.0)

    def closed(self, protocol: Closable) -> None:
        """Stop counting a connection."""
        self._ends.pop(protocol, None)
        timer = self._timers.pop(protocol, None)
        if timer is not None:
            timer.cancel()
        address = self._addresses.pop(protocol, None)
        if address is None:
            return
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]

    def _arm(self, protocol: Closable, seconds: float) -> None:
        """Close the connection after ``seconds``.

        Each connection has one timer, which checks the time again when it fires: cheaper than a
        new timer for each request.
        """
        loop = asyncio.get_running_loop()
        self._ends[protocol] = end = loop.time() + seconds
        timer = self._timers.get(protocol)
        if timer is not None and timer.when() <= end:
            return
        if timer is not None:
            timer.cancel()
        self._timers[protocol] = loop.call_at(end, self._look, protocol, loop)

    def _look(self, protocol: Closable, loop: asyncio.AbstractEventLoop) -> None:
        del self._timers[protocol]
        end = self._ends.get(protocol)
        if end is None:
            return
        if end > loop.time():
            self._timers[protocol] = loop.call_at(end, self._look, protocol, loop)
            return
        del self._ends[protocol]
        transport = protocol.transport
        protocol.force_close()
        if transport is not None:  # closing alone would wait for a client that reads nothing
            transport.abort()


def _watched(inbound: Inbound) -> type[RequestHandler]:
    class Watched(_Plain):
        """Reports its connection's begin and end to ``inbound``."""

        __slots__ = ()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            inbound.opened(self, transport)

        def connection_lost(self, exc: BaseException | None) -> None:
            inbound.closed(self)
            super().connection_lost(exc)

    return Watched


class _Plain(RequestHandler):
    """aiohttp's protocol with plain answers to malformed requests: no quotes, no error logs.

    ``web.Server`` always creates a ``RequestHandler`` and offers no hook for a subclass. So
    ``factory`` assigns ``__class__`` afterwards; empty ``__slots__`` keep the memory layout equal,
    which Python requires for that assignment.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (quotes what was sent)
    ) -> web.StreamResponse:
        """Answer with a problem and close; aiohttp logs every error but the parser's refusals."""
        if status >= 500 or request.writer.output_size > 0:
            super().handle_error(request, status, exc)
        else:
            log.info("Refused a malformed request (%s).", type(exc).__name__)
        response = malformed(status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an undecodable rest of a body as the client's fault, not as an error."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError):
            log.info("Refused a malformed request (the rest of its body).")
        else:
            super().log_exception(*args, **kw)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send ``resp``; turn aiohttp's own refusals (of Expect) into problems.

        After a request with Upgrade, aiohttp would parse the body as the next request, so the
        connection closes.
        """
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            resp = malformed(resp.status)
        if "Upgrade" in request.headers:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)
