"""Measures requests per second of the local API, beside a bare aiohttp server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clipperd.process import endpoint
from tests.bench import filled_stores
from tests.bench.lines import Line, request
from tests.bench.measure import cpu_of, machine, median, quantile

_PAGES = 10_000
_CONNECTIONS = 64
_EACH = 3_000
_ROUNDS = 3

_BARE = """
import sys
from aiohttp import web
async def answer(_):
    return web.json_response({"state": "online", "queue": {"queued": 0}})
app = web.Application()
app.router.add_get("/", answer)
web.run_app(app, host="127.0.0.1", port=0, access_log=None,
            print=lambda text: print(text.split("http://")[1].split()[0], flush=True))
"""


@dataclass
class _Run:
    """What one load took."""

    rates: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def run() -> list[str]:
    """Lines for ``make bench``: requests a second over 64 connections, and as ratios."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _bare(Path(folder)) as (bare, port),
        _daemon(Path(folder)) as (daemon, mine),
    ):
        targets = {
            "bare server": (bare, port, "/"),
            "GET /healthz": (daemon, mine.port, "/healthz"),
            "GET /v1/status": (daemon, mine.port, "/v1/status"),
            "GET /v1/pages, 20 of 10,000": (daemon, mine.port, "/v1/pages?limit=20"),
            "GET /v1/clips": (daemon, mine.port, "/v1/clips?limit=20"),
        }
        found = {name: _Run() for name in targets}
        for number in range(_ROUNDS + 1):
            for name, (pid, at, path) in targets.items():
                one = asyncio.run(_load(pid, at, path, mine.token))
                if number:  # the first round warms caches
                    _add(found[name], one)
    floor = found["bare server"]
    lines = [f"api: {_CONNECTIONS} connections, {_EACH} requests x {_ROUNDS}, {machine()}"]
    lines += [
        f"api: {name}: {median(each.rates):.0f} requests/s,"
        f" {median(each.rates) / median(floor.rates):.2f} x bare; p99"
        f" {quantile(each.times, 0.99) * 1000:.1f} ms,"
        f" {quantile(each.times, 0.99) / quantile(floor.times, 0.99):.2f} x;"
        f" CPU {median(each.cpu) * 1000:.2f} ms, {median(each.cpu) / median(floor.cpu):.2f} x"
        for name, each in found.items()
    ]
    return lines


def _add(all_: _Run, one: _Run) -> None:
    all_.rates += one.rates
    all_.times += one.times
    all_.cpu += one.cpu


async def _load(pid: int, port: int, path: str, token: str) -> _Run:
    asked = request("GET", path, port, token)
    left, made = iter(range(_EACH)), _Run()

    async def client() -> None:
        line = await Line.to(port)
        for _ in left:
            begun = time.perf_counter()
            await line.ask(asked, 200)
            made.times.append(time.perf_counter() - begun)
        line.close()

    before, begun = cpu_of(pid), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(_CONNECTIONS)))
    made.rates.append(_EACH / (time.perf_counter() - begun))
    made.cpu.append((cpu_of(pid) - before) / _EACH)
    return made


@contextmanager
def _bare(folder: Path) -> Iterator[tuple[int, int]]:
    child = subprocess.Popen(
        [sys.executable, "-c", _BARE], env=filled_stores.environment(folder), stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        yield child.pid, int(child.stdout.readline().decode().rpartition(":")[2])
    finally:
        child.terminate()
        child.communicate()


@contextmanager
def _daemon(folder: Path) -> Iterator[tuple[int, endpoint.Endpoint]]:
    home = folder / "home"
    filled_stores.furnish_home(home, _PAGES)
    env = filled_stores.environment(folder, CLIPPERD_HOME=str(home), CLIPPERD_SECRETS="memory")
    env["CLIPPERD_BROKER_URL"] = "http://127.0.0.1:9"  # nobody listens there
    child = subprocess.Popen(
        [sys.executable, "-m", "clipperd", "run"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child.pid, filled_stores.published(home, child)
    finally:
        child.terminate()
        child.wait()
