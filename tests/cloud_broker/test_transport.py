"""The HTTP client: the headers it adds, the redirects it refuses, and the proof in its failures."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from cloud_broker.transport import (
    AiohttpTransport,
    ConnectFailed,
    Interrupted,
    ResponseTooLarge,
)
from tests.servers.ports import free_port

HEADERS = {"Authorization": "Bearer secret", "User-Agent": "me"}


class Site:
    """A server that keeps what it was asked, and answers as it is told."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.answer: Callable[[], web.Response] = web.Response

    async def handle(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.seen.append({**request.headers, ":path": request.raw_path})
        return self.answer()


@asynccontextmanager
async def a_site() -> AsyncIterator[tuple[Site, URL]]:
    site, app = Site(), web.Application()
    app.router.add_route("*", "/{path:.*}", site.handle)
    async with TestServer(app) as server:
        yield site, server.make_url("/v1/x")


@asynccontextmanager
async def a_line(*steps: bytes | None) -> AsyncIterator[tuple[list[bytes], URL]]:
    """A server by hand: each request gets the next of ``steps``; None closes without a word."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                heads.append(head)
                said = steps[len(heads) - 1]
                if said is None:
                    break
                writer.write(said)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield heads, URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x")
    finally:
        server.close()


async def test_nothing_is_added_but_what_http_needs() -> None:
    async with a_site() as (site, url), AiohttpTransport() as transport:
        await transport.send("PATCH", url, HEADERS, b"{}")
    assert set(site.seen[0]) == {*HEADERS, "Host", "Accept-Encoding", "Content-Length", ":path"}


async def test_the_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_site() as (site, url), a_site() as (proxy, at):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, str(at.origin()))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with AiohttpTransport() as transport:
            assert (await transport.send("GET", url, HEADERS)).status == 200
    assert (len(site.seen), proxy.seen) == (1, [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_goes_nowhere(status: int) -> None:
    async with a_site() as (site, url), a_site() as (other, elsewhere):
        site.answer = lambda: web.Response(status=status, headers={"Location": str(elsewhere)})
        async with AiohttpTransport() as transport:
            assert (await transport.send("POST", url, HEADERS, b"{}")).status == status
    assert (len(site.seen), other.seen) == (1, [])


async def test_no_cookie_is_kept() -> None:
    async with a_site() as (site, url), AiohttpTransport() as transport:
        site.answer = lambda: web.Response(headers={"Set-Cookie": "a=b; Path=/"})
        for _ in range(2):
            # By a name: no client keeps the cookies of a bare address.
            await transport.send("GET", url.with_host("localhost"), HEADERS)
    assert len(site.seen) == 2
    assert not any("Cookie" in seen for seen in site.seen)


async def test_where_nobody_listens_nothing_was_sent() -> None:
    url = URL(f"http://127.0.0.1:{free_port()}/")
    async with AiohttpTransport() as transport:
        with pytest.raises(ConnectFailed):
            await transport.send("PATCH", url, HEADERS, b"{}")


async def test_what_is_told_at_the_last_moment_sends_nothing() -> None:
    def no() -> None:
        raise LookupError

    async with a_site() as (site, url), AiohttpTransport() as transport:
        with pytest.raises(LookupError):
            await transport.send("PATCH", url, HEADERS, b"{}", before_send=no)
        assert (await transport.send("GET", url, HEADERS)).status == 200
    assert len(site.seen) == 1


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_over_a_connection_that_has_died_nothing_is_sent_twice(method: str) -> None:
    async with a_line(OK, None) as (heads, url), AiohttpTransport() as transport:
        assert (await transport.send(method, url, HEADERS)).status == 200
        with pytest.raises(Interrupted):
            await transport.send(method, url, HEADERS)
    assert len(heads) == 2


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"not http at all\r\n\r\n",
    ],
)
async def test_half_an_answer_is_none(said: bytes) -> None:
    # The body reads like a second head, at which the server closes.
    async with a_line(said, None) as (_, url), AiohttpTransport() as transport:
        with pytest.raises(Interrupted) as caught:
            await transport.send("PATCH", url, HEADERS, b"{}\r\n\r\n", deadline=20)
    assert not caught.value.timed_out


async def test_the_deadline_is_for_everything() -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:  # each piece soon after the one before
            await response.write(b" ")
            await asyncio.sleep(0.01)

    app = web.Application()
    app.router.add_get("/", trickle)
    async with TestServer(app) as server, AiohttpTransport() as transport:
        with pytest.raises(Interrupted) as caught:
            await transport.send("GET", server.make_url("/"), HEADERS, deadline=1.0)
    assert caught.value.timed_out


@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_is_measured_unpacked(packed: bool) -> None:
    async with a_site() as (site, url), AiohttpTransport() as transport:
        body = b" " * 1_000_001
        headers = {"Content-Encoding": "gzip"} if packed else {}
        sent = gzip.compress(body) if packed else body
        site.answer = lambda: web.Response(status=201, body=sent, headers=headers)
        whole = await transport.send("GET", url, HEADERS, max_bytes=1_000_001)
        assert (whole.status, whole.body) == (201, body)
        with pytest.raises(ResponseTooLarge) as caught:
            await transport.send("GET", url, HEADERS, max_bytes=1_000_000)
    assert caught.value.status == 201
