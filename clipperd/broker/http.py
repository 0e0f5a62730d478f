"""The one place in the daemon that opens connections to the world outside."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Protocol

import aiohttp
import msgspec
from yarl import URL

from clipperd.errors import BrokerUnreachable

CONNECT_S = 5.0  # name, socket and TLS together; a broker that takes longer is as good as away
ANSWER_BYTES = 8 << 20  # the broker caps Notion's answers at 5 MB


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer read to its end; header names are in lower case, the last value wins."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Incoming(Protocol):
    """An answer whose body is read as it comes; header names are in lower case."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """The body until it ends. Raises BrokerUnreachable when it breaks off or goes silent."""


class Http(Protocol):
    """One HTTP exchange with the broker, and nothing that it could mean."""

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None,
        total_s: float,
    ) -> Answer:
        """Exchange one request within ``total_s`` seconds, following no redirect.

        Raises BrokerUnreachable: ``sent`` is False only where no byte can have left this machine.
        What reading ``body`` raises is raised as it is.
        """

    def stream(
        self, url: URL, *, headers: Mapping[str, str], idle_s: float
    ) -> AbstractAsyncContextManager[Incoming]:
        """GET an answer without an end; ``idle_s`` bounds the silence before and in its body.

        Raises BrokerUnreachable.
        """

    async def drop_connections(self) -> None:
        """Abandon every open socket; what was under way fails as an interrupted exchange."""


class AiohttpHttp:
    """The broker over aiohttp. Opens its pool at the first request; close with :meth:`close`."""

    def __init__(self, *, connect_s: float = CONNECT_S, answer_bytes: int = ANSWER_BYTES) -> None:
        """``connect_s`` bounds DNS, TCP and TLS; ``answer_bytes`` the decoded body."""
        self._connect_s = connect_s
        self._answer_bytes = answer_bytes
        self._session: aiohttp.ClientSession | None = None
        self._under_way: set[asyncio.Timeout] = set()
        self._tls: ssl.SSLContext | None = None

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None,
        total_s: float,
    ) -> Answer:
        """Exchange one request; see :class:`Http`."""
        departure = SimpleNamespace(sent=False)
        read = _Read(body) if body is not None and not isinstance(body, bytes) else None
        timeout = aiohttp.ClientTimeout(total=total_s, connect=self._connect_s)
        try:
            session = await self._open(url)
            async with (
                self._abandonable(),
                session.request(
                    method,
                    url,
                    headers=headers,
                    data=read or body,
                    timeout=timeout,
                    allow_redirects=False,
                    trace_request_ctx=departure,
                ) as response,
            ):
                content = await self._read(response)
                found = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, found, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if read is not None and read.fault is not None:
                raise read.fault from error
            raise BrokerUnreachable(_sentence(error), sent=departure.sent) from error

    @asynccontextmanager
    async def stream(
        self, url: URL, *, headers: Mapping[str, str], idle_s: float
    ) -> AsyncIterator[Incoming]:
        """GET an answer without an end; see :class:`Http`."""
        timeout = aiohttp.ClientTimeout(total=None, connect=self._connect_s, sock_read=idle_s)
        departure = SimpleNamespace(sent=False)
        try:
            session = await self._open(url)
            async with self._abandonable():
                response = await session.get(
                    url,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                    trace_request_ctx=departure,
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BrokerUnreachable(_sentence(error), sent=departure.sent) from error
        try:
            yield _Streamed(response)
        finally:
            response.close()

    async def drop_connections(self) -> None:
        """Close the pool; the next request opens a new one.

        Closing does not reach what is still being connected, so each exchange is told as well.
        """
        under_way, self._under_way = self._under_way, set()
        now = asyncio.get_running_loop().time()
        for exchange in under_way:
            exchange.reschedule(now)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def close(self) -> None:
        """Close the pool for good."""
        await self.drop_connections()

    @asynccontextmanager
    async def _abandonable(self) -> AsyncIterator[None]:
        """What goes on inside ends with TimeoutError when connections are dropped."""
        async with asyncio.timeout(None) as exchange:
            self._under_way.add(exchange)
            try:
                yield
            finally:
                self._under_way.discard(exchange)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts = bytearray()
        async for part in response.content.iter_any():
            parts += part
            if len(parts) > self._answer_bytes:
                raise BrokerUnreachable("The service's answer was too large.", sent=True)
        return bytes(parts)

    async def _open(self, url: URL) -> aiohttp.ClientSession:
        tls = await asyncio.to_thread(_trust) if self._must_trust(url) else None
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_departs)
            self._tls = self._tls or tls
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=64, ssl=self._tls or True),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
                trust_env=False,
            )
        return self._session

    def _must_trust(self, url: URL) -> bool:
        """Whether the certificates are still to be read; plain http goes to this machine only."""
        return self._tls is None and url.scheme == "https"


class _Read:
    """A body that comes from elsewhere, and what went wrong there: aiohttp calls all of it a fault
    of the connection that it was sent on."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self.fault: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except Exception as error:  # whatever it is, the caller gets it
            self.fault = error
            raise


class _Streamed:
    """An aiohttp response that is read as it comes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items()
        }
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BrokerUnreachable(_sentence(error), sent=True) from error


def _trust() -> ssl.SSLContext:
    """TLS that believes the machine's certificates; reading them blocks for some 50 ms."""
    made = ssl.create_default_context()
    made.set_alpn_protocols(("http/1.1",))  # as aiohttp's own: it speaks nothing newer
    return made


async def _departs(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    """Note that bytes may leave: aiohttp calls this just before it writes the first of them."""
    context.trace_request_ctx.sent = True


def _sentence(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "The service's certificate is not trusted."
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "The service's name cannot be found; this machine may be offline."
    if isinstance(error, asyncio.TimeoutError):
        return "The service did not answer in time."
    if isinstance(error, aiohttp.ClientConnectorError):
        return "The service cannot be reached; this machine may be offline."
    return "The connection to the service broke off."
