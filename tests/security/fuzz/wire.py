"""Sends any bytes over a connection to a server, and parses its answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

PATIENCE_S = 40.0  # longer than any time limit of the broker's own


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``headers`` in lower case, in their order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    closes: bool

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class NoHttp(Exception):
    """What came is no HTTP answer."""


class Line(asyncio.Protocol):
    """One connection; use ``Line.to``."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self._ended = False
        self._news = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def to(cls, host: str, port: int) -> Line:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(cls, host, port)
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._news.set()

    @property
    def is_usable(self) -> bool:
        """Still open, and nothing came that was not asked for."""
        return not self._ended and not self._seen

    @property
    def unasked(self) -> bytes:
        """What came after the last answer."""
        return bytes(self._seen[:200])

    def send(self, raw: bytes) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(raw)

    def end(self) -> None:
        """Say that nothing more comes."""
        assert self._transport is not None
        if not self._transport.is_closing():
            with suppress(OSError):  # the server was quicker
                self._transport.write_eof()

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    async def answer(self, method: bytes) -> Answer | None:
        """The next final answer; None where the server closed without one.

        Raises TimeoutError or NoHttp.
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                head = await self._head()
                if head is None:
                    return None
                status, headers = _read_head(head)
                if status >= 200:
                    said = dict(headers).get("connection", "").lower()
                    closes = said == "close" or (head[:8] == b"HTTP/1.0" and said != "keep-alive")
                    has_body = method != b"HEAD" and status not in (204, 304)
                    body = await self._body(dict(headers)) if has_body else b""
                    return Answer(status, headers, body, closes)

    async def _head(self) -> bytes | None:
        while (end := self._seen.find(b"\r\n\r\n")) < 0:
            if self._ended:
                if self._seen:
                    raise NoHttp(bytes(self._seen[:200]))
                return None
            await self._more()
        head = bytes(self._seen[:end])
        del self._seen[: end + 4]
        return head

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            return await self._chunks()
        if "content-length" not in headers:
            raise NoHttp(f"no length: {headers}")
        return await self._take(int(headers["content-length"]))

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            while (end := self._seen.find(b"\r\n")) < 0:
                await self._more()
            size = int(bytes(self._seen[:end]), 16)
            del self._seen[: end + 2]
            piece = await self._take(size + 2)
            if size == 0:
                return body
            body += piece[:-2]

    async def _take(self, size: int) -> bytes:
        while len(self._seen) < size:
            await self._more()
        taken = bytes(self._seen[:size])
        del self._seen[:size]
        return taken

    async def _more(self) -> None:
        if self._ended:
            raise NoHttp("cut off inside an answer")
        self._news.clear()
        await self._news.wait()


def _read_head(head: bytes) -> tuple[int, tuple[tuple[str, str], ...]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if not words[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdigit():
        raise NoHttp(first[:200])
    pairs = [line.partition(":") for line in rest]
    return int(words[1]), tuple((name.lower(), value.strip()) for name, _, value in pairs)
