"""What it takes until a clip is safe: over HTTP, in the queue alone, and in other queues."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp

from clipperd.clock import SystemClock
from clipperd.outbox.outbox import Outbox
from clipperd.process import endpoint
from tests.bench import scene
from tests.bench.measure import cpu_of, machine, median, quantile, spread, syncs
from tests.bench.rivals.enqueue import Load, rivals

_SIZES = (1_000, 50_000)
_CLIENTS = (1, 8, 64)
_EACH = 240
_ROUNDS = 3
Post = Callable[[int], Awaitable[object]]


def run() -> list[str]:
    """Lines for ``make bench``: latencies as multiples of one fdatasync of as many bytes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        rivals(Path(folder) / "rivals") as (others, missing),
    ):
        return _measure(Path(folder), others) + [f"enqueue: {one}" for one in missing]


def _measure(folder: Path, others: Mapping[str, Load]) -> list[str]:
    home = folder / "home"
    scene.furnish_home(home, 100)
    env = scene.environment(folder, CLIPPERD_HOME=str(home), CLIPPERD_SECRETS="memory")
    env["CLIPPERD_BROKER_URL"] = "http://127.0.0.1:9"  # nobody listens there: all stays queued
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(
        [sys.executable, "-m", "clipperd", "run"], env=env, stdout=quiet, stderr=quiet
    )
    lines = [f"enqueue: {_EACH} clips x {_ROUNDS} rounds, {machine()}"]
    try:
        mine = scene.published(home, child)
        for size in _SIZES:
            lines += asyncio.run(_one_size(folder, mine, others, size, child.pid))
    finally:
        child.terminate()
        child.wait()
    return lines


async def _one_size(
    folder: Path, mine: endpoint.Endpoint, others: Mapping[str, Load], size: int, pid: int
) -> list[str]:
    asked = {"Authorization": f"Bearer {mine.token}", "Content-Type": "application/json"}
    body = _body(size)
    latencies: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    disk: list[float] = []
    outbox = Outbox(
        scene.open_outbox(folder / f"queue{size}.db"),
        SystemClock(),
        new_id=lambda: os.urandom(16).hex(),
        publish=lambda *_: None,
    )
    drafted = scene.draft(scene.SCOPE, scene.page_id(1), "x" * size)
    pool = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=pool, headers=asked) as session:

        async def over_http(number: int) -> None:
            async with session.post(mine.url + "/v1/clips", data=body) as response:
                assert response.status == 202, await response.text()
                await response.read()

        for _ in range(_ROUNDS):
            disk += syncs(folder, size)
            for clients in _CLIENTS:
                queue = f"queue, {clients} at once"
                await _load(lambda _: outbox.accept(drafted), clients, queue, latencies, rates)
                http = f"HTTP, {clients} at once"
                before = cpu_of(pid)
                await _load(over_http, clients, http, latencies, rates)
                costs.setdefault(http, []).append((cpu_of(pid) - before) / _EACH)
                for name, load in others.items():
                    found, took = await asyncio.to_thread(load, size, clients, _EACH)
                    latencies.setdefault(f"{name}, {clients} at once", []).extend(found)
                    rates.setdefault(f"{name}, {clients} at once", []).append(_EACH / took)
    outbox.db.close()
    sync = median(disk)
    lines = [
        f"enqueue: {size:,} bytes: one fdatasync {sync * 1000:.2f} ms"
        f" (p99 {quantile(disk, 0.99) / sync:.1f} x)"
    ]
    for name, found in latencies.items():
        speed = f", {median(rates[name]) * sync:.2f} clips a sync" if name in rates else ""
        cpu = f", {median(costs[name]) * 1000:.1f} ms CPU of the daemon" if name in costs else ""
        lines.append(f"enqueue: {size:,} bytes: {name}: {spread(found, sync, 'sync')}{speed}{cpu}")
    return lines


async def _load(
    post: Post,
    clients: int,
    name: str,
    latencies: dict[str, list[float]],
    rates: dict[str, list[float]],
) -> None:
    """Let ``clients`` post one after the other until ``_EACH`` are through."""
    left = iter(range(_EACH))
    found = latencies.setdefault(name, [])

    async def client() -> None:
        for number in left:
            begun = time.perf_counter()
            await post(number)
            found.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    rates.setdefault(name, []).append(_EACH / (time.perf_counter() - begun))


def _body(size: int) -> bytes:
    content = {"format": "text", "text": ("word " * size)[: size - 200]}
    return json.dumps({"targets": [{"page_id": scene.page_id(1)}], "content": content}).encode()
