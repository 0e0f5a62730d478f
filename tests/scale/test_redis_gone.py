"""Redis killed, hung, emptied and full under real brokers: clients get no error, limits hold."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest

from cloud_broker.cluster.shared_limiter import SETTLE_S
from tests.scale.fleet import BROKERS, PROXY, Answer, Fleet, Person, a_key, a_newcomer
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.e2e

JONAS = "jonas@example.com"
PAGE = "3a1f0c9e-0000-4a4a-8c8c-00000000000a"
LIMIT = 30  # of GET blocks/:id, a minute and user
SPENT = 9
LANES = 2  # at each broker


async def flood(jonas: Person, page: str, seen: list[Answer], *, times: int) -> None:
    """Ask every broker at once, so many times in each lane."""

    async def lane(number: int) -> None:
        for _ in range(times):
            await ask(jonas, number, page, seen)

    await asyncio.gather(*(lane(n) for n in range(LANES * BROKERS)))


async def ask(jonas: Person, number: int, page: str, seen: list[Answer]) -> None:
    seen.append(await jonas.call(number, "GET", f"{PROXY}blocks/{page}"))


async def spend(jonas: Person, page: str, seen: list[Answer]) -> None:
    """Some, at each broker in turn, so that all have seen what is left."""
    for number in range(SPENT):
        await ask(jonas, number, page, seen)


async def shared(jonas: Person) -> list[str]:
    """What each broker says of its limits."""
    told = [await jonas.call(n, "GET", "/metrics") for n in range(BROKERS)]
    return [
        next(line[-1] for line in answer.body.splitlines() if line.startswith("broker_limits_sh"))
        for answer in told
    ]


async def until_shared(jonas: Person, page: str, seen: list[Answer]) -> None:
    """Ask on until every broker shares its limits again, and has heard of the others' starts."""
    begun = time.monotonic()
    while await shared(jonas) != ["1"] * BROKERS:
        assert time.monotonic() < begun + 30
        for number in range(BROKERS):
            await ask(jonas, number, page, seen)
        await asyncio.sleep(0.1)
    await asyncio.sleep(SETTLE_S)


def judged(seen: list[Answer], most: int) -> None:
    """No error, no more than ``most``, and what was left was not withheld."""
    count = Counter(answer.status for answer in seen)
    assert set(count) == {200, 429}, count
    assert LIMIT - 2 * BROKERS <= count[200] <= most, count
    for refused in (answer for answer in seen if answer.status == 429):
        assert refused.headers["X-Broker-Code"] == "limit_route"
        assert int(refused.headers["Retry-After"]) >= 1
        assert "RateLimit" in refused.headers


@pytest.mark.parametrize("failure", ["killed", "hung"])
async def test_redis_gone_under_load_costs_nobody_an_error_and_at_most_a_start_a_broker(
    fleet: Fleet, redis_server: RedisServer, failure: str
) -> None:
    seen: list[Answer] = []
    lose, give_back = _ways(redis_server)[failure]
    async with a_newcomer(fleet, JONAS) as jonas:
        page = fleet.notion.page("Page", "# One", workspace_id=jonas.workspace).id
        await spend(jonas, page, seen)
        loading = asyncio.ensure_future(flood(jonas, page, seen, times=12))
        lose()
        try:
            await loading
            assert await shared(jonas) == ["0"] * BROKERS
            assert (await jonas.call(1, "GET", "/readyz")).body["limits"] == "divided"
            written = [await jonas.append(n, page, f"clip {n}", a_key()) for n in range(3)]
            assert [answer.status for answer in written] == [200] * 3
        finally:
            give_back()
        await until_shared(jonas, page, seen)
        await flood(jonas, page, seen, times=4)
    judged(seen, LIMIT + BROKERS)


async def test_a_broker_starts_while_redis_is_gone(fleet: Fleet, redis_server: RedisServer) -> None:
    redis_server.kill()
    try:
        await asyncio.to_thread(fleet.brokers[2].kill)
        await asyncio.to_thread(fleet.start, 2)  # and is ready
    finally:
        redis_server.start()
    async with a_newcomer(fleet, JONAS) as jonas:
        await until_shared(jonas, PAGE, [])


def _ways(server: RedisServer) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    return {"killed": (server.kill, server.start), "hung": (server.hang, server.go_on)}


async def test_redis_emptied_once_under_load_grants_at_most_one_more_a_broker(
    fleet: Fleet, redis_server: RedisServer
) -> None:
    seen: list[Answer] = []
    async with a_newcomer(fleet, JONAS) as jonas:
        page = fleet.notion.page("Page", "# One", workspace_id=jonas.workspace).id
        await spend(jonas, page, seen)
        loading = asyncio.ensure_future(flood(jonas, page, seen, times=12))
        await ask(jonas, 0, page, seen)  # the flood is in progress
        redis_server.say("FLUSHALL")
        await loading
        assert await shared(jonas) == ["1"] * BROKERS
    judged(seen, LIMIT + BROKERS)


async def test_redis_emptied_again_and_again_under_load_grants_at_most_a_start_a_caller(
    fleet: Fleet, redis_server: RedisServer
) -> None:
    seen: list[Answer] = []
    async with a_newcomer(fleet, JONAS) as jonas:
        page = fleet.notion.page("Page", "# One", workspace_id=jonas.workspace).id
        await spend(jonas, page, seen)
        loading = asyncio.ensure_future(flood(jonas, page, seen, times=12))
        while not loading.done():
            redis_server.say("FLUSHALL")
            await asyncio.sleep(0.1)
        assert await shared(jonas) == ["1"] * BROKERS
    judged(seen, LIMIT + LANES * BROKERS)


async def test_redis_full_under_load_decides_as_ever(
    fleet: Fleet, redis_server: RedisServer
) -> None:
    seen: list[Answer] = []
    async with a_newcomer(fleet, JONAS) as jonas:
        page = fleet.notion.page("Page", "# One", workspace_id=jonas.workspace).id
        await spend(jonas, page, seen)
        redis_server.say("CONFIG", "SET", "maxmemory", "1")
        try:
            await flood(jonas, page, seen, times=12)
            assert await shared(jonas) == ["1"] * BROKERS
        finally:
            redis_server.say("CONFIG", "SET", "maxmemory", "0")
    judged(seen, LIMIT)
