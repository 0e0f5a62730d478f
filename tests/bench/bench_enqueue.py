"""Measures the time until a clip is durable: over HTTP, in the outbox alone, in other queues."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipperd.clock import SystemClock
from clipperd.outbox.outbox import Outbox
from clipperd.process import endpoint
from tests.bench import filled_stores
from tests.bench.lines import Line, request
from tests.bench.measure import cpu_of, machine, median, quantile, syncs
from tests.bench.rivals.enqueue import Load, rivals

_SIZES = (1_000, 50_000)
_CLIENTS = (1, 8, 64)
_EACH = 240
_ROUNDS = 5
_PAUSE_S = 0.4  # what each puts off (folding a log back, writing a file anew) is its own affair
_HTTP, _QUEUE = "clipperd over HTTP", "its queue alone"
Post = Callable[[int], Awaitable[object]]


@dataclass
class _Cell:
    """One way of enqueuing with so many clients at once, by rounds; times in seconds."""

    latencies: list[Sequence[float]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, latencies: Sequence[float], took: float) -> None:
        """One round of ``_EACH`` clips."""
        self.latencies.append(latencies)
        self.rates.append(_EACH / took)

    def spread(self, sync: float) -> str:
        """p50 and p99 in syncs: of each the round in the middle, since others use this disk."""
        p50, p99 = (
            median([quantile(each, share) for each in self.latencies]) / sync
            for share in (0.5, 0.99)
        )
        return f"{p50:.1f} / {p99:.1f}"


def run() -> list[str]:
    """Lines for ``make bench``: latencies as multiples of one fdatasync of as many bytes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        rivals(Path(folder) / "rivals") as (others, missing),
    ):
        return _measure(Path(folder), others) + [f"enqueue: {one}" for one in missing]


def _measure(folder: Path, others: Mapping[str, Load]) -> list[str]:
    home = folder / "home"
    filled_stores.furnish_home(home, 100)
    env = filled_stores.environment(folder, CLIPPERD_HOME=str(home), CLIPPERD_SECRETS="memory")
    env["CLIPPERD_BROKER_URL"] = "http://127.0.0.1:9"  # nobody listens there: all stays queued
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(
        [sys.executable, "-m", "clipperd", "run"], env=env, stdout=quiet, stderr=quiet
    )
    lines = [f"enqueue: {_EACH} clips x {_ROUNDS} rounds, {machine()}"]
    try:
        mine = filled_stores.published(home, child)
        for size in _SIZES:
            lines += asyncio.run(_one_size(folder, mine, others, size, child.pid))
    finally:
        child.terminate()
        child.wait()
    return lines


async def _one_size(
    folder: Path, mine: endpoint.Endpoint, others: Mapping[str, Load], size: int, pid: int
) -> list[str]:
    names = (_HTTP, _QUEUE, *others)
    cells = {(name, clients): _Cell() for name in names for clients in _CLIENTS}
    disk: list[float] = []
    outbox = Outbox(
        filled_stores.open_outbox(folder / f"queue{size}.db"),
        SystemClock(),
        new_id=lambda: os.urandom(16).hex(),
        publish=lambda *_: None,
    )
    drafted = filled_stores.draft(filled_stores.SCOPE, filled_stores.page_id(1), "x" * size)
    asked = request("POST", "/v1/clips", mine.port, mine.token, _body(size))
    for number in range(_ROUNDS + 1):
        found = syncs(folder, size)
        disk += found if number else []
        for clients in _CLIENTS:
            cell = {name: cells[name, clients] if number else _Cell() for name in names}
            cell[_QUEUE].add(*await _load(lambda _: outbox.accept(drafted), clients))
            await asyncio.sleep(_PAUSE_S)
            before = cpu_of(pid)
            cell[_HTTP].add(*await _over_http(mine.port, asked, clients))
            cell[_HTTP].cpu.append((cpu_of(pid) - before) / _EACH)
            for name, load in others.items():
                await asyncio.sleep(_PAUSE_S)
                cell[name].add(*await asyncio.to_thread(load, size, clients, _EACH))
    outbox.db.close()
    return _table(size, names, cells, disk)


def _table(
    size: int, names: Sequence[str], cells: Mapping[tuple[str, int], _Cell], disk: Sequence[float]
) -> list[str]:
    """Latencies in syncs, then clips accepted in the time of one sync, by clients at once."""
    sync = median(disk)
    at_once = " | ".join(str(clients) for clients in _CLIENTS)
    lines = [
        f"enqueue: {size:,} bytes: one fdatasync {sync * 1000:.2f} ms"
        f" (p99 {quantile(disk, 0.99) / sync:.1f} x); p50 / p99 in syncs, {at_once} at once;"
        " clips a sync"
    ]
    for name in names:
        row = [cells[name, clients] for clients in _CLIENTS]
        spreads = " | ".join(cell.spread(sync) for cell in row)
        rates = " ".join(f"{median(cell.rates) * sync:.2f}" for cell in row)
        cpu = " ".join(f"{median(cell.cpu) * 1000:.1f}" for cell in row if cell.cpu)
        more = f"; CPU of the daemon {cpu} ms a clip" if cpu else ""
        lines.append(f"enqueue: {size:,} bytes: {name}: {spreads}; {rates}{more}")
    return lines


async def _over_http(port: int, asked: bytes, clients: int) -> tuple[list[float], float]:
    """The load over a connection for each client."""
    free = [await Line.to(port) for _ in range(clients)]

    async def post(_: int) -> None:
        line = free.pop()
        await line.ask(asked, 202)
        free.append(line)

    found = await _load(post, clients)
    for line in free:
        line.close()
    return found


async def _load(post: Post, clients: int) -> tuple[list[float], float]:
    """Let ``clients`` post one after the other until ``_EACH`` are through."""
    left = iter(range(_EACH))
    found: list[float] = []

    async def client() -> None:
        for number in left:
            begun = time.perf_counter()
            await post(number)
            found.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return found, time.perf_counter() - begun


def _body(size: int) -> bytes:
    content = {"format": "text", "text": ("word " * size)[: size - 200]}
    return json.dumps(
        {"targets": [{"page_id": filled_stores.page_id(1)}], "content": content}
    ).encode()
