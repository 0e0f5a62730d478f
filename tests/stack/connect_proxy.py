"""Runs an HTTP proxy on the loopback that tunnels every CONNECT to one port of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ConnectProxy:
    """The proxy's port, and the heads of the requests it received. ``refusal``: its answer."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.refusal: str | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self._target_port = target_port

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            if self.refusal is not None:
                if self.refusal:
                    answer = f"HTTP/1.1 {self.refusal}\r\nContent-Length: 0\r\n\r\n"
                    writer.write(answer.encode())
                    await writer.drain()
                return
            onward, outward = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(outward)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pump(reader, outward), _pump(onward, writer))
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # one side has closed its connection, or this is the end
        finally:
            for each in writers:
                each.transport.abort()


@asynccontextmanager
async def connect_proxy(target_port: int) -> AsyncIterator[ConnectProxy]:
    """Serve the proxy."""
    proxy = ConnectProxy(target_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        sink.write(chunk)
        await sink.drain()
    sink.close()
