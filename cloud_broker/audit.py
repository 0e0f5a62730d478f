"""Audit rows off the request's path: gathered, and written together every 200 ms."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping

from cloud_broker.clock import Clock
from cloud_broker.randomness import Randomness
from cloud_broker.storage import audit as rows
from cloud_broker.storage.audit import Event, Fact
from cloud_broker.storage.database import Database, Row, to_ms

log = logging.getLogger(__name__)

FLUSH_S = 0.2
GROUP = 500
MAX_LENGTH = 200  # of a fact
MAX_WAITING = 50_000  # some minutes of a broker at full load without its database


class Audit:
    """Takes events at once, and writes them in groups; ``run`` is the writer's loop."""

    def __init__(self, database: Database, clock: Clock, randomness: Randomness) -> None:
        """Write to ``database``."""
        self._database = database
        self._clock = clock
        self._randomness = randomness
        self._waiting: deque[Event] = deque()
        self._some = asyncio.Event()
        self._turn = asyncio.Lock()
        self.lost = 0

    def record(
        self,
        event: str,
        user_id: str,
        *,
        facts: Mapping[str, Fact],
        subject: Mapping[str, Fact],
    ) -> None:
        """Note that something happened now. Never blocks; counts in ``lost`` what has no room."""
        if len(self._waiting) >= MAX_WAITING:
            self.lost += 1
            return
        at = to_ms(self._clock.now())
        salt = self._randomness.new_secret()
        self._waiting.append(Event(at, event, user_id, _fit(facts), _fit(subject), salt))
        self._some.set()

    async def opened(self, *, connection: Row, purpose: str) -> None:
        """Note that a token was opened: the witness that ``Tokens`` asks for."""
        self.record(
            "token_opened",
            connection["user_id"],
            facts={"purpose": purpose},
            subject={"connection": connection["id"], "workspace": connection["workspace_id"]},
        )

    async def run(self) -> None:
        """Write what waits, every FLUSH_S while there is something, for ever."""
        while True:
            await self._some.wait()
            await self._clock.sleep(FLUSH_S)
            try:
                await self.flush()
            except Exception as error:  # a loop's boundary: the rows are kept for the next turn
                log.error("audit rows wait", exc_info=error)

    async def flush(self) -> None:
        """Write everything that waits. Raises DatabaseFailed; what was not written stays."""
        async with self._turn:
            while self._waiting:
                self._some.clear()
                group = [self._waiting[i] for i in range(min(GROUP, len(self._waiting)))]
                try:
                    async with self._database.transaction() as tx:
                        await rows.append(tx, group)
                except BaseException:
                    self._some.set()
                    raise
                for _ in group:
                    self._waiting.popleft()


def _fit(values: Mapping[str, Fact]) -> dict[str, Fact]:
    """Keep names, numbers and ids; what looks like none of them is somebody's text."""
    return {name: value if _is_plain(value) else "(unfit)" for name, value in values.items()}


def _is_plain(value: Fact) -> bool:
    if not isinstance(value, str):
        return True
    return len(value) <= MAX_LENGTH and value.isascii() and value.isprintable()
