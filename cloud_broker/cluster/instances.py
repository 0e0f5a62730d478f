"""How many brokers serve together: each says that it lives, and counts the others."""

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
GONE_S = 20.0  # a broker that was not seen for so long counts no more
FORGET_S = 3600.0


class Instances:
    """This broker among the others."""

    def __init__(self, database: Database, clock: Clock, randomness: Randomness) -> None:
        """Alone until the first ``run_once``."""
        self._database = database
        self._clock = clock
        self._id = randomness.new_id()
        self._alive = 1
        self._at_once = asyncio.Event()
        self._at_once.set()

    @property
    def alive(self) -> int:
        """How many live, this one included: the last known number when the database is away."""
        return self._alive

    def wake(self) -> None:
        """Count at once: the number is about to matter, and brokers may just have started."""
        self._at_once.set()

    async def run_once(self) -> float:
        """When it is time, say that this one lives and count all. Raises DatabaseFailed."""
        await within(self._clock, BEAT_S, self._at_once.wait())
        self._at_once.clear()
        await self.count()
        return 0.0

    async def count(self) -> None:
        """Say that this one lives and count all. Raises DatabaseFailed."""
        now = self._clock.now()
        async with self._database.transaction() as tx:
            await rows.beat(tx, self._id, now=to_ms(now))
            self._alive = max(1, await rows.alive(tx, since=to_ms(now - GONE_S)))
            await rows.sweep(tx, before=to_ms(now - FORGET_S))

    async def leave(self) -> None:
        """Stop being counted."""
        try:
            async with self._database.transaction() as tx:
                await rows.leave(tx, self._id)
        except DatabaseFailed as error:
            log.info("this broker is counted for a while yet: %s", error)
