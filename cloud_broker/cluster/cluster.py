"""Builds the parts that brokers share besides the database: limits and wake-ups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from cloud_broker.clock import Clock
from cloud_broker.cluster.instances import Instances
from cloud_broker.errors import ConfigurationInvalid
from cloud_broker.limits.limiter import Limiter
from cloud_broker.limits.memory import MemoryLimiter
from cloud_broker.push.notifier import LocalNotifier, Notifier
from cloud_broker.randomness import Randomness
from cloud_broker.secret import Secret
from cloud_broker.storage.database import Database


@dataclass(frozen=True, slots=True)
class Cluster:
    """The shared parts. The owner repeats ``steps`` for ever and calls ``close`` at the end.

    ``is_shared`` returns whether limits hold for all brokers together now; ``brokers`` how many
    are alive; ``redis_trouble`` why Redis does not decide, or "". ``open`` asks Redis first.
    """

    limiter: Limiter
    notifier: Notifier
    is_shared: Callable[[], bool]
    brokers: Callable[[], int]
    steps: tuple[Callable[[], Awaitable[float]], ...]
    close: Callable[[], Awaitable[None]]
    open: Callable[[], Awaitable[None]]
    redis_trouble: Callable[[], str] | None = None  # None: without Redis


def single_process() -> Cluster:
    """Keep limits and wake-ups within this process."""

    async def nothing() -> None:
        pass

    return Cluster(MemoryLimiter(), LocalNotifier(), lambda: True, lambda: 1, (), nothing, nothing)


def over_redis(
    url: Secret,
    database: Database,
    *,
    budget_s: float,
    clock: Clock,
    randomness: Randomness,
    rng: Random,
    on_failure: Callable[[str], None],
) -> Cluster:
    """Share limits and wake-ups over Redis; a lost Redis is no error.

    Each call to Redis may take ``budget_s``. Raises ConfigurationInvalid when the driver is not
    installed.
    """
    try:
        from cloud_broker.cluster.redis import Redis
    except ImportError as error:
        fault = "BROKER_REDIS_URL needs the Redis driver. Run: pip install 'clipperd[broker-scale]'"
        raise ConfigurationInvalid([fault]) from error
    from cloud_broker.cluster.redis_limiter import RedisLimiter
    from cloud_broker.cluster.redis_notifier import RedisNotifier
    from cloud_broker.cluster.shared_limiter import RETRY_S, SharedLimiter
    from cloud_broker.cluster.usage_snapshot import UsageSnapshot

    redis, usage = Redis(url, budget_s=budget_s), UsageSnapshot()
    instances = Instances(database, clock, randomness)
    limiter = SharedLimiter(
        RedisLimiter(redis, randomness, usage),
        usage,
        brokers=lambda: instances.alive,
        rng=rng,
        on_lost=instances.count_soon,
        name=redis.name,
        on_failure=on_failure,
    )
    notifier = RedisNotifier(redis)

    async def open_limits() -> None:
        await limiter.open(clock.monotonic())

    async def try_reconnect() -> float:
        await limiter.try_reconnect(clock.monotonic())
        return RETRY_S / 4

    async def close() -> None:
        await notifier.close()
        await instances.leave()
        await redis.close()

    return Cluster(
        limiter,
        notifier,
        lambda: limiter.is_shared,
        lambda: instances.alive,
        (instances.run_once, notifier.listen, try_reconnect),
        close,
        open_limits,
        lambda: limiter.why,
    )
