"""Executes writes: at most one under a key, to its end even when the caller has gone.

The order is what makes it safe: look the key up, be admitted, commit the intent with a lease,
check the fence, send, keep the outcome, answer. A broker that dies after the commit leaves a
lease that ends; whoever asks for the key then hears that nobody knows, and until when it can have
been sent. A broker that was asleep finds at its fence that its lease has ended and sends nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace

from cloud_broker.clock import Clock, rfc3339
from cloud_broker.errors import DatabaseFailed
from cloud_broker.proxy.attempts import Attempts, Job
from cloud_broker.proxy.errors import (
    InProgress,
    KeyExpired,
    KeyReused,
    KeySpent,
    NotSent,
    OutcomeUnknown,
    ProxyError,
)
from cloud_broker.proxy.keys import forget_at, is_same, refuse_expired, spent_until
from cloud_broker.proxy.outcome import Outcome, Verdict
from cloud_broker.randomness import Randomness
from cloud_broker.storage.database import to_ms
from cloud_broker.storage.idempotency import SPENT, Idempotency, KeyId, Lease, Record

log = logging.getLogger(__name__)

ASK_AGAIN_S = 2.0
PURGE_EVERY_S = 600.0
_NOT_KEPT = "The broker cannot keep the write's outcome. Nothing was sent."


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long things may take, in seconds.

    ``answer_s``: a write's answer from Notion (the committed 503 comes after some 55 s,
    https://developers.notion.com/reference/request-limits). ``send_s``: from the fence to the
    first byte. ``lease_s``: how long a dead broker's row looks alive; renewed by a living one.
    """

    answer_s: float = 65.0
    send_s: float = 10.0
    lease_s: float = 20.0

    @classmethod
    def of(cls, answer_s: float) -> Timeouts:
        """Derive the lease from ``answer_s``, so that one setting shortens all."""
        lease_s = min(20.0, max(1.0, answer_s * 0.3))
        return cls(answer_s, lease_s / 2, lease_s)


class LeaseLost(ProxyError):
    """The fence did not hold: this attempt was not sent."""

    status = NotSent.status
    code = NotSent.code
    broker_code = NotSent.broker_code
    message = "The write was not sent in time. Nothing was sent."


@dataclass(frozen=True, slots=True)
class Replay:
    """A stored success."""

    status: int
    created: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keyed:
    """A write under a key. ``once``: the key is spent by a refusal, too."""

    who: KeyId
    fingerprint: str
    once: bool = False


class Writes:
    """Owns the writes under way: keeps them, awaits them, ends them at shutdown."""

    def __init__(
        self,
        rows: Idempotency,
        attempts: Attempts,
        *,
        spans: Timeouts,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        """Keep outcomes in ``rows`` and send by ``attempts``."""
        self._rows = rows
        self._attempts = attempts
        self._spans = spans
        self._clock = clock
        self._randomness = randomness
        self._under_way: set[asyncio.Task[Outcome]] = set()

    @property
    def under_way(self) -> int:
        """How many writes are being executed now."""
        return len(self._under_way)

    async def replay(self, keyed: Keyed) -> Replay | None:
        """Return the stored success of a key, None when it has never been seen.

        Raises InProgress, OutcomeUnknown, KeySpent, KeyReused, or KeyExpired; DatabaseFailed, for
        a key for a single use InProgress.
        """
        try:
            record = await self._rows.find(keyed.who)
            if record is not None:
                return await self._known(keyed, record)
        except DatabaseFailed as error:
            if keyed.once:  # nothing was sent, but the key cannot be spent either
                raise InProgress(retry_after_s=ASK_AGAIN_S) from error
            raise
        refuse_expired(keyed.who.key, self._now_ms())
        return None

    async def refuse(self, keyed: Keyed | None) -> None:
        """Nothing is sent, for a reason of before :meth:`run`. Raises InProgress."""
        if keyed is not None:
            await self._intent(keyed).release()

    async def run(
        self, job: Job, keyed: Keyed | None, finished: Callable[[Outcome | None], None]
    ) -> Outcome | Replay:
        """Execute ``job`` and answer by ``job.until``; the execution itself goes on after that.

        ``finished`` is called once with the outcome, at the true end. The outcome is DONE,
        REFUSED or AGAIN. Raises what ``replay`` raises, or a Refusal of which nothing was applied.
        """
        execution = self._execute(job, keyed)
        task = asyncio.create_task(execution, name=f"write {job.route.name}")
        self._under_way.add(task)
        task.add_done_callback(lambda done: self._end(done, finished))
        await self._wait(task, job.until)
        if task.done():
            try:
                return task.result()
            except _Known as known:
                if keyed is None:
                    raise
                return await self._known(keyed, known.record)
        if keyed is not None:
            raise InProgress(retry_after_s=ASK_AGAIN_S)
        raise self._unknown(None, answered=False, latest=self._latest(job))

    async def close(self, drain_s: float) -> None:
        """Give writes under way ``drain_s`` to end, then cancel them and wait for that."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=drain_s)
        left = set(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def purge_for_ever(self) -> None:
        """Delete outcomes past their time, every ten minutes."""
        while True:
            try:
                await self._rows.purge(self._now_ms())
            except DatabaseFailed as error:  # next time
                log.warning("old outcomes were not deleted", exc_info=error)
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
            log.error("a write failed", exc_info=error)

    async def _execute(self, job: Job, keyed: Keyed | None) -> Outcome:
        job.answer_s = self._spans.answer_s
        if keyed is None:
            outcome = await self._attempts.run(job)
            if outcome.verdict is Verdict.UNKNOWN:
                raise self._unknown(
                    outcome.status, answered=outcome.is_over, latest=self._latest(job)
                )
            return outcome
        intent = self._intent(keyed)
        job.fence = intent.fence
        heart = asyncio.create_task(intent.beat(), name="write lease")
        try:
            outcome = await self._attempts.run(job)
        except KeyExpired:
            raise  # it may have been executed long ago
        except ProxyError:
            await intent.release()
            raise
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
        return await self._settle(job, intent, outcome)

    def _intent(self, keyed: Keyed) -> _Intent:
        return _Intent(self._rows, keyed, self._spans, self._clock, self._randomness.new_id())

    async def _settle(self, job: Job, intent: _Intent, outcome: Outcome) -> Outcome:
        """Keep what became of it. A database that fails now leaves the lease to end: unknown."""
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

    async def _known(self, keyed: Keyed, record: Record) -> Replay:
        if not is_same(record.fingerprint, keyed.fingerprint):
            raise KeyReused
        now = self._now_ms()
        if record.state == "sending" and record.lease_until <= now:
            record = await self._rows.abandon(keyed.who, now) or record
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
        """Return the latest moment at which some of the request can have left."""
        now = self._clock.now()
        if not isinstance(job.body, (bytes, type(None))):
            return now  # a stream leaves piece by piece
        return now if job.sent_at is None else min(now, job.sent_at + self._spans.send_s)

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
    """Another one has written the key's row in the meantime."""

    def __init__(self, record: Record) -> None:
        super().__init__("the key is known")
        self.record = record


class _Intent:
    """The row of a write that this process executes, and its lease."""

    def __init__(
        self, rows: Idempotency, keyed: Keyed, spans: Timeouts, clock: Clock, owner: str
    ) -> None:
        self._rows = rows
        self._keyed = keyed
        self._spans = spans
        self._clock = clock
        self._lease = Lease(owner, 0, 0)
        self._is_claimed = False

    async def fence(self) -> Callable[[], None]:
        """Commit the right to send, anew before each attempt; return its last check."""
        now = self._clock.now()
        steady = self._clock.monotonic() + self._spans.send_s
        lease = replace(
            self._lease,
            send_by=to_ms(now + self._spans.send_s),
            until=to_ms(now + self._spans.lease_s),
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
        who = self._keyed.who
        refuse_expired(who.key, now)
        try:
            known = await self._rows.claim(
                who, self._keyed.fingerprint, lease, forget_at(who.key, now)
            )
        except DatabaseFailed as error:
            raise NotSent(
                "The broker cannot keep the write's outcome. Nothing was sent."
            ) from error
        if known is not None:
            raise _Known(known)
        self._is_claimed = True

    async def _renew(self, lease: Lease, now: int) -> None:
        try:
            is_ours = await self._rows.renew(self._keyed.who, lease, now)
        except DatabaseFailed as error:
            raise NotSent(_NOT_KEPT) from error
        if not is_ours:
            raise LeaseLost

    async def beat(self) -> None:
        """Renew the lease, not the fence, while the write is under way."""
        while True:
            await self._clock.sleep(self._spans.lease_s / 3)
            if not self._is_claimed:
                continue
            now = self._clock.now()
            lease = replace(self._lease, until=to_ms(now + self._spans.lease_s))
            try:
                if not await self._rows.renew(self._keyed.who, lease, to_ms(now)):
                    return
            except DatabaseFailed as error:
                log.warning("a lease was not renewed", exc_info=error)

    async def done(self, status: int, created: tuple[str, ...]) -> None:
        """Keep a success."""
        await self._keep(self._rows.done(self._keyed.who, self._lease.owner, status, created))

    async def unknown(self, status: int | None, *, answered: bool, latest: float) -> None:
        """Keep that nobody knows."""
        await self._keep(
            self._rows.unknown(
                self._keyed.who,
                self._lease.owner,
                status=status,
                answered=answered,
                latest_sent_at=to_ms(latest),
            )
        )

    async def release(self) -> None:
        """Nothing was applied: forget the key, or spend it when it was for a single use.

        A caller that hears a refusal makes a new key and sends again, while a copy of this
        request may still be on its way to another instance. Raises InProgress when the refusal
        cannot be kept: then that copy might be executed.
        """
        if self._keyed.once:
            await self._spend()
        elif self._is_claimed:
            await self._keep(self._rows.release(self._keyed.who, self._lease.owner))

    async def _spend(self) -> None:
        now = to_ms(self._clock.now())
        who = self._keyed.who
        lease = replace(self._lease, send_by=now, until=now)
        try:
            is_spent = await self._rows.spend(
                who, self._keyed.fingerprint, lease, spent_until(who.key, now)
            )
        except DatabaseFailed as error:
            log.error("a refusal was not kept", exc_info=error)
            is_spent = False
        if not is_spent:
            raise InProgress(retry_after_s=ASK_AGAIN_S)

    async def _keep(self, change: Coroutine[None, None, None]) -> None:
        """The caller hears the truth even if it could not be kept; the lease's end covers that."""
        try:
            await change
        except DatabaseFailed as error:
            log.error("a write's outcome was not kept", exc_info=error)
