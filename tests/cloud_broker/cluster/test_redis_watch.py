"""Redis wrong at the start or later is seen without a request, named once, and recovered from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from cloud_broker.cluster.shared_limiter import PING_S, RETRY_S
from cloud_broker.web.auth import SIGN_INS
from tests.cloud_broker.broker_stage import BrokerStage, a_broker
from tests.servers.ports import free_port
from tests.servers.redis import RedisServer, a_redis

PASSWORD = "p@ss/w:rd#1%"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with a_redis() as running:
        yield running


@asynccontextmanager
async def over(folder: Path, url: str, **changes: str) -> AsyncIterator[BrokerStage]:
    changes = {"BROKER_REDIS_BUDGET_MS": "500", **changes}
    async with a_broker(folder, BROKER_REDIS_URL=url, **changes) as stage:
        yield stage


async def state(stage: BrokerStage) -> tuple[str, str, str]:
    """Limits and Redis by /readyz, and the gauge of /metrics; a broker without Redis is ready."""
    ready = await stage.browser.get("/readyz")
    body, lines = await ready.json(), await (await stage.browser.get("/metrics")).text()
    gauge = next(line[-1] for line in lines.splitlines() if line.startswith("broker_redis_up "))
    assert ready.status == 200
    return body["limits"], body["redis"], gauge


async def comes_to(stage: BrokerStage, *wanted: str) -> None:
    """Let the broker's clock go on until it says so, at most ten seconds of it."""
    for _ in range(10):
        for _ in range(40):
            if await state(stage) == wanted:
                return
            await asyncio.to_thread(lambda: None)
        stage.clock.advance(RETRY_S + 0.3)
    async with asyncio.timeout(30):
        while await state(stage) != wanted:
            stage.clock.advance(RETRY_S + 0.3)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "Redis" in r.getMessage()]


def _dead(_: RedisServer) -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


def _wrong_password(server: RedisServer) -> str:
    server.say("CONFIG", "SET", "requirepass", PASSWORD)
    return server.url.replace("unix://", "unix://:canary-wrong@")


def _frozen(server: RedisServer) -> str:
    server.hang()
    return server.url


def _replica(server: RedisServer) -> str:
    server.say("REPLICAOF", "127.0.0.1", str(free_port()))
    return server.url


def _cluster(server: RedisServer) -> str:
    server.kill()
    server.start_cluster()
    return server.url


def _forbidden(server: RedisServer) -> str:
    server.say(
        "ACL", "SETUSER", "broker", "on", ">canary", "~*", "&*", "+@all", "-eval", "-evalsha"
    )
    return server.url.replace("unix://", "unix://broker:canary@")


@pytest.mark.parametrize(
    ("make", "why", "advice"),
    [
        (_dead, "unreachable", "BROKER_REDIS_URL"),
        (_wrong_password, "login", "user or the password"),
        (_frozen, "slow", "BROKER_REDIS_BUDGET_MS"),
        (_replica, "read_only", "primary"),
        (_cluster, "cluster", "not support"),
        (_forbidden, "forbidden", "+@all"),
    ],
)
async def test_a_wrong_redis_is_seen_at_the_start_and_named_once(
    tmp_path: Path,
    server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[RedisServer], str],
    why: str,
    advice: str,
) -> None:
    caplog.set_level(logging.INFO)
    async with over(tmp_path, make(server)) as stage:
        assert await state(stage) == ("divided", why, "0")
        for _ in range(5):
            stage.clock.advance(RETRY_S + 0.3)
            for _ in range(20):
                await stage.turn()
        assert (await stage.begin_sign_in()).status == 302
        (line,) = told(caplog)
        assert advice in line
        assert "canary" not in line
        lines = (await (await stage.browser.get("/metrics")).text()).splitlines()
        (count,) = [each for each in lines if f'redis_failures_total{{why="{why}"}}' in each]
        assert float(count.split()[-1]) >= 1


@pytest.mark.parametrize("failure", ["killed", "frozen", "read_only"])
async def test_a_redis_lost_later_is_seen_without_a_request_and_recovered_from(
    tmp_path: Path, server: RedisServer, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    lose, give_back, why = {
        "killed": (server.kill, server.start, "unreachable"),
        "frozen": (server.hang, server.go_on, "slow"),
        "read_only": (
            lambda: server.say("REPLICAOF", "127.0.0.1", "1"),
            lambda: server.say("REPLICAOF", "NO", "ONE"),
            "read_only",
        ),
    }[failure]
    async with over(tmp_path, server.url) as stage:
        assert await state(stage) == ("shared", "ok", "1")
        lose()
        stage.clock.advance(PING_S)
        await comes_to(stage, "divided", why, "0")
        give_back()
        await comes_to(stage, "shared", "ok", "1")
        assert len(told(caplog)) == 2


async def test_a_user_with_special_characters_in_the_password_shares_limits(
    tmp_path: Path, server: RedisServer
) -> None:
    server.say("ACL", "SETUSER", "b:r@oker", "on", f">{PASSWORD}", "~v1:*", "&v1:*", "+@all")
    user = f"{quote('b:r@oker', safe='')}:{quote(PASSWORD, safe='')}"
    async with over(tmp_path, server.url.replace("unix://", f"unix://{user}@")) as stage:
        assert await state(stage) == ("shared", "ok", "1")


async def test_closed_channels_are_named_once(
    tmp_path: Path, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.say("ACL", "SETUSER", "broker", "on", ">canary", "~v1:*", "resetchannels", "+@all")
    async with over(tmp_path, server.url.replace("unix://", "unix://broker:canary@")) as stage:
        await stage.until(lambda: bool(told(caplog)))
        for _ in range(5):
            stage.clock.advance(RETRY_S + 0.3)
            for _ in range(20):
                await stage.turn()
        assert await state(stage) == ("shared", "ok", "1")
        (line,) = told(caplog)
        assert "channel" in line


async def test_brokers_share_the_limits_of_an_address(tmp_path: Path, server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(over(tmp_path, server.url)) for _ in range(2)]
        for _ in range(SIGN_INS):
            assert (await one.begin_sign_in()).status == 302
        assert (await two.begin_sign_in()).status == 429
        elsewhere = {"X-Forwarded-For": "198.51.100.1"}
        other = await two.browser.get("/api/auth/notion", headers=elsewhere)
        assert other.status == 400  # another address is let through, and its request is read
