"""Measures the effect on callers of a Redis that is killed, hung, emptied or full.

Each run uses three brokers.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.measure import machine, quantile
from tests.scale.fleet import BROKERS, PROXY, Fleet, Person, a_person
from tests.scale.fleet import a_fleet as fleet_over
from tests.servers.postgres import a_postgres
from tests.servers.redis import RedisServer, a_redis

PHASE_S = float(os.environ.get("BENCH_PHASE_S", "6"))
LANES = 2  # at each broker
PAUSE_S = 0.03  # between one lane's calls: below what two cores can do


@dataclass
class Phase:
    """What was answered within a stretch of time."""

    took_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def line(self) -> str:
        """p50 and p99 in milliseconds, and what else there was."""
        ms = [1000 * each for each in self.took_s]
        wrong = {status: many for status, many in self.statuses.items() if status != 200}
        told = (
            f"p50 {quantile(ms, 0.5):5.1f} ms, p99 {quantile(ms, 0.99):6.1f} ms of {len(ms)} calls"
        )
        return told + (f", {wrong}" if wrong else "")


def run() -> list[str]:
    """Lines for ``make bench``."""
    with tempfile.TemporaryDirectory() as folder, a_postgres() as postgres, a_redis() as redis:
        more = {"BROKER_LIMIT_SCALE": "100000", "BROKER_REDIS_BUDGET_MS": "50"}
        with fleet_over(Path(folder), postgres, redis, **more) as fleet:
            return asyncio.run(_run(fleet, redis))


async def _run(fleet: Fleet, redis: RedisServer) -> list[str]:
    ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "killed": (redis.kill, redis.start),
        "hung": (redis.hang, redis.go_on),
        "emptied": (lambda: redis.say("FLUSHALL"), lambda: None),
        "full": (
            lambda: redis.say("CONFIG", "SET", "maxmemory", "1"),
            lambda: redis.say("CONFIG", "SET", "maxmemory", "0"),
        ),
    }
    lines = [f"redis: {BROKERS} brokers over PostgreSQL, {LANES * BROKERS} callers, {machine()}"]
    page = fleet.notion.page("Page", "# One").id
    async with a_person(fleet, "mira@example.com") as mira:
        await _load(mira, page)  # connections, caches
        for name, (lose, give_back) in ways.items():
            before = await _load(mira, page)
            lose()
            during = await _load(mira, page)
            give_back()
            shared = asyncio.ensure_future(_until_shared(mira, page))
            after = await _load(mira, page)
            more = 1000 * (quantile(during.took_s, 0.99) - quantile(before.took_s, 0.99))
            lines += [
                f"redis: {name}, before: {before.line()}",
                f"redis: {name}, during: {during.line()}; p99 {more:+.1f} ms",
                f"redis: {name}, after:  {after.line()}; shared again in {await shared:.1f} s",
            ]
    return lines


async def _load(mira: Person, page: str) -> Phase:
    """Let every lane call for a while."""
    phase, end = Phase(), time.perf_counter() + PHASE_S

    async def lane(number: int) -> None:
        while time.perf_counter() < end:
            begun = time.perf_counter()
            answer = await mira.call(number, "GET", f"{PROXY}pages/{page}")
            phase.took_s.append(time.perf_counter() - begun)
            phase.statuses[answer.status] += 1
            await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(lane(number) for number in range(LANES * BROKERS)))
    return phase


async def _until_shared(mira: Person, page: str) -> float:
    """Seconds until every broker shares its limits; somebody must ask for that to be noticed."""
    begun = time.perf_counter()
    for number in range(BROKERS):
        while True:
            await mira.call(number, "GET", f"{PROXY}pages/{page}")
            told = (await mira.call(number, "GET", "/metrics")).body
            if "broker_limits_shared 1" in told.splitlines():
                break
            await asyncio.sleep(0.1)
    return time.perf_counter() - begun
