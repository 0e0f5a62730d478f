"""Every limiter keeps the same rules: in memory, in Redis, and shared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from random import Random

import pytest

from cloud_broker.cluster.redis import Redis
from cloud_broker.cluster.redis_limiter import RedisLimiter
from cloud_broker.cluster.shared_limiter import SharedLimiter
from cloud_broker.cluster.usage_snapshot import UsageSnapshot
from cloud_broker.limits import memory
from cloud_broker.limits.circuit_breaker import CONNECTION_TRIP, TripRule
from cloud_broker.limits.gcra import (
    Bucket,
    Window,
)
from cloud_broker.limits.limiter import LimitCheck, Limiter, Watch
from cloud_broker.limits.memory import MemoryLimiter
from cloud_broker.randomness import SystemRandomness
from cloud_broker.secret import Secret
from tests.servers.redis import RedisServer


@pytest.fixture(params=["memory", "redis", "shared"])
async def adapter(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[], Limiter]]:
    """Makes limiters of one kind; the Redis behind them is empty."""
    if request.param == "memory":
        yield MemoryLimiter
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    server.say("FLUSHALL")
    redis = Redis(Secret(server.url), budget_s=5.0)
    seen = UsageSnapshot()
    limiter = RedisLimiter(redis, SystemRandomness(), seen, own_clock=False)
    shared = SharedLimiter(limiter, seen, brokers=lambda: 1, rng=Random(1), on_lost=lambda: None)
    yield lambda: limiter if request.param == "redis" else shared
    await redis.close()


WINDOW = Window(3)


async def test_a_refusal_spends_nothing_of_any_limit(adapter: Callable[[], Limiter]) -> None:
    limiter = adapter()
    tight, wide = LimitCheck("tight", "t", Window(1)), LimitCheck("wide", "w", WINDOW)
    assert (await limiter.decide([tight, wide], [], 0, 0)).allowed
    for _ in range(5):
        refused = await limiter.decide([tight, wide], [], 1, 0)
        assert (refused.allowed, refused.refused_by, refused.wait_s) == (False, "tight", 59)
    left = (await limiter.decide([wide], [], 1, 0)).quotas[0].left
    assert left == 1


async def test_a_short_wait_is_a_reservation_in_order(adapter: Callable[[], Limiter]) -> None:
    limiter, check = adapter(), LimitCheck("connection", "c", Bucket(2, 1))
    waits = [(await limiter.decide([check], [], 0, 10)).wait_s for _ in range(4)]
    assert waits == [0, 0.5, 1.0, 1.5]
    assert not (await limiter.decide([check], [], 0, 1)).allowed


async def test_five_429s_in_a_row_open_a_breaker_for_a_minute_then_one_probes(
    adapter: Callable[[], Limiter],
) -> None:
    limiter, now = adapter(), 0.0
    for _ in range(5):
        assert (await limiter.decide([], ["g"], now, 0)).allowed
        await limiter.on_throttled("g", now + 0.1, entered=now, pause_s=1, counts=True)
        now += 1.2
    refused = await limiter.decide([], ["g"], now, 0)
    assert not refused.allowed
    assert refused.wait_s > 58
    now += refused.wait_s
    assert (await limiter.decide([], ["g"], now, 0)).probes == ("g",)
    waiting = await limiter.decide([], ["g"], now, 0)
    assert (waiting.allowed, waiting.wait_s) == (False, 1)
    watch = Watch("g", "me", TripRule(20, 1))
    await limiter.on_finished([watch], now + 1, entered=now, failed=False)
    free = await limiter.decide([], ["g"], now + 1, 0)
    assert (free.allowed, free.probes) == (True, ())


async def test_concurrent_429s_are_one_strike(
    adapter: Callable[[], Limiter],
) -> None:
    limiter = adapter()
    for _ in range(6):
        await limiter.on_throttled("g", 1, entered=0, pause_s=2, counts=True)
    assert (await limiter.decide([], ["g"], 3, 0)).allowed


async def test_a_failed_probe_opens_the_breaker_again_and_a_released_one_passes_on(
    adapter: Callable[[], Limiter],
) -> None:
    limiter, watch = adapter(), Watch("g", "me", TripRule(requests=2, parties=1, open_s=10))
    for _ in range(2):
        await limiter.on_finished([watch], 0, entered=0, failed=True)
    assert (await limiter.decide([], ["g"], 9, 0)).wait_s == 1
    assert (await limiter.decide([], ["g"], 10, 0)).probes == ("g",)
    await limiter.release_probes(["g"])
    assert (await limiter.decide([], ["g"], 10, 0)).probes == ("g",)
    await limiter.on_finished([watch], 11, entered=10, failed=True)
    assert (await limiter.decide([], ["g"], 11, 0)).wait_s == 10


async def test_one_partys_failures_do_not_open_the_breaker_of_all(
    adapter: Callable[[], Limiter],
) -> None:
    limiter, rule = adapter(), TripRule(requests=10, parties=3)
    for i in range(40):
        bad = Watch("up", "broken", rule)
        await limiter.on_finished([bad], i / 10, entered=i / 10, failed=True)
        good = Watch("up", f"fine-{i % 4}", rule)
        await limiter.on_finished([good], i / 10, entered=i / 10, failed=False)
    assert (await limiter.decide([], ["up"], 5, 0)).allowed
    for i in range(40):
        watch = Watch("up", f"fine-{i % 4}", rule)
        await limiter.on_finished([watch], 6, entered=6, failed=True)
    assert not (await limiter.decide([], ["up"], 6, 0)).allowed


async def test_expired_state_is_dropped_without_changing_an_answer(
    adapter: Callable[[], Limiter],
) -> None:
    limiter = adapter()
    for i in range(100):
        await limiter.decide([LimitCheck("user", f"u{i}", WINDOW)], ["g"], 0, 0)
    assert (await limiter.decide([LimitCheck("user", "u0", WINDOW)], ["g"], 59, 0)).quotas[
        0
    ].left == 1
    assert (await limiter.decide([LimitCheck("user", "u1", WINDOW)], ["g"], 200, 0)).quotas[
        0
    ].left == 2


async def test_the_limiters_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_KEYS", 10)
    limiter = MemoryLimiter()
    for number in range(50):
        await limiter.decide((LimitCheck("a", f"k{number}", Window(1)),), (), 1.0, 0.0)
    assert len(limiter._keys) == 10
    assert not (await limiter.decide((LimitCheck("a", "k49", Window(1)),), (), 1.0, 0.0)).allowed


async def test_a_tripped_breaker_without_attempts_is_dropped() -> None:
    limiter = MemoryLimiter()
    watch = Watch("gate", "ada", CONNECTION_TRIP)
    for _ in range(CONNECTION_TRIP.requests):
        await limiter.on_finished((watch,), 100.0, entered=99.0, failed=True)
    await limiter.decide((), (), 200.0, 0.0)
    assert "gate" in limiter._breakers
    await limiter.decide((), (), 100.0 + 2 * memory.FORGIVEN_S, 0.0)
    assert "gate" not in limiter._breakers
