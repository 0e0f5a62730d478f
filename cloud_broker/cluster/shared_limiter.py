"""Decides limits in Redis, and by this broker's share while Redis is lost.

Losing Redis neither opens nor closes the limits (docs/decisions/0014-redis-lost.md): without it
each of N brokers admits an N-th. After three failed calls in a row the limiter stops calling Redis
for requests; ``try_reconnect`` tries every second in the background, then restores Redis's
memory. While no request shows that Redis decides, it probes every few seconds. Pauses that Notion
asked this broker for are kept here too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from msgspec.structs import replace

from cloud_broker.cluster.redis import LASTING, REMEDIES, RedisLost
from cloud_broker.cluster.redis_limiter import RedisLimiter
from cloud_broker.cluster.usage_snapshot import UsageSnapshot
from cloud_broker.limits.gcra import MICRO, Bucket, Window, to_us
from cloud_broker.limits.limiter import Decision, LimitCheck, Quota, Watch
from cloud_broker.limits.memory import MemoryLimiter

log = logging.getLogger(__name__)

FAILURES = 3  # in a row; fewer would give up on a single slow call
RETRY_S = 1.0
PING_S = 3.0  # without a request that shows that Redis decides
JITTER_S = 0.2  # so that brokers do not all reconnect in the same moment
SETTLE_S = 2.0  # within it every other broker has reconnected too and reported its starts


class SharedLimiter:
    """See the protocol ``Limiter``."""

    def __init__(
        self,
        shared: RedisLimiter,
        usage: UsageSnapshot,
        *,
        brokers: Callable[[], int],
        rng: Random,
        on_lost: Callable[[], None],
        name: str = "Redis",
        on_failure: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``usage`` is the snapshot that ``shared`` writes to.

        ``brokers`` returns how many are alive, this one included; ``on_lost`` is called for each
        call that Redis did not answer, so that the owner can bring that number up to date;
        ``on_failure`` counts it by its cause. ``name`` is Redis's address for the log.
        """
        self._shared = shared
        self._local = MemoryLimiter()
        self._usage = usage
        self._brokers = brokers
        self._rng = rng
        self._on_lost = on_lost
        self._name = name
        self._on_failure = on_failure
        self._failures = 0
        self._retry_at = 0.0
        self._ping_at = 0.0
        self._settled_at = 0.0
        self.lost = 0
        self.why = ""  # Redis does not decide; a key of REMEDIES

    @property
    def is_shared(self) -> bool:
        """Whether Redis decides."""
        return self._failures < FAILURES

    async def decide(
        self, checks: Sequence[LimitCheck], breakers: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Decide together with all brokers, or by this broker's share while Redis is lost."""
        if not self.is_shared:
            return await self._decide_alone(checks, breakers, now, max_wait_s)
        paused = self._local.pause(breakers, now)
        if paused is not None:  # Notion asked this broker, perhaps while Redis was lost
            return paused
        if now < self._settled_at:
            windows = [check for check in checks if isinstance(check.rule, Window)]
            mine = await self._decide_by_share(windows, (), now, 0.0)
            if not mine.allowed:
                return replace(mine, wait_s=min(mine.wait_s, self._settled_at - now))
        try:
            decision = await self._shared.decide(checks, breakers, now, max_wait_s)
        except RedisLost as error:
            self._failed(error)
            return await self._decide_alone(checks, breakers, now, max_wait_s)
        self._failures, self._ping_at = 0, now + PING_S
        return decision

    async def open(self, now: float) -> None:
        """Ask Redis before the first request: a wrong address or password shows at the start."""
        try:
            await self._shared.restore(now)
        except RedisLost as error:
            self._failures = FAILURES - 1
            self._failed(error)

    async def try_reconnect(self, now: float) -> None:
        """Probe Redis, and restore it when it lost its memory. Call this all the time."""
        if now < self._retry_at:
            return
        self._retry_at = now + RETRY_S + self._rng.uniform(0, JITTER_S)
        is_needed = self._failures or self._shared.needs_restore or now >= self._ping_at
        if not is_needed:
            return
        try:
            await self._shared.restore(now)
        except RedisLost as error:
            self._failed(error)
            return
        if not self.is_shared:
            log.warning(
                "Redis (%s) decides again: all brokers share their limits.",
                self._name,
            )
            self._settled_at = now + SETTLE_S
        self._failures, self._ping_at, self.why = 0, now + PING_S, ""

    async def on_throttled(
        self, breaker: str, now: float, *, entered: float, pause_s: float, counts: bool
    ) -> None:
        """Open ``breaker`` at every broker, and at this one even without Redis."""
        await self._local.on_throttled(breaker, now, entered=entered, pause_s=pause_s, counts=False)
        await self._report(
            lambda: self._shared.on_throttled(
                breaker, now, entered=entered, pause_s=pause_s, counts=counts
            )
        )

    async def on_finished(
        self, watches: Sequence[Watch], now: float, *, entered: float, failed: bool
    ) -> None:
        """Report an answer or a failure."""
        is_reported = await self._report(
            lambda: self._shared.on_finished(watches, now, entered=entered, failed=failed)
        )
        if not is_reported:
            await self._local.on_finished(watches, now, entered=entered, failed=failed)

    async def release_probes(self, breakers: Sequence[str]) -> None:
        """Release probes here and in Redis."""
        if not breakers:
            return
        await self._local.release_probes(breakers)
        if self.is_shared:
            try:
                await self._shared.release_probes(breakers)
            except RedisLost as error:
                log.info("A probe was not released in Redis (%s); it expires.", error)

    def _failed(self, error: RedisLost) -> None:
        self.lost += 1
        self._on_lost()
        self._on_failure(error.why)
        self._failures = FAILURES if error.why in LASTING else self._failures + 1
        if self.is_shared or error.why == self.why:
            return
        self.why = error.why
        log.warning(
            "Redis (%s) %s. Until then each broker takes its share of the limits.",
            self._name,
            REMEDIES[error.why],
        )

    async def _report(self, call: Callable[[], Awaitable[None]]) -> bool:
        if not self.is_shared:
            return False
        try:
            await call()
        except RedisLost as error:
            self._failed(error)
            return False
        return True

    async def _decide_alone(
        self, checks: Sequence[LimitCheck], breakers: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Decide by this broker's share, and note each start to report it to Redis later."""
        decision = await self._decide_by_share(checks, breakers, now, max_wait_s)
        if decision.allowed:
            start = to_us(now) + to_us(decision.wait_s)
            for check in checks:
                if isinstance(check.rule, Window):
                    self._usage.record_start(check.key, check.rule, start)
        return decision

    async def _decide_by_share(
        self, checks: Sequence[LimitCheck], breakers: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        at, brokers = to_us(now), max(1, self._brokers())
        mine = []
        for check in checks:
            if isinstance(check.rule, Bucket):
                mine.append(LimitCheck(check.name, check.key, _divided(check.rule, brokers)))
                continue
            size, opens_at = self._usage.share(check.key, check.rule, at, brokers)
            if opens_at > at:
                return _full(check, checks, (opens_at - at) / MICRO)
            mine.append(LimitCheck(check.name, check.key, Window(size, check.rule.span_s)))
        return await self._local.decide(mine, breakers, now, max_wait_s)


def _divided(rule: Bucket, brokers: int) -> Bucket:
    return Bucket(rule.rate / brokers, max(1, rule.burst // brokers))


def _full(check: LimitCheck, checks: Sequence[LimitCheck], wait_s: float) -> Decision:
    quotas = tuple(
        Quota(each.name, each.rule, 0 if each is check else 1, wait_s if each is check else 0.0)
        for each in checks
    )
    return Decision(False, wait_s, check.name, quotas=quotas)
