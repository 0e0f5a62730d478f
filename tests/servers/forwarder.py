"""An address that leads to one server or another, as a DNS name or a virtual IP does."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


class Forwarder:
    """Passes connections to ``target``, a port on loopback; None refuses them.

    It works in a thread of its own: the test's loop may be blocked by a program that starts.
    """

    def __init__(self, target: int) -> None:
        """Lead to ``target`` at first."""
        self.loop = asyncio.new_event_loop()
        self.target: int | None = target
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.lose_commit_of: bytes | None = None
        self.commits_lost = 0

    def lead_to(self, target: int | None) -> None:
        """Lead new connections to another port, and reset those that are open."""
        self.target = target
        self.reset()

    def reset(self) -> None:
        """Reset every open connection at both ends."""
        asyncio.run_coroutine_threadsafe(self._reset(), self.loop).result()

    async def _reset(self) -> None:
        self._break()

    def _break(self) -> None:
        for writer in list(self._open):
            inner: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):
                inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def _watch(self, line: _Line, data: bytes) -> bool:
        """Note the COMMIT after the statement of ``lose_commit_of``."""
        if self.lose_commit_of is not None:
            line.has_written = line.has_written or self.lose_commit_of in data
            line.commits = line.has_written and b"COMMIT" in data
        return True

    def _lose(self, line: _Line) -> bool:
        """Break the line, once, when the server answers that COMMIT."""
        if line.commits and self.lose_commit_of is not None:
            self.lose_commit_of = None
            self.commits_lost += 1
            self._break()
            return False
        return True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        if self.target is None:
            writer.transport.abort()
            return
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._open |= {writer, far_writer}
            line = _Line()
            try:
                await asyncio.gather(
                    _pass(reader, far_writer, lambda data: self._watch(line, data)),
                    _pass(far_reader, writer, lambda _: self._lose(line)),
                )
            finally:
                self._open -= {writer, far_writer}
                far_writer.close()
        writer.close()


@dataclass
class _Line:
    has_written: bool = False
    commits: bool = False


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_pass: Callable[[bytes], bool]
) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            if not may_pass(data):
                break
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


@contextmanager
def a_forwarder(target: int) -> Iterator[Forwarder]:
    """Listen on a free port of loopback."""
    forwarder = Forwarder(target)
    loop = forwarder.loop
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(forwarder.serve, "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    forwarder.port = server.sockets[0].getsockname()[1]
    try:
        yield forwarder
    finally:
        loop.call_soon_threadsafe(server.close)
        forwarder.lead_to(None)
        asyncio.run_coroutine_threadsafe(_end_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_all() -> None:
    own = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not own]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
