"""Both servers refuse or drop malformed HTTP, and never quote or log it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from clipperd.web.keys import Limits
from cloud_broker.sandbox.seed import WORKSPACE
from cloud_broker.web.inbound import Inbound
from tests.security.answers import Findings, no_problem
from tests.security.fuzz.wire import Line
from tests.security.hostile import NO_UTF8
from tests.security.whole_system import OWNER_TOKEN, Daemon, WholeSystem, serving

SECRET = "canary-in-a-header-4f2a"
FILLER = b"x" * 9000


def _malformed(port: int) -> Iterator[tuple[str, bytes]]:
    """Requests that break HTTP, each with a secret that must not come back."""
    host = f"Host: 127.0.0.1:{port}\r\n".encode()
    secret = f"Authorization: Bearer {SECRET}\r\n".encode()
    head = b"POST /v1/clips HTTP/1.1\r\n" + host + secret
    yield "NUL in a header", head + b"X: a\0b\r\n\r\n"
    yield "NUL in the token", head.replace(b"4f2a", b"4f2a\0") + b"\r\n"
    yield "NUL in the path", head.replace(b"/clips", b"/cl\0ips") + b"\r\n"
    yield "bare CR in a header", head + b"X: a\rb\r\n\r\n"
    yield "space before the colon", head + b"X : a\r\n\r\n"
    yield "header without a name", head + b": a\r\n\r\n"
    yield "folded header", head + b"X: a\r\n b\r\n\r\n"
    yield "no header at all", head + SECRET.encode() + b"\r\n\r\n"
    yield "space in the path", head.replace(b"/clips", b"/clips " + SECRET.encode()) + b"\r\n"
    yield "a method that is none", head.replace(b"POST", b"P(ST") + b"\r\n"
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "HTTP/9.9", head.replace(b"1.1", b"9.9") + b"\r\n"
    yield "HTTP/2.0 in the form of 1.1", head.replace(b"1.1", b"2.0") + b"\r\n"
    yield "HTTP/0.9 in the form of 1.1", head.replace(b"1.1", b"0.9") + b"\r\n"
    yield "no version", head.replace(b" HTTP/1.1", b"") + b"\r\n"
    yield "an expectation that nobody knows", head + b"Expect: " + SECRET.encode() + b"\r\n\r\n"
    yield "long header", head + b"X: " + FILLER + b"\r\n\r\n"
    yield "long path", head.replace(b"/clips", b"/clips/" + FILLER) + b"\r\n"
    yield "very long header", head + b"X: " + FILLER * 100 + b"\r\n\r\n"
    yield "many headers", head + b"".join(b"X%d: a\r\n" % n for n in range(20_000)) + b"\r\n"
    chunked = head + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    smuggled = b"0\r\n\r\nGET /healthz HTTP/1.1\r\n" + host + b"\r\n"
    yield "length and chunks", chunked + b"Content-Length: 6\r\n\r\n" + smuggled
    yield "chunks twice", chunked + b"Transfer-Encoding: chunked\r\n\r\n" + smuggled
    yield "chunked, identity", head + b"Transfer-Encoding: chunked, identity\r\n\r\n" + smuggled
    yield "xchunked", head + b"Transfer-Encoding: xchunked\r\n\r\n" + smuggled
    yield "two lengths", head + b"Content-Length: 2\r\nContent-Length: 6\r\n\r\n{}"
    yield "length list", head + b"Content-Length: 2, 6\r\n\r\n{}"
    yield "signed length", head + b"Content-Length: +2\r\n\r\n{}"
    yield "hex length", head + b"Content-Length: 0x2\r\n\r\n{}"
    yield "negative length", head + b"Content-Length: -1\r\n\r\n{}"
    yield "endless length", head + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n{}"
    yield "chunk that is none", chunked + b"\r\nzz\r\n{}\r\n0\r\n\r\n"
    yield "signed chunk", chunked + b"\r\n+2\r\n{}\r\n0\r\n\r\n"
    yield "half a body", head + b'Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"a":'
    yield "half a chunk", chunked + b'\r\nff\r\n{"a":'
    yield "duplicate Host", b"GET /v1/status HTTP/1.1\r\n" + host + host + secret + b"\r\n"
    yield "no Host", b"GET /v1/status HTTP/1.1\r\n" + secret + b"\r\n"
    yield "absolute form", b"GET http://evil.example/v1/status HTTP/1.1\r\n" + host + b"\r\n"
    yield (
        "own absolute form",
        (f"GET http://127.0.0.1:{port}/v1/status HTTP/1.1\r\n".encode() + host + secret + b"\r\n"),
    )
    yield "authority form", b"CONNECT evil.example:443 HTTP/1.1\r\n" + host + secret + b"\r\n"
    yield "asterisk form", b"OPTIONS * HTTP/1.1\r\n" + host + secret + b"\r\n"


async def _answers(port: int, raw: bytes) -> list[bytes]:
    """Everything that the server says until it or we close, split into answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        writer.write_eof()
        async with asyncio.timeout(20):
            whole = await reader.read()
    except ConnectionError:
        whole = b""  # closed in our face, which is an answer too
    finally:
        writer.transport.abort()
    return re.split(rb"(?=HTTP/1\.[01] [0-9]{3} )", whole)[1:]


def _fault(answers: list[bytes], secret: str = SECRET) -> str | None:
    if secret.encode() in b"".join(answers):
        return f"quotes the secret: {answers}"
    if len(answers) > 1:
        return f"{len(answers)} answers: {[answer[:60] for answer in answers]}"
    for answer in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        return no_problem(int(lines[0].split()[1]), headers, json.loads(body))
    return None


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No error, no traceback and no secret in any log."""
    yield
    for record in caplog.get_records("call"):
        assert record.levelno < logging.WARNING, record.getMessage()
        assert not record.exc_info, record.getMessage()
        assert SECRET not in record.getMessage()


@pytest.mark.usefixtures("quiet")
async def test_the_daemon_refuses_what_is_no_proper_http(
    house: WholeSystem, daemon: Daemon
) -> None:
    found = Findings()
    rows, calls = await daemon.rows(), house.calls
    for what, raw in _malformed(daemon.port):
        for secret in (SECRET, OWNER_TOKEN):
            sent = raw.replace(SECRET.encode(), secret.encode())
            found.check(f"{what} {secret}", _fault(await _answers(daemon.port, sent), secret))
    assert not found, found.told()
    assert (await daemon.rows(), house.calls) == (rows, calls)
    assert (await daemon.call("GET", "/v1/status"))[0] == 200
    assert SECRET not in daemon.places.log_file.read_text("utf-8")


@pytest.mark.usefixtures("quiet")
async def test_the_broker_refuses_what_is_no_proper_http(house: WholeSystem) -> None:
    found = Findings()
    token = str((await house.person("mira@example.com", WORKSPACE))["access_token"])
    rows, port = await house.rows(), house.broker_url.port
    assert port is not None
    for what, raw in _malformed(port):
        for path in (b"/api/user/me", b"/api/auth/token", b"/api/notion/proxy/v1/search"):
            for secret in (SECRET, token):
                sent = raw.replace(SECRET.encode(), secret.encode())
                for own in (b"/v1/clips", b"/v1/status"):
                    sent = sent.replace(own, path)
                answers = await _answers(port, sent)
                found.check(f"{what} {path.decode()} {secret[:5]}", _fault(answers, secret))
    assert not found, found.told()
    assert (await house.rows(), house.calls) == (rows, 0)
    assert (await house.ask("GET", "/healthz"))[0] == 200
    assert SECRET not in house.broker_log.getvalue()
    assert "trace" not in house.broker_log.getvalue()


@pytest.mark.usefixtures("quiet")
async def test_what_follows_a_request_for_an_upgrade_is_no_request(
    house: WholeSystem, daemon: Daemon
) -> None:
    for path, port in (("/v1/health", daemon.port), ("/healthz", house.broker_url.port)):
        one = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        for coding in ("xchunked", "identity", "gzip"):
            head = f"{one}Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: {coding}"
            line = await Line.to("127.0.0.1", port or 0)
            line.send(f"{head}\r\n\r\n{one}\r\n".encode())
            first = await line.answer(b"GET")
            assert first is not None
            assert await line.answer(b"GET") is None, (path, coding)
            line.close()


@pytest.mark.usefixtures("quiet")
async def test_headers_that_are_no_utf8_are_refused_by_the_daemon(daemon: Daemon) -> None:
    found = Findings()
    body = b'{"targets":[{"page_id":"%s"}],"content":{"format":"text","text":"x"}}' % (b"a" * 32)
    requests = [
        ("POST /v1/clips", "Idempotency-Key", body),
        ("POST /v1/clips", "X-Workspace-Id", body),
        (f"PATCH /v1/clips/{'a' * 32}", "If-Match", b"{}"),
        ("GET /v1/pages", "X-Workspace-Id", b""),
        ("GET /v1/status", "Origin", b""),
        ("GET /v1/status", "Sec-Fetch-Site", b""),
        ("GET /v1/status", "Authorization", b""),
        ("POST /v1/clips", "Content-Type", body),
        ("POST /v1/clips", "Content-Encoding", body),
    ]
    before = await daemon.rows()
    for line, name, content in requests:
        for value in NO_UTF8:
            own = {
                "Host": f"127.0.0.1:{daemon.port}",
                "Authorization": f"Bearer {OWNER_TOKEN}",
                "Content-Type": "application/json",
                "Content-Length": str(len(content)),
            }
            answers = await _answers(daemon.port, _request(line, own, name, value, content))
            found.check(f"{line} {name} {value!r}", _fault(answers))
    assert not found, found.told()
    assert await daemon.rows() == before


@pytest.mark.usefixtures("quiet")
async def test_headers_that_are_no_utf8_are_refused_by_the_broker(house: WholeSystem) -> None:
    found = Findings()
    tokens = await house.person("mira@example.com", WORKSPACE)
    port = house.broker_url.port
    assert port is not None
    page, proxy = "a" * 32, "/api/notion/proxy/v1"
    requests = [
        (f"PATCH {proxy}/blocks/{page}/children", "Idempotency-Key", b'{"children":[]}'),
        (f"GET {proxy}/pages/{page}", "X-Workspace-Id", b""),
        (f"GET {proxy}/pages/{page}", "Notion-Version", b""),
        (f"GET {proxy}/pages/{page}", "Authorization", b""),
        ("GET /api/user/me", "Authorization", b""),
        ("POST /api/auth/token", "Content-Type", b"{}"),
    ]
    for line, name, content in requests:
        for value in NO_UTF8:
            own = {
                "Host": f"127.0.0.1:{port}",
                "Authorization": f"Bearer {tokens['access_token']}",
                "Content-Length": str(len(content)),
            }
            answers = await _answers(port, _request(line, own, name, value, content))
            found.check(f"{line} {name} {value!r}", _fault(answers))
    assert not found, found.told()
    assert house.calls == 0


def _request(line: str, own: dict[str, str], name: str, value: bytes, body: bytes) -> bytes:
    own.pop(name, None)
    lines = [f"{line} HTTP/1.1", *(f"{key}: {text}" for key, text in own.items())]
    head = "\r\n".join(lines).encode() + b"\r\n" + name.encode() + b": " + value
    return head + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v1/status HTT", b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthoriz"]
)
async def test_half_a_head_then_silence_is_closed_by_both(house: WholeSystem, sent: bytes) -> None:
    quick = Limits(header_timeout_s=0.05)
    async with house.daemon(limits=quick) as daemon, _hasty_broker(house) as port:
        for address in (daemon.port, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", address)
            writer.write(sent)
            async with asyncio.timeout(30):
                assert await reader.read() == b""
            writer.transport.abort()


@asynccontextmanager
async def _hasty_broker(house: WholeSystem) -> AsyncIterator[int]:
    """The broker's door with little patience."""
    inbound = Inbound(head_within_s=0.05)
    async with serving(web.Application(middlewares=[inbound.middleware()]), inbound, 0) as port:
        yield port
    inbound.close()
