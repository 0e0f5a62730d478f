"""Audit rows: what is relayed is gathered and written together every 200 ms, off the call's path.

What changes an account, a session or a connection is written in the same transaction. Accounts
that are gone are not named: a call that was under way at another broker when its account was
erased may end a minute later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from cloud_broker.clock import Clock
from cloud_broker.errors import DatabaseFailed
from cloud_broker.monitoring.metrics import Counter
from cloud_broker.randomness import Randomness
from cloud_broker.storage import audit as rows
from cloud_broker.storage.audit import AuditEvent, Fact
from cloud_broker.storage.database import Database, Row, Tx, to_ms

log = logging.getLogger(__name__)

RELAYED = "proxy:"  # begins the purposes of calls that are relayed
FLUSH_S = 0.2
GROUP = 500
MAX_LENGTH = 200  # of a fact
MAX_WAITING = 50_000  # some minutes of a broker at full load without its database
OPENED = "token_opened"

Living = Callable[[Tx, Sequence[str]], Awaitable[set[str]]]


class Audit:
    """Takes events at once, and writes them in groups; ``run`` is the writer's loop."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        randomness: Randomness,
        *,
        living: Living,
        opened: Counter,
    ) -> None:
        """Write to ``database``; ``living`` says which of some accounts are there.

        ``opened`` counts opened tokens by what they were opened for.
        """
        self._database = database
        self._clock = clock
        self._randomness = randomness
        self._living = living
        self._opened = opened
        self._waiting: deque[AuditEvent] = deque()
        self._some = asyncio.Event()
        self._turn = asyncio.Lock()
        self._is_failing = False
        self.lost = 0

    def record(
        self,
        event: str,
        user_id: str,
        *,
        facts: Mapping[str, Fact],
        subject: Mapping[str, Fact],
    ) -> bool:
        """Note that something happened now. Never blocks; False: no room, counted in ``lost``."""
        if len(self._waiting) >= MAX_WAITING:
            if self.lost % MAX_WAITING == 0:
                log.error("audit rows are being lost: %s wait to be written", MAX_WAITING)
            self.lost += 1
            return False
        self._waiting.append(self._event(event, user_id, facts, subject))
        self._some.set()
        return True

    async def write(
        self,
        tx: Tx,
        event: str,
        user_id: str,
        *,
        facts: Mapping[str, Fact],
        subject: Mapping[str, Fact],
    ) -> None:
        """Write an event in the transaction of what it tells: both are kept, or neither."""
        await self._append(tx, [self._event(event, user_id, facts, subject)])

    async def write_openings(self, tx: Tx, openings: Sequence[Opening]) -> None:
        """Write that tokens were opened, in the transaction of what that was for."""
        told = [self._event(OPENED, o.user_id, o.facts, o.subject) for o in openings]
        if told:
            await self._append(tx, told)

    async def opened(self, *, connection: Row, purpose: str) -> None:
        """Note that a token is opened: the hook that ``Tokens`` calls.

        A relayed call's row follows within FLUSH_S, unless rows could not be written last time:
        then they are first. For any other purpose the row is written first. Raises DatabaseFailed
        when it cannot be: then the token stays closed. Not for use inside a transaction.
        """
        if self._is_failing:
            await self.flush()
        told = opening(connection, purpose)
        if not self.record(OPENED, told.user_id, facts=told.facts, subject=told.subject):
            raise DatabaseFailed("The audit log cannot be written.")
        if not purpose.startswith(RELAYED):
            await self.flush()

    async def erase(self, tx: Tx, user_id: str) -> None:
        """Take a user out of every row, in the transaction that has removed the account."""
        await tx.lock(rows.LOCK)  # see _append
        await rows.erase(tx, user_id)

    def _event(
        self, event: str, user_id: str, facts: Mapping[str, Fact], subject: Mapping[str, Fact]
    ) -> AuditEvent:
        at = to_ms(self._clock.now())
        salt = self._randomness.new_secret()
        if event == OPENED:
            self._opened.add(str(facts["purpose"]).partition(":")[0])
        return AuditEvent(at, event, user_id, _fit(facts), _fit(subject), salt)

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
                        await self._append(tx, group)
                except BaseException:
                    self._is_failing = True
                    self._some.set()
                    raise
                self._is_failing = False
                for _ in group:
                    self._waiting.popleft()

    async def close(self) -> None:
        """Write what still waits, once; log when the database does not take it."""
        try:
            await self.flush()
        except DatabaseFailed as error:
            log.error("The last audit rows were not written.", exc_info=error)

    async def _append(self, tx: Tx, events: Sequence[AuditEvent]) -> None:
        """Append, naming nobody who is gone.

        An erasure removes the account, then takes the same lock: it either sees these rows, or is
        seen here. Every transaction takes this lock last, so no two wait for each other.
        """
        await tx.lock(rows.LOCK)
        named = sorted({event.user_id for event in events if event.user_id})
        living = await self._living(tx, named) if named else set()
        await rows.append(tx, [_nameless(e) if e.user_id not in living else e for e in events])


@dataclass(frozen=True, slots=True)
class Opening:
    """A token was opened: whose, what for, and of what."""

    user_id: str
    facts: Mapping[str, Fact]
    subject: Mapping[str, Fact]


def opening(connection: Row, purpose: str) -> Opening:
    """The opening of a connection's token."""
    subject = {"connection": connection["id"], "workspace": connection["workspace_id"]}
    return Opening(connection["user_id"], {"purpose": purpose}, subject)


def _nameless(event: AuditEvent) -> AuditEvent:
    return replace(event, user_id="", subject={}) if event.user_id else event


def _fit(values: Mapping[str, Fact]) -> dict[str, Fact]:
    """Keep names, numbers and ids; what looks like none of them is somebody's text."""
    return {
        name: value
        if type(value) is not str
        or (len(value) <= MAX_LENGTH and value.isascii() and value.isprintable())
        else "(unfit)"
        for name, value in values.items()
    }
