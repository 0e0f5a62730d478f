"""Many programs ask one daemon at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.stack.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

_CONNECTIONS = 64
_EACH = 50
_PREVIEW = json.dumps({"content": {"format": "markdown", "markdown": "# Title\n\n- a\n- b"}})
_ASKED = (
    ("GET", "/v1/status", ""),
    ("GET", "/v1/pages?limit=20", ""),
    ("GET", "/v1/pages?q=reading", ""),
    ("GET", "/v1/clips?limit=20", ""),
    ("GET", "/v1/session", ""),
    ("POST", "/v1/convert", _PREVIEW),
)


@dataclass
class Line:
    """One kept connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, port: int, token: str, method: str, path: str, body: str) -> int:
        """The status; the answer is read to its end and is JSON."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answered = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", answered, re.IGNORECASE)
        assert length is not None, answered
        json.loads(await self.reader.readexactly(int(length[1])))
        return int(answered.split()[1])

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def test_sixty_four_connections_are_served_and_the_next_is_told_so(stack: Stack) -> None:
    mine = stack.client.hello()
    asyncio.run(_load(mine.port, mine.token))
    assert stack.client.status()["queue"]["queued"] == 0


async def _load(port: int, token: str) -> None:
    lines = [await _accepted(port, token) for _ in range(_CONNECTIONS)]
    answers: Counter[int] = Counter()

    async def program(line: Line, number: int) -> None:
        for turn in range(_EACH):
            method, path, body = _ASKED[(number + turn) % len(_ASKED)]
            answers[await line.ask(port, token, method, path, body)] += 1

    await asyncio.gather(*(program(line, number) for number, line in enumerate(lines)))
    assert answers == {200: _CONNECTIONS * _EACH}
    one_more = Line(*await asyncio.open_connection("127.0.0.1", port))
    assert await one_more.ask(port, token, "GET", "/v1/status", "") == 503
    await one_more.close()
    await lines.pop().close()
    lines.append(await _accepted(port, token))
    for line in lines:
        await line.close()


async def _accepted(port: int, token: str) -> Line:
    """A connection with room for it: the daemon may not have seen the end of others yet."""
    while True:
        line = Line(*await asyncio.open_connection("127.0.0.1", port))
        if await line.ask(port, token, "GET", "/v1/status", "") == 200:
            return line
        await line.close()
