"""What brokers share besides the database: limits, and the word that there is news."""

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
    """The parts; ``steps`` are run for ever by the owner, who calls ``close`` at the end.

    ``is_shared`` says whether limits hold for all brokers together just now.
    """

    limiter: Limiter
    notifier: Notifier
    is_shared: Callable[[], bool]
    brokers: Callable[[], int]
    steps: tuple[Callable[[], Awaitable[float]], ...]
    close: Callable[[], Awaitable[None]]


def single_process() -> Cluster:
    """Everything within this process."""

    async def close() -> None:
        """Nothing is open."""

    return Cluster(MemoryLimiter(), LocalNotifier(), lambda: True, lambda: 1, (), close)


def over_redis(
    url: Secret,
    database: Database,
    *,
    budget_s: float,
    clock: Clock,
    randomness: Randomness,
    rng: Random,
) -> Cluster:
    """Shared over Redis. Connects to nothing yet, and is not disturbed when that fails.

    Each call has ``budget_s``. Raises ConfigurationInvalid where the driver is not installed.
    """
    try:
        from cloud_broker.cluster.redis import Redis
    except ImportError as error:
        fault = "BROKER_REDIS_URL needs a driver; run: pip install 'clipperd[broker-scale]'"
        raise ConfigurationInvalid([fault]) from error
    from cloud_broker.cluster.redis_limiter import RedisLimiter
    from cloud_broker.cluster.redis_notifier import RedisNotifier
    from cloud_broker.cluster.shared_limiter import LOOK_S, SharedLimiter
    from cloud_broker.cluster.usage_snapshot import UsageSnapshot

    redis, seen = Redis(url, budget_s=budget_s), UsageSnapshot()
    instances = Instances(database, clock, randomness)
    limiter = SharedLimiter(
        RedisLimiter(redis, randomness, seen),
        seen,
        brokers=lambda: instances.alive,
        rng=rng,
        missed=instances.wake,
    )
    notifier = RedisNotifier(redis)

    async def look() -> float:
        await limiter.look(clock.monotonic())
        return LOOK_S / 4

    async def close() -> None:
        await notifier.close()
        await instances.leave()
        await redis.close()

    return Cluster(
        limiter,
        notifier,
        lambda: limiter.is_shared,
        lambda: instances.alive,
        (instances.run_once, notifier.listen, look),
        close,
    )
