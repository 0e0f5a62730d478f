"""Sends HTTP requests; no other module opens outbound connections.

The type of a failure matters, because a write may be sent again only when no byte of it can have
arrived: ``ConnectFailed`` proves that, ``Interrupted`` does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping
from types import TracebackType
from typing import Protocol

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

CONNECT_S = 5.0  # to get a connection, TLS included
READ_CHUNK = 65_536


class TransportError(Exception):
    """Base of transport failures; never holds a header or a body."""


class ConnectFailed(TransportError):
    """No byte of the request was sent: it cannot have been applied."""


class Interrupted(TransportError):
    """The request was sent, at least in part, without a whole answer: it may be applied.

    ``timed_out``: the deadline passed; else the connection broke.
    """

    def __init__(self, detail: str, *, timed_out: bool = False) -> None:
        """Store the sentence and the reason."""
        super().__init__(detail)
        self.timed_out = timed_out


class ResponseTooLarge(TransportError):
    """The answer has more decoded bytes than allowed; ``status`` is the answer's."""

    def __init__(self, status: int, max_bytes: int) -> None:
        """Store the answer's status."""
        super().__init__(f"The answer has more than {max_bytes} bytes.")
        self.status = status


class Response(Struct, frozen=True):
    """A whole answer: status, headers (names in any case) and decoded body."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


Body = bytes | AsyncIterable[bytes] | None


class Transport(Protocol):
    """Sends one request and reads one whole answer."""

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: Body = None,
        deadline: float = 30.0,
        max_bytes: int = 5 * 1024 * 1024,
        before_send: Callable[[], None] | None = None,
    ) -> Response:
        """Send the request as given; nothing is added but Host, framing and Accept-Encoding.

        ``url`` is built from constants by the caller; redirects are not followed. ``deadline``
        is in seconds from now, for everything. ``before_send`` is called when a connection is
        open and no byte was sent; its exception ends the call and is raised from here.
        Every status is a Response. Raises ConnectFailed, Interrupted or ResponseTooLarge.
        """


class _GuardedRequest(ClientRequest):
    before_send: Callable[[], None] | None = None

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        if self.before_send is not None:
            self.before_send()
        return await super().send(conn)


class AiohttpTransport:
    """Pooled HTTP/1.1 without cookies, redirects or proxies from the environment.

    Use as an async context manager; inside it, ``send`` may be called concurrently.
    """

    def __init__(self, *, connections: int = 800) -> None:
        """Open at most ``connections`` at a time."""
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AiohttpTransport:
        """Open the pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_GuardedRequest,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: Body = None,
        deadline: float = 30.0,
        max_bytes: int = 5 * 1024 * 1024,
        before_send: Callable[[], None] | None = None,
    ) -> Response:
        """Send one request; see the protocol."""
        if self._session is None:
            raise RuntimeError("use the transport inside its context")
        attempt = _Attempt(before_send)
        try:
            async with asyncio.timeout(deadline):
                async with self._session.request(
                    method,
                    url,
                    headers=CIMultiDict(headers),
                    data=body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, connect=min(CONNECT_S, deadline)),
                    middlewares=(attempt.guard,),
                ) as answer:
                    return await _read(answer, max_bytes)
        except TimeoutError as error:
            raise attempt.failure("No answer in time.", timed_out=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise attempt.failure(f"The connection failed ({type(error).__name__}).") from error


class _Attempt:
    """Knows whether a byte can have left, and stops aiohttp from resending.

    aiohttp repeats GET and DELETE once when a pooled connection is dead. Only proxy/outcome.py may
    decide to resend, so the guard turns aiohttp's error into ours before aiohttp sees it.
    """

    def __init__(self, before_send: Callable[[], None] | None) -> None:
        self._before_send = before_send
        self._sending = False

    async def guard(
        self, request: ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        assert isinstance(request, _GuardedRequest)
        request.before_send = self._go
        try:
            return await handler(request)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise self.failure(f"The connection failed ({type(error).__name__}).") from error

    def _go(self) -> None:
        if self._before_send is not None:
            self._before_send()
        self._sending = True

    def failure(self, detail: str, *, timed_out: bool = False) -> TransportError:
        if self._sending:
            return Interrupted(detail, timed_out=timed_out)
        return ConnectFailed(detail)


async def _read(answer: aiohttp.ClientResponse, max_bytes: int) -> Response:
    parts: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_chunked(READ_CHUNK):
        size += len(chunk)
        if size > max_bytes:
            answer.close()
            raise ResponseTooLarge(answer.status, max_bytes)
        parts.append(chunk)
    return Response(answer.status, answer.headers, b"".join(parts))
