"""Other queues that answer after the sync: raw SQLite, huey on SQLite, BullMQ on Redis."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.rivals.installed import Missing, node_with, python_with
from tests.servers.redis import RedisServer

_HERE = Path(__file__).parent
_PATIENCE_S = 600.0

Found = tuple[list[float], float]
Load = Callable[[int, int, int], Found]
"""Enqueue (size in bytes, clients at once, how many in all): latencies, and the whole time."""


@contextmanager
def rivals(folder: Path) -> Iterator[tuple[dict[str, Load], list[str]]]:
    """The loads by name, and a sentence for each that cannot be had."""
    folder.mkdir()
    loads: dict[str, Load] = {"raw SQLite FULL": _raw(folder)}
    missing = []
    with ExitStack() as stack:
        for name, prepare in (("huey", _huey), ("BullMQ", _bullmq)):
            try:
                loads[name] = prepare(folder, stack)
            except Missing as error:
                missing.append(f"{name} is missing: {error}")
        yield loads, missing


def _raw(folder: Path) -> Load:
    """One insert a transaction, each client on a connection of its own, all waiting their turn."""

    def load(size: int, clients: int, count: int) -> Found:
        path, body = folder / f"raw{size}.db", os.urandom(size)
        _open(path).close()
        found: list[float] = []
        left = iter(range(count))
        lock = threading.Lock()

        def client() -> None:
            connection = _open(path)
            while True:
                with lock:
                    if next(left, None) is None:
                        break
                begun = time.perf_counter()
                connection.execute("INSERT INTO clip (body) VALUES (?)", (body,))
                found.append(time.perf_counter() - begun)
            connection.close()

        threads = [threading.Thread(target=client) for _ in range(clients)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found, time.perf_counter() - begun

    return load


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS clip (seq INTEGER PRIMARY KEY, body BLOB)")
    return connection


def _huey(folder: Path, _stack: ExitStack) -> Load:
    python = str(python_with(folder, "huey"))

    def load(size: int, clients: int, count: int) -> Found:
        path = str(folder / f"huey{size}.db")
        return _output([python, str(_HERE / "huey_load.py"), path], size, clients, count)

    return load


def _bullmq(folder: Path, stack: ExitStack) -> Load:
    modules = node_with(folder, "bullmq", "ioredis") / "node_modules"
    data = folder / "redis"
    data.mkdir()
    server = RedisServer(data)
    stack.callback(server.kill)
    server.start("--appendonly", "yes", "--appendfsync", "always")
    socket = server.url.removeprefix("unix://")
    environment = {**os.environ, "NODE_PATH": str(modules)}

    def load(size: int, clients: int, count: int) -> Found:
        argv = ["node", str(_HERE / "bullmq_load.cjs"), socket]
        return _output(argv, size, clients, count, environment)

    return load


def _output(
    argv: Sequence[str],
    size: int,
    clients: int,
    count: int,
    environment: dict[str, str] | None = None,
) -> Found:
    numbers = [str(number) for number in (size, clients, count)]
    done = subprocess.run(
        [*argv, *numbers],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(done.stderr[-2000:])
    found, took = json.loads(done.stdout.strip().splitlines()[-1])
    return list(found), float(took)
