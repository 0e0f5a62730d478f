"""A faulty TCP line between daemon and broker: slow, cut at any byte, reset, or silent."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass

_CHUNK = 16_384
_LONGEST_S = 6.0  # a connection that swallows everything is reset after so long
# Of the connections made while the line is bad; the rest only has the line's latency.
_FATES = (
    ("cut going", 0.10),  # after some bytes of what the daemon sends
    ("cut coming", 0.10),  # after some bytes of what the broker sends: half an answer
    ("reset going", 0.06),
    ("reset coming", 0.06),
    ("swallow going", 0.02),
    ("swallow coming", 0.02),
    ("refuse", 0.04),
)
_MOST_BYTES = 6_000  # two or three requests of a kept connection


@dataclass(slots=True)
class _Fate:
    kind: str
    after: int  # bytes, in the direction that it names
    latency_s: float

    def strikes(self, direction: str) -> bool:
        return self.kind.endswith(direction)


class BadLine:
    """A proxy on loopback with a loop in a thread of its own. Use as a context manager.

    While ``is_bad`` each new connection draws what becomes of it. ``target`` is the broker's
    (host, port).
    """

    def __init__(self, rng: random.Random) -> None:
        """``rng`` is its own."""
        self.is_bad = False
        self.target: tuple[str, int] | None = None
        self.struck: Counter[str] = Counter()
        self.port = 0
        self._rng = rng
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bad line")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the daemon finds what it takes for its broker."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> BadLine:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)  # type: ignore[arg-type]

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        fate = self._draw()
        there: asyncio.StreamWriter | None = None
        try:
            if fate.kind == "refuse" or self.target is None:
                return _reset(writer)
            answers, there = await asyncio.open_connection(*self.target)
            await self._carry(fate, (reader, there), (answers, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, there):
                if each is not None:
                    each.close()

    def _draw(self) -> _Fate:
        if not self.is_bad:
            return _Fate("", 0, 0.0)
        draw, kind = self._rng.random(), ""
        for name, share in _FATES:
            if draw < share:
                kind = name
                self.struck[name] += 1
                break
            draw -= share
        latency_s = self._rng.choice((0.0, 0.0, 0.02, 0.2))
        return _Fate(kind, self._rng.randint(0, _MOST_BYTES), latency_s)

    async def _carry(
        self,
        fate: _Fate,
        going: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        coming: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Both directions, until either ends; then both are over."""
        writers = (going[1], coming[1])
        ways = [
            asyncio.ensure_future(_way(fate, name, *pair, writers))
            for name, pair in (("going", going), ("coming", coming))
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _way(
    fate: _Fate,
    name: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
) -> None:
    """Carry one direction; ends when the line is cut there, or when there is no more."""
    left = fate.after if fate.strikes(name) else None
    while chunk := await reader.read(_CHUNK):
        await asyncio.sleep(fate.latency_s)
        if left is not None and len(chunk) >= left:
            writer.write(chunk[:left])
            with contextlib.suppress(OSError):
                await writer.drain()
            if fate.kind.startswith("swallow"):
                await asyncio.sleep(_LONGEST_S)
            if not fate.kind.startswith("cut"):
                for each in both:
                    _reset(each)
            return
        if left is not None:
            left -= len(chunk)
        writer.write(chunk)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    found = writer.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
