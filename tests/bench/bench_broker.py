"""Measures requests per second, latency and CPU of the broker's proxy, beside other proxies.

Everything the broker does for a call is on: a session signed in through the real flow, a sealed
connection, limits (scaled up), audit rows, the log line.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from clipperd.cli.demo.web import fetch_json
from tests.bench import filled_stores, proxies
from tests.bench.load import generator, load
from tests.bench.measure import cpu_of, machine, median
from tests.bench.proxies import Side
from tests.scale.fleet import VERIFIER, hand_off, is_up, new_key
from tests.servers.ports import free_port
from tests.servers.postgres import a_postgres
from tests.servers.redis import a_redis
from tests.stack.program import Program

_CONNECTIONS = (32, 4)
_ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
_SECONDS = 2.0
_BASE, _PLAIN = "Express + fetch", "bare aiohttp proxy"
_ALONE, _SHARED = "broker (SQLite)", "broker (PostgreSQL, Redis)"
_GOALS = {_ALONE: 1.5, _SHARED: 1.0}  # requests/s as multiples of Express
_CPU_GOAL = 2.5  # CPU a request as multiples of the bare proxy's


@dataclass(frozen=True)
class Sample:
    """One side in one round."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


def run() -> list[str]:
    """Lines for ``make bench``: a table for each number of connections, then the goals."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        port = free_port()
        sides, absent = _sides(folder, port, stack)
        told = stack.enter_context(proxies.upstream(folder, port))
        for side in sides.values():
            load(side.url, side.headers, 4, 1)  # warm
        lines = [
            f"broker: GET of a page, {_ROUNDS} interleaved rounds of {_SECONDS:.0f} s each,"
            f" {machine()}",
            f"broker: load by {generator()}; upstream: {told}",
            *absent,
        ]
        for connections in _CONNECTIONS:
            lines += _table(connections, _measured(sides, connections))
        return lines


def _sides(folder: Path, port: int, stack: ExitStack) -> tuple[dict[str, Side], list[str]]:
    """Everybody who can be measured here, and lines that say who cannot."""
    upstream, env, absent = f"http://127.0.0.1:{port}", filled_stores.environment(folder), []
    enter = stack.enter_context
    sides = {_PLAIN: enter(proxies.bare(upstream, env))}
    shared = {
        "BROKER_DATABASE_URL": enter(a_postgres()).fresh(),
        "BROKER_REDIS_URL": enter(a_redis()).url,
    }
    sides[_ALONE] = enter(_broker(folder / "alone", port, env))
    sides[_SHARED] = enter(_broker(folder / "shared", port, env | shared))
    found = proxies.node_modules()
    if isinstance(found, str):
        absent += [f"broker: {row} cannot be measured: {found}" for row in (_BASE, "http-proxy")]
    else:
        sides[_BASE] = enter(proxies.express(*found, upstream))
        sides["node http-proxy"] = enter(proxies.http_proxy(*found, upstream))
    nginx = proxies.find_nginx()
    if nginx is None:
        absent.append("broker: nginx proxy_pass cannot be measured: there is no nginx")
    else:
        sides["nginx proxy_pass"] = enter(proxies.nginx_proxy(nginx, folder, port))
    return sides, absent


@contextmanager
def _broker(folder: Path, upstream_port: int, env: Mapping[str, str]) -> Iterator[Side]:
    """A broker at which somebody has signed in; the sandbox that let them has gone again."""
    folder.mkdir()
    ready, port = folder / "sandbox.url", free_port()
    argv = ["cloud_broker", "sandbox", "--port", str(upstream_port), "--rate", "0"]
    sandbox = Program("sandbox", [*argv, "--ready-file", str(ready)], env, folder / "sandbox.txt")
    broker = Program(
        "broker",
        ["cloud_broker", "run"],
        {**_settings(folder, port, upstream_port), **env},
        folder / "broker.txt",
    )
    url = f"http://127.0.0.1:{port}"
    try:
        sandbox.start(ready.exists)
        broker.start(lambda: is_up(f"{url}/readyz"))
        token = _signed_in(url)
        sandbox.stop()
        yield Side(url + proxies.PATH, broker.pid, {"Authorization": f"Bearer {token}"})
    finally:
        sandbox.stop()
        broker.stop()


def _settings(folder: Path, port: int, upstream_port: int) -> dict[str, str]:
    return {
        "BROKER_PORT": str(port),
        "BROKER_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "BROKER_DATABASE_URL": f"sqlite:///{folder / 'broker.db'}",
        "BROKER_NOTION_API_URL": f"http://127.0.0.1:{upstream_port}",
        "BROKER_NOTION_CLIENT_ID": "sandbox-client",
        "BROKER_NOTION_CLIENT_SECRET": "sandbox-secret",
        "BROKER_ENCRYPTION_KEYS": new_key(),
        "BROKER_SIGNING_KEYS": new_key(),
        "BROKER_LIMIT_SCALE": proxies.SCALE,
        "BROKER_NOTION_RATE": "100000",
        "BROKER_NOTION_BURST": "1000",
        "BROKER_DRAIN_S": "1",
    }


def _signed_in(url: str) -> str:
    body = {
        "grant_type": "handoff",
        "token": hand_off(url, "mira@example.com"),
        "code_verifier": VERIFIER,
    }
    return str(fetch_json("POST", f"{url}/api/auth/token", body)["access_token"])


def _measured(sides: Mapping[str, Side], connections: int) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {name: [] for name in sides}
    for _ in range(_ROUNDS):
        for name, side in sides.items():
            before = cpu_of(side.pid)
            seen = load(side.url, side.headers, connections, _SECONDS)
            cpu_ms = (cpu_of(side.pid) - before) * 1000 / seen.requests
            rate = seen.requests / seen.seconds
            found[name].append(Sample(rate, seen.p50_s * 1000, seen.p99_s * 1000, cpu_ms))
    return found


def _table(connections: int, found: Mapping[str, list[Sample]]) -> Iterator[str]:
    """One row a side: medians; ratios are medians of each round's own ratio."""
    base, bare = found.get(_BASE), found[_PLAIN]
    yield f"| {connections} connections | req/s | x Express | p50 ms | p99 ms | CPU ms | x bare |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, samples in found.items():
        faster = f"{_ratio([s.rate for s in samples], [s.rate for s in base]):.2f}" if base else "?"
        yield (
            f"| {name} | {median([s.rate for s in samples]):,.0f} | {faster}"
            f" | {median([s.p50_ms for s in samples]):.1f}"
            f" | {median([s.p99_ms for s in samples]):.1f}"
            f" | {median([s.cpu_ms for s in samples]):.3f}"
            f" | {_ratio([s.cpu_ms for s in samples], [s.cpu_ms for s in bare]):.2f} |"
        )
    for name, goal in _GOALS.items():
        cpu = _ratio([s.cpu_ms for s in found[name]], [s.cpu_ms for s in bare])
        yield f"{name}: CPU {cpu:.2f} x bare, {_said(cpu <= _CPU_GOAL)} at most {_CPU_GOAL}"
        if base:
            rate = _ratio([s.rate for s in found[name]], [s.rate for s in base])
            yield f"{name}: {rate:.2f} x Express, {_said(rate >= goal)} at least {goal}"


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return median([mine / other for mine, other in zip(ours, theirs, strict=True)])


def _said(holds: bool) -> str:
    return "as wanted:" if holds else "MISSED:"
