"""Enqueues through huey on SQLite: PATH SIZE CLIENTS COUNT; prints latencies and the total time.

Runs in an interpreter that has huey and imports nothing of this project.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time


def main(path: str, size: int, clients: int, count: int) -> None:
    """Let ``clients`` threads, each with its own connection, enqueue ``count`` together."""
    queue = importlib.import_module("huey").SqliteHuey(filename=path, fsync=True, timeout=60)

    def clip(body: str) -> None:
        """What a consumer would do; none runs."""

    task = queue.task(name="clip")(clip)
    body, found, left = "x" * size, [], iter(range(count))
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            begun = time.perf_counter()
            task(body)
            found.append(time.perf_counter() - begun)

    task(body)  # the schema, the first connection
    threads = [threading.Thread(target=client) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps([found, time.perf_counter() - begun]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
