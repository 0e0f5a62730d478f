"""The limits as callers meet them, and the answers that they get."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web

from cloud_broker.cluster.redis import Redis
from cloud_broker.cluster.redis_limiter import RedisLimiter
from cloud_broker.cluster.shared_limiter import SharedLimiter
from cloud_broker.cluster.usage_snapshot import UsageSnapshot
from cloud_broker.limits.limiter import Decision, LimitCheck
from cloud_broker.limits.memory import MemoryLimiter
from cloud_broker.randomness import SystemRandomness
from cloud_broker.secret import Secret
from tests.cloud_broker.proxy.proxy_stage import (
    BLOCK,
    PAGE,
    Held,
    ProxyStage,
    QuickClock,
    Upstream,
    a_proxy,
    an_error,
    says,
)
from tests.servers.redis import RedisServer


async def _until_refused(proxy: ProxyStage, method: str, path: str, **more: Any) -> int:
    for count in range(200):
        answer = await proxy.call(method, path, **more)
        if answer.status == 429:
            assert answer.headers["X-Broker-Code"] == "limit_route"
            assert int(answer.headers["Retry-After"]) >= 1
            assert '"route"' in answer.headers["RateLimit"]
            assert (await answer.json())["code"] == "rate_limited"
            return count
    raise AssertionError("no limit")


async def test_the_seeds_limits_per_endpoint(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, speed=0.01) as proxy:
        assert await _until_refused(proxy, "GET", "users/me") == 10
        assert await _until_refused(proxy, "PATCH", f"pages/{PAGE}", json={}) == 20
        assert await _until_refused(proxy, "GET", f"pages/{PAGE}") == 30
        assert (await proxy.call("GET", "users/me", user="bob")).status == 200


async def test_the_scale_multiplies_the_limits(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, speed=0.01, limit_scale=0.5) as proxy:
        assert await _until_refused(proxy, "GET", "users/me") == 5


async def test_the_users_limit_over_all_endpoints(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, speed=0.01) as proxy:
        paths = [f"pages/{PAGE}", f"blocks/{PAGE}", f"blocks/{PAGE}/children", f"databases/{PAGE}"]
        for path in paths:
            for _ in range(30):
                assert (await proxy.call("GET", path)).status == 200
        answer = await proxy.call("GET", "users/me")
        assert (answer.status, answer.headers["X-Broker-Code"]) == (429, "limit_user")
        assert answer.headers["RateLimit-Policy"].startswith('"user";q=120;w=60')


async def test_the_connections_bucket_is_waited_for(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, notion_rate=2.5, notion_burst=6) as proxy:
        begun = proxy.clock.monotonic()
        answers = await asyncio.gather(*(proxy.call("GET", f"pages/{PAGE}") for _ in range(16)))
        assert {a.status for a in answers} == {200}
        assert proxy.clock.monotonic() - begun >= 4


async def test_a_long_wait_for_the_connection_is_the_callers(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, speed=1, notion_rate=0.05, notion_burst=1) as proxy:
        assert (await proxy.call("GET", f"pages/{PAGE}")).status == 200
        answer = await proxy.call("GET", f"pages/{PAGE}")
        assert (answer.status, answer.headers["X-Broker-Code"]) == (429, "limit_connection")
        assert int(answer.headers["Retry-After"]) == 20


async def test_what_is_left_is_told_with_every_answer(proxy: ProxyStage) -> None:
    answer = await proxy.call("GET", "users/me")
    assert '"user";r=119;t=60' in answer.headers["RateLimit"]
    assert '"route";r=9;t=60' in answer.headers["RateLimit"]


async def test_resends_have_an_allowance_and_then_notions_own_answer_stands(
    tmp_path: Path,
) -> None:
    async with a_proxy(tmp_path, notion_rate=0.01, limit_scale=100) as proxy:  # ten resends
        proxy.upstream.always = says(503)
        answers = [await proxy.call("GET", f"pages/{PAGE}") for _ in range(6)]
        assert {a.status for a in answers} == {503}
        assert len(proxy.upstream.seen) == 6 + 10


class Witnessed(MemoryLimiter):
    """Keeps what each key of a user was decided."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: dict[str, list[Decision]] = {}

    async def decide(
        self, checks: Sequence[LimitCheck], breakers: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        decision = await super().decide(checks, breakers, now, max_wait_s)
        for ask in checks:
            self.decided.setdefault(ask.key, []).append(decision)
        return decision


async def test_one_workspaces_storm_of_429s_is_not_felt_by_another(tmp_path: Path) -> None:
    limiter = Witnessed()
    space = an_error(429, rate_limit_reason="public_api_space_request_rate_limit")

    # Nothing waits here, so time goes as it goes: a busy machine must not use up a deadline.
    async with a_proxy(tmp_path, limiter=limiter, limit_scale=100, speed=1.0) as proxy:
        proxy.tokens.workspaces = {"bob": BLOCK}

        async def stormy(request: web.Request) -> web.StreamResponse:
            if request.path.endswith(PAGE):  # which is Ada's alone
                return await says(429, space, Retry_After="600")(request)
            return await proxy.upstream.apply(request)

        proxy.upstream.always = stormy
        answers = await asyncio.gather(
            *(proxy.call("GET", f"pages/{PAGE}") for _ in range(60)),
            *(proxy.call("GET", f"blocks/{BLOCK}", user="bob") for _ in range(60)),
        )
    adas, bobs = answers[:60], answers[60:]
    assert ({a.status for a in adas}, {a.status for a in bobs}) == ({429}, {200})
    assert proxy.upstream.seen.count(("GET", f"/v1/blocks/{BLOCK}")) == 60
    decided = limiter.decided["v1:{c:conn-bob}:bucket"]
    assert [(d.allowed, d.wait_s) for d in decided] == [(True, 0.0)] * 60


async def test_a_429_is_never_counted_as_a_failure_of_notion(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, limit_scale=100) as proxy:
        proxy.upstream.always = says(429, Retry_After="0")
        for number in range(60):  # of many connections, each fewer than five in a row
            answer = await proxy.call("GET", f"pages/{PAGE}", user=f"user-{number}")
            assert "X-Broker-Code" not in answer.headers
        proxy.upstream.always = None
        assert (await proxy.call("GET", f"pages/{PAGE}")).status == 200


async def test_after_five_429s_one_of_all_brokers_tries_alone(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    redis_server.say("FLUSHALL")
    upstream, clock = Upstream(), QuickClock()
    async with AsyncExitStack() as stack:
        proxies = []
        for number in range(3):
            redis, seen = Redis(Secret(redis_server.url), budget_s=5.0), UsageSnapshot()
            stack.push_async_callback(redis.close)
            inner = RedisLimiter(redis, SystemRandomness(), seen, own_clock=False)
            shared = SharedLimiter(
                inner, seen, brokers=lambda: 3, rng=Random(number), on_lost=lambda: None
            )
            more: Any = {"upstream": upstream, "clock": clock, "limiter": shared}
            proxies.append(
                await stack.enter_async_context(a_proxy(tmp_path, limit_scale=100, **more))
            )

        async def ask(number: int) -> int:
            return (await proxies[number % 3].call("GET", f"pages/{PAGE}")).status

        upstream.always = says(429, Retry_After="1")
        while len(upstream.seen) < 5:
            await ask(len(upstream.seen))
        struck = len(upstream.seen)
        assert await ask(0) == 429
        assert len(upstream.seen) == struck  # closed for a minute
        held = Held(upstream)
        upstream.always = None
        clock.shift += 61
        first = asyncio.ensure_future(ask(1))
        await held.arrived.wait()
        assert [await ask(number) for number in range(6)] == [429] * 6  # while it is out
        assert len(upstream.seen) == struck + 1
        held.gate.set()
        assert await first == 200
        assert [await ask(number) for number in range(6)] == [200] * 6


async def test_a_failing_connection_is_closed_for_itself_only(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, speed=5, limit_scale=10) as proxy:
        proxy.upstream.always = says(504)
        answers = [await proxy.append() for _ in range(20)]
        assert {a.status for a in answers} == {504}
        refused = await proxy.append()
        assert (refused.status, refused.headers["X-Broker-Code"]) == (429, "limit_connection")
        proxy.upstream.always = None
        assert (await proxy.append(user="bob")).status == 200
