"""Counts the brokers that serve together by their heartbeats in the database."""

from __future__ import annotations

import asyncio
import logging

from cloud_broker.clock import Clock, within
from cloud_broker.errors import DatabaseFailed
from cloud_broker.randomness import Randomness
from cloud_broker.storage import instances as rows
from cloud_broker.storage.database import Database, to_ms

log = logging.getLogger(__name__)

BEAT_S = 5.0
GONE_S = 20.0  # without a heartbeat for this long a broker is not counted
FORGET_S = 3600.0  # then its row is deleted


class Instances:
    """Sends this broker's heartbeat and counts all brokers."""

    def __init__(self, database: Database, clock: Clock, randomness: Randomness) -> None:
        """Count one broker until the first ``run_once``."""
        self._database = database
        self._clock = clock
        self._id = randomness.new_id()
        self._alive = 1
        self._count_now = asyncio.Event()
        self._count_now.set()

    @property
    def alive(self) -> int:
        """How many brokers are alive, this one included, by the last count."""
        return self._alive

    def count_soon(self) -> None:
        """Count before the next heartbeat: Redis is failing, so the number is about to matter."""
        self._count_now.set()

    async def run_once(self) -> float:
        """Wait for the next heartbeat, send it and count all brokers. Raises DatabaseFailed."""
        await within(self._clock, BEAT_S, self._count_now.wait())
        self._count_now.clear()
        await self.count()
        return 0.0

    async def count(self) -> None:
        """Send a heartbeat and count all brokers. Raises DatabaseFailed."""
        now = self._clock.now()
        async with self._database.transaction() as tx:
            await rows.beat(tx, self._id, now=to_ms(now))
            self._alive = max(1, await rows.alive(tx, since=to_ms(now - GONE_S)))
            await rows.sweep(tx, before=to_ms(now - FORGET_S))

    async def leave(self) -> None:
        """Remove this broker from the count."""
        try:
            async with self._database.transaction() as tx:
                await rows.leave(tx, self._id)
        except DatabaseFailed as error:
            log.info("This broker stays counted for 20 s: its row was not deleted (%s).", error)
