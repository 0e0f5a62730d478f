"""The listening socket on 127.0.0.1, with a limit of connections and a timeout for headers.

aiohttp has neither of these limits. A Guard wraps aiohttp's protocol and closes a connection
whose first or next request does not send its headers in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import http_exceptions, web
from aiohttp.web_protocol import RequestHandler

from clipperd.web.middleware.problems import from_status, respond, trace

_REFUSAL = (
    b'{"type":"urn:clipperd:problem:too_many_connections","title":"Too many connections",'
    b'"status":503,"detail":"Close some connections first.","code":"too_many_connections",'
    b'"request_id":"-","retry_after":1}'
)


class Guard(asyncio.Protocol):
    """Delegates to aiohttp's protocol and times the headers of each request."""

    def __init__(
        self, inner: asyncio.Protocol, header_timeout_s: float, on_closed: Callable[[Guard], None]
    ) -> None:
        """``on_closed`` is called once the connection is lost."""
        self._inner = inner
        self._header_timeout_s = header_timeout_s
        self._on_closed = on_closed
        self._transport: asyncio.BaseTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self.on_lost: set[Callable[[], None]] = set()

    @staticmethod
    def of(transport: asyncio.BaseTransport | None) -> Guard | None:
        """Return the guard of a request's transport; None in tests and after a disconnect."""
        protocol = transport.get_protocol() if isinstance(transport, asyncio.Transport) else None
        return protocol if isinstance(protocol, Guard) else None

    def busy(self, busy: bool) -> None:
        """Note that a request's headers have arrived, or that its response is complete."""
        self._busy = busy
        self._disarm()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the header timeout."""
        self._transport = transport
        self._arm()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Start the header timeout at the first byte of the next request."""
        if not self._busy and self._timer is None:
            self._arm()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Delegate."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Delegate."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Delegate."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Delegate, and end the streams on this connection."""
        self._disarm()
        for callback in tuple(self.on_lost):
            callback()
        self._inner.connection_lost(exc)
        self._on_closed(self)

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._header_timeout_s, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._transport is not None:
            self._transport.close()


class _TooMany(asyncio.Protocol):
    """Answers a connection above the limit with 503."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
            b"Retry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(_REFUSAL)
        )
        transport.write(_REFUSAL)
        transport.close()


class LoopbackSite(web.BaseSite):
    """A site on 127.0.0.1; it never binds a host name or another address."""

    def __init__(
        self, runner: web.BaseRunner, port: int, *, connections: int, header_timeout_s: float
    ) -> None:
        """``port`` 0 lets the system choose; :attr:`port` holds the choice after start."""
        super().__init__(runner)
        self._asked = port
        self._limit = connections
        self._header_timeout_s = header_timeout_s
        self._guards: set[Guard] = set()
        self.port = 0

    @property
    def name(self) -> str:
        """The URL."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Bind and listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, "127.0.0.1", self._asked, backlog=128)
        await super().start()
        self._server = server
        self.port = int(server.sockets[0].getsockname()[1])

    def _accept(self) -> asyncio.Protocol:
        inner = self._runner.server
        if inner is None or len(self._guards) >= self._limit:
            return _TooMany()
        protocol = inner()
        protocol.__class__ = _QuietHandler
        guard = Guard(protocol, self._header_timeout_s, self._guards.discard)
        self._guards.add(guard)
        return guard


class _QuietHandler(RequestHandler):
    """aiohttp's protocol; its responses to malformed requests do not quote the request."""

    __slots__ = ()  # the same layout: aiohttp creates the object, ``_accept`` sets its class

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (quotes the request)
    ) -> web.StreamResponse:
        """Log as aiohttp does, respond with a problem, close the connection."""
        super().handle_error(request, status, exc)
        response = respond(from_status(status, "-"), "/")
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Close after an upgrade request: aiohttp would parse its body as the next request."""
        if "Upgrade" in request.headers:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)


class _NoQuotes(logging.Filter):
    """Removes the messages of exceptions from aiohttp's logs: a parser's quotes the headers."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            if isinstance(error, http_exceptions.HttpProcessingError):
                record.levelno, record.levelname = logging.INFO, "INFO"
            record.exc_info = None
            record.msg, record.args = "a request failed: %s", (trace(error),)
        return True


def server_log() -> logging.Logger:
    """Return the logger for aiohttp's server."""
    logger = logging.getLogger("clipperd.web.server")
    if not any(isinstance(each, _NoQuotes) for each in logger.filters):
        logger.addFilter(_NoQuotes())
    return logger
