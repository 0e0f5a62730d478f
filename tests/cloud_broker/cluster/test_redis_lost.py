"""Redis killed, hung, emptied and full: clients get no error, and the limits hold together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from random import Random

import pytest

from cloud_broker.cluster.redis import Redis
from cloud_broker.cluster.redis_limiter import EPOCH, RedisLimiter
from cloud_broker.cluster.redis_notifier import RedisNotifier
from cloud_broker.cluster.shared_limiter import SETTLE_S, SharedLimiter
from cloud_broker.cluster.usage_snapshot import UsageSnapshot
from cloud_broker.limits.circuit_breaker import UPSTREAM_TRIP
from cloud_broker.limits.gcra import Bucket, Window
from cloud_broker.limits.limiter import Decision, LimitCheck, Watch
from cloud_broker.randomness import SystemRandomness
from cloud_broker.secret import Secret
from tests.servers.redis import RedisServer, a_redis

BROKERS = 3
LIMIT = 60
USER = LimitCheck("user", "v1:{u:ada}:all", Window(LIMIT))
OTHER = LimitCheck("user", "v1:{u:eve}:all", Window(LIMIT))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with a_redis() as running:
        yield running


class Fleet:
    """Brokers with a limiter each, over one Redis, on one steady clock that is moved by hand."""

    def __init__(self, url: str, budget_s: float = 2.0) -> None:
        self.now = 1000.0
        self.links = [Redis(Secret(url), budget_s=budget_s) for _ in range(BROKERS)]
        self.missed: list[int] = []
        self.limiters = []
        for number, link in enumerate(self.links):
            seen = UsageSnapshot()
            inner = RedisLimiter(link, SystemRandomness(), seen, own_clock=False)
            self.limiters.append(
                SharedLimiter(
                    inner,
                    seen,
                    brokers=lambda: BROKERS,
                    rng=Random(number),
                    on_lost=partial(self.missed.append, number),
                )
            )

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(self, *_: object) -> None:
        for link in self.links:
            await link.close()

    async def ask(self, number: int, asks: Sequence[LimitCheck] = (USER,)) -> Decision:
        for limiter in self.limiters:  # as they do by themselves, all the time
            await limiter.try_reconnect(self.now)
        return await self.decide(number, asks)

    async def decide(self, number: int, asks: Sequence[LimitCheck] = (USER,)) -> Decision:
        return await self.limiters[number % BROKERS].decide(asks, [], self.now, 0)

    async def flood(self, times: int, ask: LimitCheck = USER) -> int:
        """Ask one broker after the other; return how many were let through."""
        return sum([(await self.ask(n, (ask,))).allowed for n in range(times)])

    @property
    def shared(self) -> list[bool]:
        return [limiter.is_shared for limiter in self.limiters]


async def test_brokers_share_one_limit(server: RedisServer) -> None:
    async with Fleet(server.url) as fleet:
        assert await fleet.flood(3 * LIMIT) == LIMIT
        fleet.now += 59.9
        assert await fleet.flood(3) == 0
        fleet.now += 0.2
        assert await fleet.flood(3 * LIMIT) == LIMIT


@pytest.mark.parametrize("spent", [0, 15, 45, LIMIT])
async def test_killed_it_costs_at_most_one_start_a_broker(server: RedisServer, spent: int) -> None:
    async with Fleet(server.url) as fleet:
        before = await fleet.flood(spent)
        server.kill()
        fleet.now += 1
        after = await fleet.flood(6 * LIMIT)
        assert fleet.shared == [False] * BROKERS
        assert before + after <= LIMIT + BROKERS
        assert after >= LIMIT - spent - BROKERS  # what is left is not withheld
        fleet.now += 61
        assert LIMIT - BROKERS <= await fleet.flood(6 * LIMIT) <= LIMIT + BROKERS


async def test_back_it_is_shared_again_within_six_seconds_and_knows_what_was_spent(
    server: RedisServer,
) -> None:
    async with Fleet(server.url) as fleet:
        spent = await fleet.flood(30)
        server.kill()
        fleet.now += 1
        spent += await fleet.flood(20)
        server.start()
        fleet.now += 6
        spent += await fleet.flood(6 * LIMIT)
        assert fleet.shared == [True] * BROKERS
        assert spent <= LIMIT + BROKERS
        fleet.now += SETTLE_S
        spent += await fleet.flood(6 * LIMIT)
        assert LIMIT - BROKERS <= spent <= LIMIT + BROKERS


async def test_who_is_back_first_takes_nothing_of_what_the_others_have_admitted(
    server: RedisServer,
) -> None:
    async with Fleet(server.url) as fleet:
        spent = await fleet.flood(6)
        server.kill()
        fleet.now += 1
        spent += await fleet.flood(6 * LIMIT)  # each its share
        server.start()
        fleet.now += 6
        await fleet.limiters[0].try_reconnect(fleet.now)
        assert fleet.shared == [True, False, False]
        spent += sum([(await fleet.decide(0)).allowed for _ in range(LIMIT)])
        assert spent <= LIMIT + BROKERS
        fleet.now += SETTLE_S
        assert spent + await fleet.flood(6 * LIMIT) <= LIMIT + BROKERS
        assert fleet.shared == [True] * BROKERS


async def test_starts_admitted_without_redis_are_reported_without_another_request(
    server: RedisServer,
) -> None:
    async with Fleet(server.url) as fleet:
        spent = await fleet.flood(3)
        server.kill()
        spent += await fleet.flood(30)
        server.start()
        fleet.now += 6
        for limiter in fleet.limiters:
            await limiter.try_reconnect(fleet.now)
        fleet.now += SETTLE_S
        spent += sum([(await fleet.decide(0)).allowed for _ in range(2 * LIMIT)])
        assert LIMIT - BROKERS <= spent <= LIMIT + BROKERS


async def test_an_emptied_redis_is_restored(server: RedisServer) -> None:
    async with Fleet(server.url) as fleet:
        spent = await fleet.flood(50)
        server.say("FLUSHALL")
        assert spent + await fleet.flood(6 * LIMIT) <= LIMIT + BROKERS
        assert await fleet.flood(3 * LIMIT, OTHER) == LIMIT
        assert fleet.shared == [True] * BROKERS
        server.say("SCRIPT", "FLUSH")
        assert await fleet.flood(3) == 0
        assert fleet.shared == [True] * BROKERS


@pytest.mark.parametrize("seed", range(5))
async def test_emptied_again_and_again_it_grants_what_some_had_not_seen_yet_and_no_more(
    server: RedisServer, seed: int
) -> None:
    chance = Random(seed)
    async with Fleet(server.url) as fleet:
        for _ in range(2):
            spent = 0
            for _ in range(250):
                fleet.now += 0.2
                spent += (await fleet.ask(chance.randrange(BROKERS))).allowed
                if chance.random() < 0.2:
                    server.say("FLUSHALL")
            assert LIMIT <= spent <= LIMIT + 2 * BROKERS  # nothing is withheld either
            fleet.now += 61


async def test_a_limit_raised_for_a_load_test_costs_redis_no_more(server: RedisServer) -> None:
    async with Fleet(server.url, budget_s=5.0) as fleet:
        limit = 100_000_000
        huge = LimitCheck("user", "v1:{u:ada}:all", Window(limit))
        assert await fleet.flood(30, huge) == 30
        server.say("FLUSHALL")
        assert (await fleet.ask(0, (huge,))).quotas[0].left == limit - 29
        assert int(server.say("ZCARD", huge.key)[1:-2]) == 29


async def test_each_broker_tells_its_own_starts_and_stands_in_for_those_of_a_dead_one(
    server: RedisServer,
) -> None:
    async with Fleet(server.url) as fleet:

        async def spent(number: int) -> int:
            fleet.now += 0.01
            decision = await fleet.ask(number)
            assert decision.allowed
            return LIMIT - decision.quotas[0].left

        assert [await spent(number) for number in (0, 0, 0, 0, 1, 1, 1, 2)] == [*range(1, 9)]
        server.say("FLUSHALL")
        assert await spent(2) == 9  # it stands in for all that it had seen
        assert await spent(0) == 10  # whose own ones were told again, and count once
        server.say("FLUSHALL")
        assert await spent(2) == 10  # it has not seen the last one
        assert await spent(0) == 12  # which was broker 0's
        fleet.now += 61
        assert await spent(1) == 1


async def test_hung_it_delays_three_decisions_and_then_none(server: RedisServer) -> None:
    async with Fleet(server.url, budget_s=0.05) as fleet:
        spent = await fleet.flood(30)
        server.hang()
        spent += await fleet.flood(300)
        assert fleet.shared == [False] * BROKERS
        assert sum(limiter.lost for limiter in fleet.limiters) == 3 * BROKERS
        assert set(fleet.missed) == set(range(BROKERS))  # so that each counts the brokers anew
        server.go_on()
        fleet.now += 6
        assert spent + await fleet.flood(300) <= LIMIT + BROKERS
        assert fleet.shared == [True] * BROKERS


async def test_full_it_decides_as_ever(server: RedisServer) -> None:
    async with Fleet(server.url) as fleet:
        spent = await fleet.flood(10)
        server.say("CONFIG", "SET", "maxmemory", "1")
        watch = Watch("up", "c", UPSTREAM_TRIP)
        for _ in range(30):  # whose good answers cannot be counted now
            spent += await fleet.flood(9)
            for limiter in fleet.limiters:
                await limiter.on_finished([watch], fleet.now, entered=fleet.now, failed=False)
            fleet.now += 0.2
        assert spent == LIMIT
        assert await fleet.flood(60, LimitCheck("connection", "v1:{c:1}:bucket", Bucket(1, 6))) == 6
        server.say("FLUSHALL")
        fleet.now += 61
        assert await fleet.flood(3 * LIMIT) == LIMIT
        await fleet.limiters[0].on_throttled("g", fleet.now, entered=0, pause_s=30, counts=True)
        assert not (await fleet.limiters[1].decide([], ["g"], fleet.now, 0)).allowed
        assert sum(limiter.lost for limiter in fleet.limiters) == 0


async def test_a_pause_outlives_the_memory_of_redis(server: RedisServer) -> None:
    async with Fleet(server.url) as fleet:
        limiter = fleet.limiters[0]
        await limiter.on_throttled("g", fleet.now, entered=fleet.now, pause_s=30, counts=True)
        for other in fleet.limiters:
            told = await other.decide([], ["g"], fleet.now, 0)
            assert (told.allowed, told.wait_s) == (False, 30)
        server.kill()
        for _ in range(4):
            still = await limiter.decide([], ["g"], fleet.now + 1, 0)
            assert (still.allowed, still.wait_s) == (False, 29)


async def test_a_tripped_breaker_is_probed_by_one_broker(server: RedisServer) -> None:
    async with Fleet(server.url) as fleet:
        for _ in range(5):
            for limiter in fleet.limiters:
                await limiter.on_throttled(
                    "g", fleet.now, entered=fleet.now - 0.1, pause_s=1, counts=True
                )
            fleet.now += 2
        fleet.now += 60
        found = [await limiter.decide([], ["g"], fleet.now, 0) for limiter in fleet.limiters]
        assert sorted(len(decision.probes) for decision in found) == [0, 0, 1]
        assert sum(decision.allowed for decision in found) == 1


async def test_one_decision_is_one_call(server: RedisServer) -> None:
    async with Fleet(server.url) as fleet:
        await fleet.flood(6)
        calls = _calls(server)
        bucket = LimitCheck("connection", "v1:{c:1}:bucket", Bucket(100, 100))
        asks = (USER, LimitCheck("route", "v1:{u:ada}:x", Window(30)), bucket)
        for _ in range(10):
            assert (await fleet.ask(0, asks)).allowed
            await fleet.limiters[0].on_finished([], fleet.now, entered=fleet.now, failed=False)
        assert _calls(server) - calls == 10


async def test_every_key_of_an_owner_lies_in_one_slot_of_a_cluster(server: RedisServer) -> None:
    async with Fleet(server.url) as fleet:
        await fleet.flood(3)
        await fleet.flood(3, OTHER)
    keys = [k for k in server.say("KEYS", "*").decode().split("\r\n") if k.startswith("v1:")]
    tags = {
        key: key[key.index("{") + 1 : key.index("}")]
        for key in keys
        if key != EPOCH and "probe" not in key
    }
    assert set(tags.values()) == {"u:ada", "u:eve"}
    for tag in tags.values():
        slots = {_slot(server, key) for key, its in tags.items() if its == tag}
        assert len(slots | {_slot(server, tag)}) == 1


async def test_news_reach_the_other_brokers(server: RedisServer) -> None:
    links = [Redis(Secret(server.url), budget_s=2.0) for _ in range(2)]
    one, two = (RedisNotifier(link) for link in links)
    hearing = asyncio.ensure_future(two.listen())
    await two.wait()  # heard from now on
    one.notify()
    await asyncio.wait_for(two.wait(), 30)
    server.kill()
    assert await asyncio.wait_for(hearing, 30) > 0  # and is to be tried again
    two.notify()
    await asyncio.wait_for(two.wait(), 30)
    for notices, link in zip((one, two), links, strict=True):
        await notices.close()
        await link.close()


def _calls(server: RedisServer) -> int:
    stats = server.say("INFO", "commandstats").decode()
    line = next(line for line in stats.splitlines() if line.startswith("cmdstat_evalsha:"))
    return int(line.split("calls=")[1].split(",")[0])


def _slot(server: RedisServer, key: str) -> int:
    """The slot of a key: CRC16 (XMODEM) of its tag, modulo 16,384 (Redis cluster specification)."""
    tag = key[key.index("{") + 1 : key.index("}")] if "{" in key else key
    crc = 0
    for byte in tag.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
    return crc & 0xFFFF & 16_383
