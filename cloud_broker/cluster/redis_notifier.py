"""Wakes all brokers over Redis when the push log has grown."""

from __future__ import annotations

import asyncio
import logging

from cloud_broker.cluster.redis import REMEDIES, Redis, RedisLost
from cloud_broker.push.notifier import LocalNotifier

log = logging.getLogger(__name__)

CHANNEL = "v1:push"
RESUBSCRIBE_S = 1.0  # after the connection broke


class RedisNotifier:
    """See the protocol ``Notifier``. Messages may get lost; polling the log makes up for it."""

    def __init__(self, redis: Redis) -> None:
        """Repeat ``listen`` to receive the messages of other brokers."""
        self._redis = redis
        self._local = LocalNotifier()
        self._publishing: set[asyncio.Task[None]] = set()
        self._told: dict[str, str] = {}  # the last trouble in the log, by what it hinders

    def notify(self) -> None:
        """Wake this broker, and publish to the others in the background."""
        self._local.notify()
        task = asyncio.ensure_future(self._publish())
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def wait(self) -> None:
        """Wait for a message of this broker or another."""
        await self._local.wait()

    async def listen(self) -> float:
        """Receive until the connection breaks; return the seconds until the next try."""
        try:
            async for _ in self._redis.listen(CHANNEL):
                self._told.pop("listening", None)
                self._local.notify()
        except RedisLost as error:
            self._tell("listening", error)
        return RESUBSCRIBE_S

    async def close(self) -> None:
        """Wait for the messages that are being published."""
        await asyncio.gather(*self._publishing)

    async def _publish(self) -> None:
        try:
            await self._redis.execute(("PUBLISH", CHANNEL, "log"))
            self._told.pop("publishing", None)
        except RedisLost as error:
            self._tell("publishing", error)

    def _tell(self, hindered: str, error: RedisLost) -> None:
        """Log a change of the cause once. The limiter's probe logs a cause that ends its work."""
        was, self._told[hindered] = self._told.get(hindered), error.why
        if was == error.why or error.why not in ("forbidden", "failed"):
            return
        log.warning(
            "Redis (%s) %s. Until then brokers do not wake each other (%s) and poll the database.",
            self._redis.name,
            REMEDIES[error.why],
            hindered,
        )
