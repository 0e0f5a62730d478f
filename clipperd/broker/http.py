"""Opens every outgoing connection of the daemon: HTTP requests to the broker, over aiohttp."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import aiohttp
import msgspec
from yarl import URL

from clipperd.errors import BrokerUnreachable
from clipperd.settings.proxy import Proxy, ProxyUnusable

CONNECT_S = 5.0  # DNS, TCP and TLS together; a slower broker counts as unreachable
ANSWER_BYTES = 8 << 20  # the broker caps Notion's answers at 5 MB


class Answer(msgspec.Struct, frozen=True):
    """A complete HTTP answer; header names in lower case, the last value of a repeated one."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Incoming(Protocol):
    """An answer whose body is streamed; header names in lower case."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body. Raises BrokerUnreachable when it breaks off or stalls."""


class Http(Protocol):
    """The port for HTTP requests to the broker."""

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None,
        total_s: float,
    ) -> Answer:
        """Send one request and read its answer within ``total_s`` seconds; follow no redirect.

        Raises BrokerUnreachable: ``sent`` is False only if no byte has left this machine.
        Passes on errors of reading ``body``.
        """

    def stream(
        self, url: URL, *, headers: Mapping[str, str], idle_s: float
    ) -> AbstractAsyncContextManager[Incoming]:
        """GET an endless answer; ``idle_s`` bounds the silence before and in its body.

        Raises BrokerUnreachable.
        """

    async def drop_connections(self) -> None:
        """Close every connection; requests under way fail as interrupted."""


class AiohttpHttp:
    """Http over aiohttp. Opens its pool at the first request; close it with :meth:`close`."""

    def __init__(
        self,
        *,
        connect_s: float = CONNECT_S,
        answer_bytes: int = ANSWER_BYTES,
        proxy: Callable[[str], Proxy | None] = lambda _url: None,
        ca_file: Path | None = None,
    ) -> None:
        """``connect_s`` bounds DNS, TCP and TLS; ``answer_bytes`` the decoded body.

        ``proxy``: returns the proxy for a URL. ``ca_file``: CA certificates to trust as well.
        """
        self._connect_s = connect_s
        self._answer_bytes = answer_bytes
        self._proxy = proxy
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None
        self._in_flight: set[asyncio.Timeout] = set()
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
        """Send one request; see :class:`Http`."""
        context = SimpleNamespace(sent=False)
        stream = _BodyStream(body) if body is not None and not isinstance(body, bytes) else None
        timeout = aiohttp.ClientTimeout(total=total_s, connect=self._connect_s)
        proxy = self._proxy_to(url)
        try:
            session = await self._open(url)
            async with (
                self._droppable(),
                session.request(
                    method,
                    url,
                    headers=headers,
                    data=stream or body,
                    timeout=timeout,
                    allow_redirects=False,
                    trace_request_ctx=context,
                    **_proxy_options(proxy),
                ) as response,
            ):
                content = await self._read(response)
                found = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, found, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if stream is not None and stream.error is not None:
                raise stream.error from error
            sentence = _sentence(error, proxy, context.sent)
            raise BrokerUnreachable(sentence, sent=context.sent) from (None if proxy else error)

    @asynccontextmanager
    async def stream(
        self, url: URL, *, headers: Mapping[str, str], idle_s: float
    ) -> AsyncIterator[Incoming]:
        """GET an endless answer; see :class:`Http`."""
        timeout = aiohttp.ClientTimeout(total=None, connect=self._connect_s, sock_read=idle_s)
        context = SimpleNamespace(sent=False)
        proxy = self._proxy_to(url)
        try:
            session = await self._open(url)
            async with self._droppable():
                response = await session.get(
                    url,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                    trace_request_ctx=context,
                    **_proxy_options(proxy),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            sentence = _sentence(error, proxy, context.sent)
            raise BrokerUnreachable(sentence, sent=context.sent) from (None if proxy else error)
        try:
            yield _StreamedAnswer(response)
        finally:
            response.close()

    async def drop_connections(self) -> None:
        """Close the pool; the next request opens a new one.

        Closing does not stop a connection attempt, so each request in flight times out as well.
        """
        in_flight, self._in_flight = self._in_flight, set()
        now = asyncio.get_running_loop().time()
        for request in in_flight:
            request.reschedule(now)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def close(self) -> None:
        """Close the pool for good."""
        await self.drop_connections()

    @asynccontextmanager
    async def _droppable(self) -> AsyncIterator[None]:
        """Raise TimeoutError inside the block when connections are dropped."""
        async with asyncio.timeout(None) as request:
            self._in_flight.add(request)
            try:
                yield
            finally:
                self._in_flight.discard(request)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts = bytearray()
        async for part in response.content.iter_any():
            parts += part
            if len(parts) > self._answer_bytes:
                raise BrokerUnreachable("The service's answer is too large.", sent=True)
        return bytes(parts)

    async def _open(self, url: URL) -> aiohttp.ClientSession:
        tls = await asyncio.to_thread(_tls_context, self._ca_file) if self._needs_tls(url) else None
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_mark_sent)
            self._tls = self._tls or tls
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=64, ssl=self._tls or True),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
                trust_env=False,
            )
        return self._session

    def _proxy_to(self, url: URL) -> Proxy | None:
        try:
            return self._proxy(str(url.origin()))
        except ProxyUnusable as error:
            raise BrokerUnreachable(str(error), sent=False) from None

    def _needs_tls(self, url: URL) -> bool:
        """Return whether certificates must still be read; plain http reaches this machine only."""
        return self._tls is None and url.scheme == "https"


class _BodyStream:
    """A streamed body that remembers its own error: aiohttp reports it as a connection error."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except Exception as error:  # passed on to the caller
            self.error = error
            raise


class _StreamedAnswer:
    """Incoming over an aiohttp response."""

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


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context with the machine's CA certificates and those of ``ca_file``.

    Reading them blocks for some 50 ms. Raises BrokerUnreachable when ``ca_file`` has none.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ValueError):  # an SSLError is an OSError
            raise BrokerUnreachable(
                f"The file of the setting ca_file has no certificates to read: {ca_file}."
                " Correct the file; clipperd reads it again at the next try.",
                sent=False,
            ) from None
    context.set_alpn_protocols(("http/1.1",))  # as aiohttp's own context: it has no HTTP/2
    return context


async def _mark_sent(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    """Record that bytes may leave: aiohttp calls this just before it writes the first of them."""
    context.trace_request_ctx.sent = True


def _proxy_options(proxy: Proxy | None) -> dict[str, Any]:
    """Return aiohttp's arguments for ``proxy``.

    The credentials are in a header for the proxy alone: aiohttp's errors show the other forms.
    """
    if proxy is None:
        return {}
    if not proxy.user and not proxy.password:
        return {"proxy": proxy.url}
    pair = b64encode(f"{proxy.user}:{proxy.password}".encode()).decode("ascii")
    return {"proxy": proxy.url, "proxy_headers": {"Proxy-Authorization": f"Basic {pair}"}}


def _proxy_sentence(error: BaseException, proxy: Proxy) -> str | None:
    """Return the sentence of an error on the way through the proxy; None: of the service."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status == 407:
            return (
                f"The proxy {proxy.name} refuses the user name and password, or needs them. Set"
                " them with: clipperd config set proxy http://USER:PASSWORD@HOST:PORT"
            )
        return (
            f"The proxy {proxy.name} refuses the way to the service (status {error.status})."
            " Ask its administrator to allow it, or correct the setting proxy."
        )
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientConnectorDNSError):
        return (
            f"The proxy {proxy.name} cannot be reached. Correct the setting proxy or the"
            " environment's; this machine may also be offline."
        )
    if isinstance(error, asyncio.TimeoutError):
        return f"The proxy {proxy.name}, or the service through it, did not answer in time."
    if isinstance(error, aiohttp.ClientSSLError):
        if error.host != URL(proxy.url).host:
            return None
        return (
            f"The certificate of the proxy {proxy.name} is not trusted. If a private CA signed it,"
            " name the CA's file with: clipperd config set ca_file FILE"
        )
    return f"The connection through the proxy {proxy.name} broke off."


def _sentence(error: BaseException, proxy: Proxy | None = None, sent: bool = True) -> str:
    if proxy is not None and not sent and (sentence := _proxy_sentence(error, proxy)):
        return sentence
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return (
            "The service's certificate is not trusted. If a private CA signed it, name the CA's"
            " file with: clipperd config set ca_file FILE"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "The service's name cannot be found; this machine may be offline."
    if isinstance(error, asyncio.TimeoutError):
        return "The service did not answer in time."
    if isinstance(error, aiohttp.ClientConnectorError):
        return "The service cannot be reached; this machine may be offline."
    return "The connection to the service broke off."
