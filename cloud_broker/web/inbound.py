"""Limits on connections from outside, which aiohttp does not set by itself.

A connection that has not sent a whole request head in time is closed, so is one that stays silent
between requests; above a number of connections new ones are closed at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp.web_protocol import RequestHandler

from cloud_broker.web.problems import Handler, malformed

log = logging.getLogger(__name__)

HEAD_WITHIN_S = 10.0
IDLE_S = 75.0
CONNECTIONS = 4_000
Closable = Any  # aiohttp's protocol objects: ``force_close()`` is theirs


class Inbound:
    """Watches every connection of one server."""

    def __init__(
        self,
        *,
        head_within_s: float = HEAD_WITHIN_S,
        idle_s: float = IDLE_S,
        connections: int = CONNECTIONS,
    ) -> None:
        """Take the seconds to wait and the number of connections to allow."""
        self._head_within_s = head_within_s
        self._idle_s = idle_s
        self._connections = connections
        self._timers: dict[Closable, asyncio.TimerHandle] = {}

    def factory(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Wrap what makes the server's protocols; use inside the running loop."""

        def connect() -> asyncio.Protocol:
            protocol = server()
            protocol.__class__ = _Plain
            crowded = len(server.connections) >= self._connections
            self._arm(protocol, 0.0 if crowded else self._head_within_s)
            return protocol

        return connect

    def middleware(self) -> Middleware:
        """Make the middleware that stops the watch while a request is handled."""

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._disarm(request.protocol)
            try:
                return await handler(request)
            finally:
                self._arm(request.protocol, self._idle_s + self._head_within_s)

        return watch

    def close(self) -> None:
        """Stop watching."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _arm(self, protocol: Closable, seconds: float) -> None:
        self._disarm(protocol)
        loop = asyncio.get_running_loop()
        self._timers[protocol] = loop.call_later(seconds, self._end, protocol)

    def _disarm(self, protocol: Closable) -> None:
        timer = self._timers.pop(protocol, None)
        if timer is not None:
            timer.cancel()

    def _end(self, protocol: Closable) -> None:
        self._timers.pop(protocol, None)
        protocol.force_close()


class _Plain(RequestHandler):
    """aiohttp's protocol, but what its parser refuses is neither quoted nor an error of ours."""

    __slots__ = ()  # the same layout: aiohttp makes the object, ``factory`` its class

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (quotes what was sent)
    ) -> web.StreamResponse:
        """Answer with a problem and close; what is no parser's refusal is aiohttp's to log."""
        if status >= 500 or request.writer.output_size > 0:
            super().handle_error(request, status, exc)
        else:
            log.info("a malformed request: %s", type(exc).__name__)
        response = malformed(status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """The unread rest of a body that cannot be decoded is its sender's fault, not ours."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError):
            log.info("a malformed request: the rest of its body")
        else:
            super().log_exception(*args, **kw)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send ``resp``; what aiohttp refuses before any middleware (Expect) is a problem too.

        After a head that asks for an upgrade, aiohttp takes a body for the next request: nothing
        that follows one is read.
        """
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            resp = malformed(resp.status)
        if "Upgrade" in request.headers:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)
