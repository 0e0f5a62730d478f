"""Executes writes: at most once per key, and to the end even when the client disconnects.

The order makes that safe: look the key up, pass admission, commit the intent with a lease, check
the fence, send, store the outcome, answer. If a broker crashes after the commit, its lease ends;
a client that repeats the key then learns that the outcome is unknown, and the latest time at which
the request was sent. A broker that was suspended finds its lease expired at the fence and sends
nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from cloud_broker.clock import Clock, rfc3339
from cloud_broker.errors import DatabaseFailed
from cloud_broker.proxy.attempts import Attempts, Job
from cloud_broker.proxy.call import Call
from cloud_broker.proxy.errors import (
    InProgress,
    KeyExpired,
    KeyReused,
    KeySpent,
    NotSent,
    OutboxBehind,
    OutcomeUnknown,
    ProxyError,
)
from cloud_broker.proxy.keys import forget_at, is_same, refuse_expired, spent_until
from cloud_broker.proxy.outcome import Outcome, Verdict
from cloud_broker.randomness import Randomness
from cloud_broker.storage.database import to_ms
from cloud_broker.storage.idempotency import SPENT, Idempotency, KeyId, Lease, Record
from cloud_broker.storage.outboxes import Behind

log = logging.getLogger(__name__)

ASK_AGAIN_S = 2.0  # seconds: Retry-After of a write under way
PURGE_EVERY_S = 600.0  # seconds
STORE_AGAIN_S = 1.0  # seconds between two tries to store an outcome
Change = Callable[[], Coroutine[None, None, object]]
_NOT_STORED = "The broker cannot store the write's outcome. Nothing was sent."


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time limits of a write, in seconds.

    ``answer_s``: for Notion's answer (its committed 503 comes after some 55 s,
    https://developers.notion.com/reference/request-limits). ``send_s``: from the fence to the
    first byte. ``lease_s``: how long the lease of a crashed broker blocks others.
    """

    answer_s: float = 65.0
    send_s: float = 10.0
    lease_s: float = 20.0

    @classmethod
    def of(cls, answer_s: float) -> Timeouts:
        """Derive the other limits from ``answer_s``, so that one setting shortens all."""
        lease_s = min(20.0, max(1.0, answer_s * 0.3))
        return cls(answer_s, lease_s / 2, lease_s)


class LeaseLost(ProxyError):
    """The lease or the time to send has ended: this attempt was not sent."""

    status = NotSent.status
    code = NotSent.code
    broker_code = NotSent.broker_code
    message = "The write was not sent in time. Nothing was sent."


@dataclass(frozen=True, slots=True)
class Replay:
    """A stored success."""

    status: int
    created: tuple[str, ...]


class Writes:
    """Owns the writes under way, until their end or the shutdown."""

    def __init__(
        self,
        rows: Idempotency,
        attempts: Attempts,
        *,
        timeouts: Timeouts,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        """Store outcomes in ``rows`` and send through ``attempts``."""
        self._rows = rows
        self._attempts = attempts
        self._timeouts = timeouts
        self._clock = clock
        self._randomness = randomness
        self._under_way: set[asyncio.Task[Outcome]] = set()
        self._storing: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """The number of writes under way."""
        return len(self._under_way)

    async def replay(self, call: Call) -> Replay | None:
        """Return the stored success of the call's key; None for a new key or a call without one.

        Raises InProgress, OutcomeUnknown, KeySpent, KeyReused or KeyExpired. When the database
        fails, raises InProgress for a single-use key, else DatabaseFailed.
        """
        key_id = call.key_id
        if key_id is None:
            return None
        async with _keeping_single_use(call):
            record = await self._rows.find(key_id)
            if record is not None:
                return await self._known(call, key_id, record)
        refuse_expired(key_id.key, self._now_ms())
        return None

    async def refuse(self, call: Call) -> None:
        """Release or spend the key of a call refused before :meth:`run`. Raises InProgress."""
        if call.key_id is not None:
            await self._intent(call, call.key_id).release()

    async def run(
        self, job: Job, call: Call, finished: Callable[[Outcome | None], None]
    ) -> Outcome | Replay:
        """Execute ``job`` and return by ``job.until``; the execution may continue after that.

        ``finished`` is called once, with the outcome at the end of the execution. The outcome is
        DONE, REFUSED or AGAIN. Raises the errors of ``replay``, or a ProxyError (nothing applied).
        """
        key_id = call.key_id
        execution = self._execute(job, call, key_id)
        task = asyncio.create_task(execution, name=f"write {job.route.name}")
        self._under_way.add(task)
        task.add_done_callback(lambda done: self._end(done, finished))
        await self._wait(task, job.until)
        if task.done():
            try:
                return task.result()
            except _Known as known:
                async with _keeping_single_use(call):
                    return await self._known(call, known.key_id, known.record)
        if key_id is not None:
            raise InProgress(retry_after_s=ASK_AGAIN_S)
        raise self._unknown(None, answered=False, latest=self._latest(job))

    async def close(self, drain_s: float) -> None:
        """Wait up to ``drain_s`` seconds for the writes under way, then cancel them."""
        if running := self._under_way | self._storing:
            await asyncio.wait(running, timeout=drain_s)
        left = self._under_way | self._storing
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def purge_for_ever(self) -> None:
        """Delete expired outcomes every ten minutes."""
        while True:
            try:
                await self._rows.purge(self._now_ms())
            except DatabaseFailed as error:  # the next round deletes them
                log.warning("Expired outcomes were not deleted.", exc_info=error)
            await self._clock.sleep(PURGE_EVERY_S)

    async def _wait(self, task: asyncio.Task[Outcome], until: float) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(until - self._clock.monotonic()))
        try:
            await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            await asyncio.gather(timer, return_exceptions=True)

    def _end(self, task: asyncio.Task[Outcome], finished: Callable[[Outcome | None], None]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        finished(None if task.cancelled() or error else task.result())
        if error is not None and not isinstance(error, (ProxyError, _Known)):
            log.error("A write failed.", exc_info=error)

    async def _execute(self, job: Job, call: Call, key_id: KeyId | None) -> Outcome:
        job.answer_s = self._timeouts.answer_s
        if key_id is None:
            outcome = await self._attempts.run(job)
            if outcome.verdict is Verdict.UNKNOWN:
                raise self._unknown(
                    outcome.status, answered=outcome.is_over, latest=self._latest(job)
                )
            return outcome
        intent = self._intent(call, key_id)
        job.fence = intent.fence
        heartbeat = asyncio.create_task(intent.renew_lease(), name="write lease")
        try:
            outcome = await self._attempts.run(job)
        except KeyExpired:
            raise  # the key may have been executed long ago
        except ProxyError:
            await intent.release()
            raise
        except Exception:
            if job.sent_at is None:  # nothing was sent
                await intent.release()
            raise
        finally:
            heartbeat.cancel()
            await asyncio.gather(heartbeat, return_exceptions=True)
        return await self._settle(job, intent, outcome)

    def _intent(self, call: Call, key_id: KeyId) -> _Intent:
        owner = self._randomness.new_id()
        clock = self._clock
        return _Intent(self._rows, call, key_id, self._timeouts, clock, owner, self._store_later)

    def _store_later(self, change: Change) -> None:
        """Repeat ``change`` until the database takes it or the lease has ended."""

        async def store() -> None:
            end = self._clock.monotonic() + self._timeouts.lease_s
            while self._clock.monotonic() < end:
                await self._clock.sleep(STORE_AGAIN_S)
                with suppress(DatabaseFailed):
                    await change()
                    return

        task = asyncio.create_task(store(), name="write outcome")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def _settle(self, job: Job, intent: _Intent, outcome: Outcome) -> Outcome:
        """Store the outcome. If the database fails, the lease ends and the outcome is unknown."""
        if outcome.verdict is Verdict.DONE:
            await intent.done(outcome.status or 200, outcome.created)
        elif outcome.verdict is Verdict.UNKNOWN:
            latest = self._latest(job)
            answered = outcome.is_over
            await intent.unknown(outcome.status, answered=answered, latest=latest)
            raise self._unknown(outcome.status, answered=answered, latest=latest)
        else:
            await intent.release()
        return outcome

    async def _known(self, call: Call, key_id: KeyId, record: Record) -> Replay:
        if not is_same(record.fingerprint, call.fingerprint):
            raise KeyReused
        now = self._now_ms()
        if record.state == "sending" and record.lease_until <= now:
            record = await self._rows.abandon(key_id, now) or record
        match record.state:
            case "done":
                if record.status == SPENT:
                    raise KeySpent
                return Replay(record.status or 200, record.created)
            case "unknown":
                latest = (record.latest_sent_at or record.send_by) / 1000
                raise self._unknown(record.status, answered=record.answered, latest=latest)
            case "sending":
                raise InProgress(retry_after_s=ASK_AGAIN_S)

    def _latest(self, job: Job) -> float:
        """Return the latest time at which a part of the request can have been sent."""
        now = self._clock.now()
        if not isinstance(job.body, (bytes, type(None))):
            return now  # a stream is sent piece by piece
        return now if job.sent_at is None else min(now, job.sent_at + self._timeouts.send_s)

    def _unknown(self, status: int | None, *, answered: bool, latest: float) -> OutcomeUnknown:
        data: dict[str, str | list[str]] = {
            "answered": "true" if answered else "false",
            "latest_sent_at": rfc3339(latest),
        }
        if status is not None:
            data["upstream_status"] = str(status)
        return OutcomeUnknown(data=data)

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())


class _Known(Exception):
    """Another request has written the key's row in the meantime."""

    def __init__(self, key_id: KeyId, record: Record) -> None:
        super().__init__("the key is known")
        self.key_id = key_id
        self.record = record


class _Intent:
    """The stored intent of a write that this process executes, with its lease."""

    def __init__(
        self,
        rows: Idempotency,
        call: Call,
        key_id: KeyId,
        timeouts: Timeouts,
        clock: Clock,
        owner: str,
        store_later: Callable[[Change], None],
    ) -> None:
        self._rows = rows
        self._store_later = store_later
        self._call = call
        self._key_id = key_id
        self._timeouts = timeouts
        self._clock = clock
        self._lease = Lease(owner, 0, 0)
        self._is_claimed = False

    async def fence(self) -> Callable[[], None]:
        """Commit the right to send, before each attempt; return the last check before sending."""
        now = self._clock.now()
        steady = self._clock.monotonic() + self._timeouts.send_s
        lease = replace(
            self._lease,
            send_by=to_ms(now + self._timeouts.send_s),
            until=to_ms(now + self._timeouts.lease_s),
        )
        if self._is_claimed:
            await self._renew(lease, to_ms(now))
        else:
            await self._claim(lease, to_ms(now))
        self._lease = lease

        def check() -> None:
            if self._clock.monotonic() >= steady or to_ms(self._clock.now()) >= lease.send_by:
                raise LeaseLost

        return check

    async def _claim(self, lease: Lease, now: int) -> None:
        key_id = self._key_id
        refuse_expired(key_id.key, now)
        expires_at = forget_at(key_id.key, now)
        try:
            known = await self._rows.claim(
                key_id, self._call.fingerprint, lease, expires_at, self._call.outbox
            )
        except DatabaseFailed as error:
            self._is_claimed = True  # the commit may have arrived: release it
            raise _not_stored(error) from error
        except Behind as line:
            data = {
                "run": line.run,
                "counter": str(line.counter),
                "newest_clip": str(line.newest_clip),
            }
            raise OutboxBehind(data=data) from None
        if known is not None:
            raise _Known(key_id, known)
        self._is_claimed = True

    async def _renew(self, lease: Lease, now: int) -> None:
        try:
            is_ours = await self._rows.renew(self._key_id, lease, now)
        except DatabaseFailed as error:
            raise _not_stored(error) from error
        if not is_ours:
            raise LeaseLost

    async def renew_lease(self) -> None:
        """Renew the lease, but not the time to send, while the write is under way."""
        while True:
            await self._clock.sleep(self._timeouts.lease_s / 3)
            if not self._is_claimed:
                continue
            now = self._clock.now()
            lease = replace(self._lease, until=to_ms(now + self._timeouts.lease_s))
            try:
                if not await self._rows.renew(self._key_id, lease, to_ms(now)):
                    return
            except DatabaseFailed as error:
                log.warning("The lease of a write was not renewed.", exc_info=error)

    async def done(self, status: int, created: tuple[str, ...]) -> None:
        """Store a success."""
        owner = self._lease.owner
        await self._store(lambda: self._rows.done(self._key_id, owner, status, created))

    async def unknown(self, status: int | None, *, answered: bool, latest: float) -> None:
        """Store that the outcome is unknown."""
        await self._store(
            lambda: self._rows.unknown(
                self._key_id,
                self._lease.owner,
                status=status,
                answered=answered,
                latest_sent_at=to_ms(latest),
            )
        )

    async def release(self) -> None:
        """Delete the intent after a refusal, or spend a single-use key.

        After a refusal the client sends again under a new key, while a copy of this request may
        still be on its way to another instance. Raises InProgress when the refusal cannot be
        stored: that instance might then execute the copy.
        """
        if self._call.is_single_use:
            await self._spend()
        elif self._is_claimed:
            await self._store(lambda: self._rows.release(self._key_id, self._lease.owner))

    async def _spend(self) -> None:
        now = to_ms(self._clock.now())
        key_id = self._key_id
        lease = replace(self._lease, send_by=now, until=now)
        spent = spent_until(key_id.key, now)

        def spend() -> Coroutine[None, None, bool]:
            return self._rows.spend(key_id, self._call.fingerprint, lease, spent)

        try:
            is_spent = await spend()
        except DatabaseFailed as error:
            log.error("A single-use key was not spent.", exc_info=error)
            is_spent = False
            if self._is_claimed:  # else a copy of the request may be executed yet
                self._store_later(spend)
        if not is_spent:
            raise InProgress(retry_after_s=ASK_AGAIN_S)

    async def _store(self, change: Change) -> None:
        """Store the outcome, in the background if the database fails: the client gets it anyway."""
        try:
            await change()
        except DatabaseFailed as error:
            log.error("The outcome of a write was not stored yet.", exc_info=error)
            self._store_later(change)


@asynccontextmanager
async def _keeping_single_use(call: Call) -> AsyncIterator[None]:
    """Turn DatabaseFailed into InProgress for a single-use key, which cannot be spent either."""
    try:
        yield
    except DatabaseFailed as error:
        if call.is_single_use:
            raise InProgress(retry_after_s=ASK_AGAIN_S) from error
        raise


def _not_stored(error: DatabaseFailed) -> NotSent:
    log.warning("A write was not sent: its intent was not stored.", exc_info=error)
    return NotSent(_NOT_STORED, broker_code=error.code, retry_after_s=ASK_AGAIN_S)
