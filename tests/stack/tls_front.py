"""Ends TLS on one address and forwards the bytes, as a proxy before the broker does."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def tls_front(address: str, certificate: Path, port: int) -> Iterator[str]:
    """Serve ``https://address`` from ``port`` of the loopback; yields the URL."""
    front = _Front(address, certificate, port)
    thread = threading.Thread(target=lambda: asyncio.run(front.serve()), name="front")
    thread.start()
    try:
        assert front.ready.wait(20), "the front does not listen"
        yield f"https://{address}:{front.port}"
    finally:
        front.stop()
        thread.join()


class _Front:
    def __init__(self, address: str, certificate: Path, behind: int) -> None:
        self.ready = threading.Event()
        self.port = 0
        self._address = address
        self._behind = behind
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._passing: set[asyncio.Task[None]] = set()
        self._end: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass, self._address, 0, ssl=self._context)
        self.port = int(server.sockets[0].getsockname()[1])
        self.ready.set()
        await self._end.wait()
        server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        await asyncio.sleep(0)  # what was abandoned tells its protocol in the next turn

    def stop(self) -> None:
        if self._loop is not None and self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        writers = [writer]
        try:
            onward, outward = await asyncio.open_connection("127.0.0.1", self._behind)
            writers.append(outward)
            await asyncio.gather(_pump(reader, outward), _pump(onward, writer))
        except (OSError, asyncio.CancelledError):
            pass  # either side has gone, or this is the end
        finally:
            for each in writers:
                each.transport.abort()
            self._passing.discard(task)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        sink.write(chunk)
        await sink.drain()
    sink.close()
