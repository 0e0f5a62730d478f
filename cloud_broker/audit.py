"""Writes the audit log.

Rows about relayed calls are gathered and written every 200 ms, so that no call waits for them. Rows
about changes of an account, session or connection are written in the transaction of the change. A
row never names an erased account: a call of another broker may end a minute after the erasure.
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

RELAYED = "proxy:"  # prefix of the purposes of relayed calls
FLUSH_S = 0.2  # between two groups; a shorter time costs more transactions
GROUP = 500  # rows per transaction
MAX_LENGTH = 200  # characters of a fact
MAX_WAITING = 50_000  # rows; some minutes of a broker at full load without its database
OPENED = "token_opened"

LivingAccounts = Callable[[Tx, Sequence[str]], Awaitable[set[str]]]


class Audit:
    """Takes events without waiting and writes them in groups; ``run`` is the writer's loop."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        randomness: Randomness,
        *,
        living: LivingAccounts,
        opened: Counter,
    ) -> None:
        """``living`` returns which accounts exist; ``opened`` counts token openings."""
        self._database = database
        self._clock = clock
        self._randomness = randomness
        self._living = living
        self._opened = opened
        self._waiting: deque[AuditEvent] = deque()
        self._has_rows = asyncio.Event()
        self._lock = asyncio.Lock()
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
        """Queue an event. Returns False when the queue is full, and counts it in ``lost``."""
        if len(self._waiting) >= MAX_WAITING:
            if self.lost % MAX_WAITING == 0:
                log.error("Audit rows are lost: %s wait. Check the database.", MAX_WAITING)
            self.lost += 1
            return False
        self._waiting.append(self._event(event, user_id, facts, subject))
        self._has_rows.set()
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
        """Write an event in the transaction of its change: both are stored, or neither."""
        await self._append(tx, [self._event(event, user_id, facts, subject)])

    async def write_openings(self, tx: Tx, openings: Sequence[Opening]) -> None:
        """Write token openings in the transaction that needs the tokens."""
        events = [self._event(OPENED, o.user_id, o.facts, o.subject) for o in openings]
        if events:
            await self._append(tx, events)

    async def opened(self, *, connection: Row, purpose: str) -> None:
        """Record that a token is about to be opened; ``Tokens`` calls this.

        A relayed call's row is written within FLUSH_S, unless the last write failed: then the
        waiting rows are written first. For any other purpose the row is written before this
        returns. Raises DatabaseFailed when that fails; the token must stay closed then. Do not call
        it inside a transaction.
        """
        if self._is_failing:
            await self.flush()
        each = opening(connection, purpose)
        if not self.record(OPENED, each.user_id, facts=each.facts, subject=each.subject):
            raise DatabaseFailed("The audit log cannot be written. Try again later.")
        if not purpose.startswith(RELAYED):
            await self.flush()

    async def erase(self, tx: Tx, user_id: str) -> None:
        """Remove a user from every row, in the transaction that has removed the account."""
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
        """Write waiting rows every FLUSH_S, for ever."""
        while True:
            await self._has_rows.wait()
            await self._clock.sleep(FLUSH_S)
            try:
                await self.flush()
            except Exception as error:  # a loop's boundary: the rows stay for the next flush
                log.error("Audit rows were not written; they stay queued.", exc_info=error)

    async def flush(self) -> None:
        """Write all waiting rows. Raises DatabaseFailed; unwritten rows stay queued."""
        async with self._lock:
            while self._waiting:
                self._has_rows.clear()
                group = [self._waiting[i] for i in range(min(GROUP, len(self._waiting)))]
                try:
                    async with self._database.transaction() as tx:
                        await self._append(tx, group)
                except BaseException:
                    self._is_failing = True
                    self._has_rows.set()
                    raise
                self._is_failing = False
                for _ in group:
                    self._waiting.popleft()

    async def close(self) -> None:
        """Write the waiting rows once more; log when that fails."""
        try:
            await self.flush()
        except DatabaseFailed as error:
            log.error("The last audit rows were not written.", exc_info=error)

    async def _append(self, tx: Tx, events: Sequence[AuditEvent]) -> None:
        """Append rows without the names of erased accounts.

        An erasure removes the account, then takes the same lock: either it sees these rows, or
        this sees the erasure. Every transaction takes this lock last, so there is no deadlock.
        """
        await tx.lock(rows.LOCK)
        named = sorted({event.user_id for event in events if event.user_id})
        living = await self._living(tx, named) if named else set()
        await rows.append(tx, [_nameless(e) if e.user_id not in living else e for e in events])


@dataclass(frozen=True, slots=True)
class Opening:
    """The opening of a token: its user, its purpose, and its connection."""

    user_id: str
    facts: Mapping[str, Fact]
    subject: Mapping[str, Fact]


def opening(connection: Row, purpose: str) -> Opening:
    """Return the opening of a connection's token."""
    subject = {"connection": connection["id"], "workspace": connection["workspace_id"]}
    return Opening(connection["user_id"], {"purpose": purpose}, subject)


def _nameless(event: AuditEvent) -> AuditEvent:
    return replace(event, user_id="", subject={}) if event.user_id else event


def _fit(values: Mapping[str, Fact]) -> dict[str, Fact]:
    """Keep names, numbers and ids; replace other text, which may be a user's content."""
    return {
        name: value
        if type(value) is not str
        or (len(value) <= MAX_LENGTH and value.isascii() and value.isprintable())
        else "(unfit)"
        for name, value in values.items()
    }
