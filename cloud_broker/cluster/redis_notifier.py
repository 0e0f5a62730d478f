"""The wake-up among all brokers, over Redis."""

from __future__ import annotations

import asyncio
import logging

from cloud_broker.cluster.redis import Redis, RedisLost
from cloud_broker.push.notifier import LocalNotifier

log = logging.getLogger(__name__)

CHANNEL = "v1:push"
HEAR_AGAIN_S = 1.0


class RedisNotifier:
    """Among all brokers, over Redis; those that get lost are made up for by looking."""

    def __init__(self, redis: Redis) -> None:
        """``listen`` must run for others to be heard."""
        self._redis = redis
        self._here = LocalNotifier()
        self._telling: set[asyncio.Task[None]] = set()

    def notify(self) -> None:
        """Say so here, and to the others without waiting."""
        self._here.notify()
        task = asyncio.ensure_future(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def wait(self) -> None:
        """Wait until anybody said so."""
        await self._here.wait()

    async def listen(self) -> float:
        """Hear the others until the line breaks; return the seconds until the next try."""
        try:
            async for _ in self._redis.listen(CHANNEL):
                self._here.notify()
        except RedisLost as error:
            log.info("other brokers are not heard: %s", error)
        return HEAR_AGAIN_S

    async def close(self) -> None:
        """Wait for what is being told."""
        await asyncio.gather(*self._telling)

    async def _tell(self) -> None:
        try:
            await self._redis.say(("PUBLISH", CHANNEL, "log"))
        except RedisLost as error:
            log.info("other brokers were not told: %s", error)
