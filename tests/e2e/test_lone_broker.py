"""The broker as a process: its cost, its service under attack, its stop."""

from __future__ import annotations

import asyncio
import gzip
import io
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, FormData, TCPConnector, web
from yarl import URL

from cloud_broker.sandbox import seed
from tests.stack.lone_broker import PROXY, LoneBroker, a_key, a_lone_broker, resident_kb

pytestmark = pytest.mark.e2e

MB = 1024  # KiB
SOCKETS = 500


@pytest.fixture
async def lone(tmp_path: Path) -> AsyncIterator[LoneBroker]:
    async with a_lone_broker(tmp_path) as running:
        yield running


@contextmanager
def few_open_files(count: int) -> Iterator[None]:
    """What processes that are started meanwhile may have open at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_twelve_gzip_bombs_cost_less_than_8_mb(lone: LoneBroker) -> None:
    bomb = gzip.compress(b" " * 67_000_000, 9)  # 65 KB

    async def explode(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    assert (await lone.call("GET", f"pages/{seed.EMPTY_PAGE}")).status == 200
    before = resident_kb(lone.program.pid)
    lone.notion.instead = explode
    for _ in range(12):
        answer = await lone.call("GET", f"pages/{seed.EMPTY_PAGE}")
        assert (answer.status, answer.headers["X-Broker-Code"]) == (502, "bad_gateway")
    assert resident_kb(lone.program.pid) - before < 8 * MB
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    for _ in range(3):
        answer = await lone.call("POST", "search", data=bomb, headers=packed)
        assert answer.status == 400  # nothing packed is taken
    assert resident_kb(lone.program.pid) - before < 8 * MB


async def test_a_file_of_twenty_mb_is_never_in_the_brokers_memory(lone: LoneBroker) -> None:
    size, pid = 20 * 1024 * MB, lone.program.pid
    grown: list[int] = []

    async def take(request: web.Request) -> web.StreamResponse:
        taken = 0
        while chunk := await request.content.read(64 * 1024):
            taken += len(chunk)
            if taken // (4 * 1024 * MB) > len(grown):
                grown.append(await asyncio.to_thread(resident_kb, pid) - before)
        return web.json_response({"object": "file_upload", "id": seed.EMPTY_PAGE, "n": taken})

    assert (await lone.call("GET", f"pages/{seed.EMPTY_PAGE}")).status == 200
    before = resident_kb(pid)
    lone.notion.instead = take
    form = FormData()
    form.add_field("file", io.BytesIO(b"z" * size), filename="a.bin")
    answer = await lone.call("POST", f"file_uploads/{seed.EMPTY_PAGE}/send", data=form)
    assert (answer.status, (await answer.json())["n"] > size) == (200, True)
    assert len(grown) == 5
    assert max(grown) < 8 * MB


async def test_a_stop_is_announced_and_loses_no_write(tmp_path: Path) -> None:
    arrived, gate = asyncio.Semaphore(0), asyncio.Event()

    async def hold(request: web.Request) -> None:
        if request.method == "PATCH":
            arrived.release()
            await gate.wait()

    async with a_lone_broker(tmp_path, BROKER_ANNOUNCE_S="2") as lone:
        lone.notion.instead = hold
        keys = [a_key(), a_key()]
        stays, leaves = (
            asyncio.ensure_future(lone.append(seed.EMPTY_PAGE, f"n{i}", keys[i])) for i in (0, 1)
        )
        await arrived.acquire()
        await arrived.acquire()
        leaves.cancel()
        lone.program.terminate()
        status, connection = 200, None
        while status == 200:
            async with lone.http.get(f"{lone.url}/readyz") as answer:
                status, connection = answer.status, answer.headers.get("Connection")
        assert (status, connection) == (503, "close")
        me = await lone.call("GET", "users/me")  # who does not look at readyz is still served
        assert me.status == 200
        async with lone.http.get(f"{lone.url}/healthz") as answer:
            assert answer.status == 200
        gate.set()
        assert (await stays).status == 200
        assert await asyncio.to_thread(lone.program.wait) == 0
        lone.notion.instead = None
        lone.start()
        for number, key in enumerate(keys):
            again = await lone.append(seed.EMPTY_PAGE, f"n{number}", key)
            assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert sum(method == "PATCH" for method, _ in lone.notion.seen) == 2


async def test_five_hundred_slow_connections_keep_nobody_from_being_served(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        with few_open_files(300):  # the broker raises what it is given
            lone = await stack.enter_async_context(a_lone_broker(tmp_path))
        assert resource.prlimit(lone.program.pid, resource.RLIMIT_NOFILE)[0] > SOCKETS
        halves = [
            f"GET {PROXY}users/me HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            f"POST {PROXY}search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lone.token}\r\n"
            'Content-Length: 90\r\n\r\n{"q',
        ]
        writers = []
        for number in range(SOCKETS):
            _, writer = await asyncio.open_connection("127.0.0.1", URL(lone.url).port)
            writers.append(writer)
            writer.write(halves[number % 2].encode())
            await writer.drain()
        async with ClientSession(connector=TCPConnector(force_close=True)) as lone.http:
            for number in range(20):  # each by a connection of its own
                assert (await lone.call("GET", "users/me")).status == 200
                writers[number].write(b"x")
        for writer in writers:
            writer.close()


async def test_an_address_has_only_so_many_connections(tmp_path: Path) -> None:
    changes = {"BROKER_TRUSTED_PROXIES": "none", "BROKER_CONNECTIONS_PER_ADDRESS": "4"}
    async with a_lone_broker(tmp_path, **changes) as lone, AsyncExitStack() as stack:
        await lone.http.close()
        held: list[asyncio.StreamWriter] = []

        async def is_open() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", URL(lone.url).port)
            stack.callback(writer.close)
            held.append(writer)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            except ConnectionError:
                return False

        while not await is_open():  # until the connections of the sign-in are gone
            pass
        held, opened = held[-1:], 1
        opened += sum([await is_open() for _ in range(5)])
        assert opened == 4
        for writer in held:
            writer.close()
        while not await is_open():
            pass
