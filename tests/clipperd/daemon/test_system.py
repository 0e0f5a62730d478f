from __future__ import annotations

import os

from clipperd.daemon.system import RandomPool, System


def test_no_byte_of_a_pool_is_given_twice() -> None:
    drawn: list[bytes] = []

    def draw(count: int) -> bytes:
        drawn.append(os.urandom(count))
        return drawn[-1]

    pool = RandomPool(draw, size_bytes=40)
    given = [pool(16) for _ in range(4)]
    assert given == [drawn[0][:16], drawn[0][16:32], drawn[1][:16], drawn[1][16:32]]


def test_the_machines_ids_differ() -> None:
    machine = System.real()
    ids = [machine.new_id() for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    assert {len(bytes.fromhex(each)) for each in ids} == {16}
