"""The faulty line: clean without a fault, and broken in each way with one."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.chaos.line import BadLine

ANSWER = b"b" * 4_000


@contextmanager
def a_server() -> Iterator[tuple[str, int]]:
    """Answers each connection's first 4,000 bytes with as many, then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    there, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(there,), daemon=True).start()

        def answer(there: socket.socket) -> None:
            with there:
                try:
                    if len(received(there, len(ANSWER))) == len(ANSWER):
                        there.sendall(ANSWER)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[:2]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def received(there: socket.socket, most: int) -> bytes:
    found = b""
    while len(found) < most and (more := there.recv(65_536)):
        found += more
    return found


def exchange(port: int) -> int:
    """How many bytes of the answer came."""
    try:  # a refusal may come before connect() has returned
        with socket.create_connection(("127.0.0.1", port), timeout=3.0) as there:
            there.sendall(b"a" * len(ANSWER))
            return len(received(there, len(ANSWER)))
    except OSError:
        return -1


def test_a_calm_line_carries_everything() -> None:
    with a_server() as target, BadLine(random.Random(1)) as line:
        line.target = target
        assert {exchange(line.port) for _ in range(20)} == {len(ANSWER)}
        assert not line.struck


def test_a_bad_line_breaks_in_each_way_and_carries_the_rest() -> None:
    with a_server() as target, BadLine(random.Random(1)) as line:
        line.target, line.is_bad = target, True
        with ThreadPoolExecutor(16) as clients:
            came = list(clients.map(exchange, [line.port] * 120))
        kinds = {"cut going", "cut coming", "reset going", "reset coming", "refuse"}
        assert kinds <= set(line.struck)
        assert any(0 < bytes_ < len(ANSWER) for bytes_ in came), "no half an answer"
        assert came.count(len(ANSWER)) >= 30
        line.is_bad = False
        assert exchange(line.port) == len(ANSWER)
