"""Connections that are too slow, silent, never read, or too many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest
from aiohttp import web

from cloud_broker.web.inbound import Inbound

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LOOPBACK = (ip_network("127.0.0.0/8"),)


@asynccontextmanager
async def a_server(inbound: Inbound) -> AsyncIterator[tuple[int, web.Server]]:
    """A server of twenty megabytes, watched by ``inbound``; its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 20_000_000)

    app = web.Application(middlewares=[inbound.middleware()])
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, keepalive_timeout=3600, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(inbound.factory(runner.server), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], runner.server
    finally:
        server.close()
        inbound.close()
        await runner.cleanup()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_without_a_whole_head_is_closed(sent: bytes) -> None:
    async with a_server(Inbound(head_within_s=0.05)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_connection_that_is_silent_after_its_answer_is_closed() -> None:
    async with a_server(Inbound(head_within_s=0.5, idle_s=0.0)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert (await reader.read()).endswith(b"x")  # to its end
        writer.close()


async def test_a_reader_who_takes_nothing_is_cut_off() -> None:
    async with a_server(Inbound(head_within_s=0.5, idle_s=0.0)) as (port, server):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(REQUEST)
        seen = False
        while not seen or server.connections:
            seen = seen or bool(server.connections)
            await asyncio.sleep(0.01)
        writer.close()


@pytest.mark.parametrize(
    ("inbound", "served"),
    [
        (Inbound(per_address=2), 2),
        (Inbound(per_address=2, proxies=LOOPBACK), 4),
        (Inbound(connections=3), 3),
    ],
)
async def test_one_connection_too_many_is_closed_at_once_and_room_comes_back(
    inbound: Inbound, served: int
) -> None:
    async with a_server(inbound) as (port, _):
        writers = []

        async def is_served() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(REQUEST)
            try:
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            except ConnectionError:
                return False

        assert [await is_served() for _ in range(4)] == [n < served for n in range(4)]
        writers[0].close()
        while not await is_served():
            pass
        for writer in writers:
            writer.close()
