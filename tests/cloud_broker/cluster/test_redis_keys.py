"""Keys in Redis: their expiry, the clock that counts, and their slots in a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from cloud_broker.cluster import redis_limiter as over_redis
from cloud_broker.cluster.redis import Redis, RedisLost
from cloud_broker.cluster.redis_limiter import EPOCH, RedisLimiter
from cloud_broker.cluster.usage_snapshot import UsageSnapshot
from cloud_broker.limits.circuit_breaker import CONNECTION_TRIP
from cloud_broker.limits.gcra import Bucket, Window
from cloud_broker.limits.limiter import LimitCheck, Watch
from cloud_broker.randomness import SystemRandomness
from cloud_broker.secret import Secret
from tests.servers.redis import RedisServer, a_redis

USER = LimitCheck("user", "v1:{u:ada}:all", Window(120))
ROUTE = LimitCheck("route", "v1:{u:ada}:pages.get", Window(3))
BUCKET = LimitCheck("connection", "v1:{c:1}:bucket", Bucket(2.5, 6))
OTHERS = "v1:{c:1}:gate", "v1:{c:1}:gate:pages.get"
WORKSPACE = "v1:{w:1}:gate"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with a_redis() as running:
        yield running


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[Redis]:
    redis = Redis(Secret(server.url), budget_s=5.0)
    yield redis
    await redis.close()


def a_limiter(link: Redis, *, own_clock: bool = False) -> RedisLimiter:
    return RedisLimiter(link, SystemRandomness(), UsageSnapshot(), own_clock=own_clock)


def life_s(server: RedisServer, key: str) -> float:
    """Seconds until a key is forgotten; -0.001 for never."""
    return int(server.say("PTTL", key)[1:-2]) / 1000


async def test_a_key_lives_as_long_as_it_matters_and_no_longer(
    server: RedisServer, link: Redis
) -> None:
    limiter = a_limiter(link)
    for _ in range(6):
        await limiter.decide([USER, BUCKET], [], 100.0, 0)
    assert 60 < life_s(server, USER.key) <= 61
    assert 6 / 2.5 < life_s(server, BUCKET.key) <= 6 / 2.5 + 1
    await limiter.on_throttled(WORKSPACE, 100.0, entered=100.0, pause_s=30, counts=True)
    assert 30 < life_s(server, WORKSPACE) <= 30 + over_redis.QUIET_S


async def test_a_start_that_is_still_to_come_is_not_forgotten_for_one_that_was(
    server: RedisServer, link: Redis
) -> None:
    limiter, slow = a_limiter(link), LimitCheck("connection", "v1:{c:1}:slow", Bucket(0.1, 1))
    assert (await limiter.decide([slow], [], 100.0, 0)).allowed
    assert (await limiter.decide([USER, slow], [], 100.0, 10)).wait_s == 10
    assert (await limiter.decide([USER], [], 100.0, 0)).allowed
    assert 70 < life_s(server, USER.key) <= 71


async def test_restored_windows_expire(server: RedisServer, link: Redis) -> None:
    limiter = a_limiter(link)
    for _ in range(3):
        assert (await limiter.decide([ROUTE], [], 100.0, 0)).allowed
    server.say("FLUSHALL")
    assert not (await limiter.decide([ROUTE], [], 100.0, 0)).allowed
    assert 60 < life_s(server, ROUTE.key) <= 61


async def test_the_clocks_of_brokers_do_not_matter(link: Redis) -> None:
    limiters = [a_limiter(link, own_clock=True) for _ in range(3)]
    clocks = (0.0, -40_000.0, 1e9)  # steady clocks begin anywhere
    admitted = 0
    for _ in range(4):
        for limiter, now in zip(limiters, clocks, strict=True):
            admitted += (await limiter.decide([ROUTE], [], now, 0)).allowed
    assert admitted == 3
    await limiters[0].on_throttled(WORKSPACE, 0.0, entered=0.0, pause_s=30, counts=False)
    found = await limiters[2].decide([], [WORKSPACE], 1e9, 0)
    assert not found.allowed
    assert 29 < found.wait_s <= 30


async def test_in_a_cluster_a_decision_would_have_to_be_split_by_owner(
    server: RedisServer, link: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.kill()
    server.start_cluster()
    whole: Sequence[LimitCheck] = (USER, ROUTE, BUCKET)
    with pytest.raises(RedisLost):  # three owners, three slots
        await a_limiter(link).decide(whole, [*OTHERS, WORKSPACE], 100.0, 0)
    parts = (
        ("{u:ada}", (USER, ROUTE), ()),
        ("{c:1}", (BUCKET,), OTHERS),
        ("{w:1}", (), (WORKSPACE,)),
    )
    for owner, checks, breakers in parts:
        with pytest.raises(RedisLost):  # the epoch is one for all, in a slot of its own
            await a_limiter(link).decide(checks, breakers, 100.0, 0)
        monkeypatch.setattr(over_redis, "EPOCH", f"v1:{owner}:epoch")
        limiter = a_limiter(link)
        assert (await limiter.decide(checks, breakers, 100.0, 0)).allowed
        for breaker in breakers:
            await limiter.on_finished(
                [Watch(breaker, "1", CONNECTION_TRIP)], 100.0, entered=100.0, failed=True
            )
            await limiter.on_throttled(breaker, 100.0, entered=100.0, pause_s=9, counts=True)
            assert not (await limiter.decide(checks, breakers, 101.0, 0)).allowed
            await limiter.release_probes([breaker])
        monkeypatch.setattr(over_redis, "EPOCH", EPOCH)
