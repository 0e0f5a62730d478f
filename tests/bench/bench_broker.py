"""What the broker adds to a call: CPU and rate of its proxy beside a bare one, same upstream."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from yarl import URL

from clipperd.web.session import ROUTES, SESSION, UNSENT
from tests.bench import scene
from tests.bench.measure import cpu_of, machine, median, spread
from tests.clipperd.session.world import running_world
from tests.stack.browser import consent
from tests.stack.stack import Stack

_PAGE = "11111111-1111-4111-8111-111111111111"
_EACH = 400
_ROUNDS = 5
_CONNECTIONS = (4, 32)

_UPSTREAM = """
import sys
from aiohttp import web
BODY = b'{"object":"page","id":"' + sys.argv[2].encode() + b'","properties":{},"parent":{},"x":"' \
    + b'y' * 1200 + b'"}'
async def answer(request):
    await request.read()
    return web.Response(body=BODY, content_type="application/json")
app = web.Application()
app.router.add_route("*", "/{path:.*}", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""

_BARE_PROXY = """
import sys
import aiohttp
from aiohttp import web
async def session(app):
    app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=800))
    yield
    await app["session"].close()
async def relay(request):
    url = sys.argv[2] + "/v1/" + request.match_info["path"]
    headers = {"Authorization": "Bearer x", "Notion-Version": "2026-03-11"}
    async with request.app["session"].get(url, headers=headers) as found:
        return web.Response(body=await found.read(), status=found.status,
                            content_type="application/json")
app = web.Application()
app.cleanup_ctx.append(session)
app.router.add_get("/api/notion/proxy/v1/{path:.*}", relay)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""


def run() -> list[str]:
    """Lines for ``make bench``: GET of a page, as multiples of the bare proxy."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[str]:
    stack = Stack(folder, {"BROKER_NOTION_RATE": "1000", "BROKER_NOTION_BURST": "1000"})
    children: list[subprocess.Popen[bytes]] = []
    try:
        await asyncio.to_thread(stack.open_sandbox)
        await asyncio.to_thread(stack.open_broker)
        async with _token(folder, stack) as token:
            stack.sandbox.stop()
            env = scene.environment(folder)
            children.append(_child(_UPSTREAM, env, URL(stack.notion.url).port, _PAGE))
            bare = unused_port()
            children.append(_child(_BARE_PROXY, env, bare, stack.notion.url))
            sides = {
                "bare": (f"http://127.0.0.1:{bare}", children[1].pid),
                "broker": (stack.broker_url, stack.broker.pid),
            }
            return await _compare(sides, token)
    finally:
        for child in children:
            child.terminate()
            child.wait()
        stack.close()


async def _compare(sides: Mapping[str, tuple[str, int]], token: str) -> list[str]:
    lines = [f"broker: GET page, {_EACH} x {_ROUNDS} each, {machine()}"]
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"}, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        for url, _ in sides.values():
            await _load(session, url, 4, [])  # warm
        for connections in _CONNECTIONS:
            cpu: dict[str, list[float]] = {name: [] for name in sides}
            rate: dict[str, list[float]] = {name: [] for name in sides}
            times: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(_ROUNDS):
                for name, (url, pid) in sides.items():
                    before, begun = cpu_of(pid), time.perf_counter()
                    await _load(session, url, connections, times[name])
                    rate[name].append(_EACH / (time.perf_counter() - begun))
                    cpu[name].append((cpu_of(pid) - before) / _EACH)
            bare = median(cpu["bare"])
            lines += [
                f"broker: {connections} connections, {name}: {median(cpu[name]) * 1000:.2f} ms CPU"
                f" a request, {median(cpu[name]) / bare:.2f} x bare; {median(rate[name]):.0f}"
                f" requests/s; {spread(times[name], median(times['bare']), 'bare p50')}"
                for name in sides
            ]
    return lines


async def _load(
    session: aiohttp.ClientSession, url: str, connections: int, times: list[float]
) -> None:
    left = iter(range(_EACH))

    async def client() -> None:
        for _ in left:
            begun = time.perf_counter()
            async with session.get(f"{url}/api/notion/proxy/v1/pages/{_PAGE}") as response:
                body = await response.read()
                assert response.status == 200, body
            times.append(time.perf_counter() - begun)

    await asyncio.gather(*(client() for _ in range(connections)))


def _child(
    program: str, env: Mapping[str, str], port: int | None, *argv: str
) -> subprocess.Popen[bytes]:
    """Run a server and wait until its port accepts."""
    child = subprocess.Popen([sys.executable, "-c", program, str(port), *argv], env=dict(env))
    probe = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()"
    end = time.monotonic() + 30
    while subprocess.run(
        [sys.executable, "-c", probe, str(port)], stderr=subprocess.DEVNULL, check=False
    ).returncode:
        assert time.monotonic() < end, "the server does not listen"
    return child


@asynccontextmanager
async def _token(folder: Path, stack: Stack) -> AsyncIterator[str]:
    """An access token of somebody who signed in through the real flow."""
    port = unused_port()
    async with running_world(folder, URL(stack.broker_url), port=port) as world:
        app = web.Application()
        app[SESSION] = world.session
        app[UNSENT] = _nothing_unsent
        for route in ROUTES:
            app.router.add_route(route.method, route.path, route.handler)
        async with TestServer(app, port=port):
            started = await world.session.start_login("loopback")
            await asyncio.to_thread(consent, started.login_url, user="mira@example.com")
            scope = await world.accounts.scope()
            yield await world.session.token_for(scope.user_id)


async def _nothing_unsent(_workspace_id: str) -> int:
    return 0
