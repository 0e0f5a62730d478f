"""Limits shared in Redis, and this broker's share of them while Redis does not answer.

Neither open nor closed (docs/decisions/0014-redis-lost.md): without Redis each of N brokers admits
an N-th. Three calls in a row that fail, and Redis is left alone; ``look`` tries it every second, at
nobody's expense, and tells it what happened meanwhile. Pauses that this broker was told by Notion
are kept here too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from msgspec.structs import replace

from cloud_broker.cluster.redis import RedisLost
from cloud_broker.cluster.redis_limiter import RedisLimiter
from cloud_broker.cluster.usage_snapshot import UsageSnapshot
from cloud_broker.limits.gcra import MICRO, Bucket, Window, to_us
from cloud_broker.limits.limiter import Decision, LimitCheck, Quota, Watch
from cloud_broker.limits.memory import MemoryLimiter

log = logging.getLogger(__name__)

FAILURES = 3  # in a row
LOOK_S = 1.0
JITTER_S = 0.2  # so that brokers do not all try at once
SETTLE_S = 2.0  # after which every other broker has found Redis too, and told it what it admitted


class SharedLimiter:
    """See the protocol ``Limiter``."""

    def __init__(
        self,
        shared: RedisLimiter,
        recollection: UsageSnapshot,
        *,
        brokers: Callable[[], int],
        rng: Random,
        missed: Callable[[], None],
    ) -> None:
        """``recollection`` is the one that ``shared`` writes to.

        ``brokers`` tells how many are alive, this one included; ``missed`` is called for each call
        that Redis did not answer, so that the number can be brought up to date.
        """
        self._shared = shared
        self._local = MemoryLimiter()
        self._seen = recollection
        self._brokers = brokers
        self._rng = rng
        self._missed = missed
        self._failures = 0
        self._look_at = 0.0
        self._settled_at = 0.0
        self.lost = 0

    @property
    def is_shared(self) -> bool:
        """Whether Redis decides."""
        return self._failures < FAILURES

    async def decide(
        self, asks: Sequence[LimitCheck], gates: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Decide together with all brokers, else by this one's share."""
        if not self.is_shared:
            return await self._alone(asks, gates, now, max_wait_s)
        paused = self._local.pause(gates, now)
        if paused is not None:  # told to this broker, perhaps while Redis was away
            return paused
        if now < self._settled_at:
            windows = [ask for ask in asks if isinstance(ask.rule, Window)]
            mine = await self._of_share(windows, (), now, 0.0)
            if not mine.allowed:
                return replace(mine, wait_s=min(mine.wait_s, self._settled_at - now))
        try:
            decision = await self._shared.decide(asks, gates, now, max_wait_s)
        except RedisLost as error:
            self._failed(error)
            return await self._alone(asks, gates, now, max_wait_s)
        self._failures = 0
        return decision

    async def look(self, now: float) -> None:
        """Try a Redis that was lost; tell one that has forgotten. To be called all the time."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S + self._rng.uniform(0, JITTER_S)
        if self.is_shared and not self._shared.has_forgotten:
            return
        try:
            await self._shared.reach(now)
        except RedisLost as error:
            log.debug("Redis is still lost: %s", error)
            return
        if not self.is_shared:
            log.warning("Redis answers again: limits are shared")
            self._failures = 0
            self._settled_at = now + SETTLE_S

    async def throttled(
        self, gate: str, now: float, *, entered: float, pause_s: float, counts: bool
    ) -> None:
        """Close ``gate`` everywhere, and here in any case."""
        await self._local.throttled(gate, now, entered=entered, pause_s=pause_s, counts=False)
        tell = self._shared.throttled
        await self._tell(lambda: tell(gate, now, entered=entered, pause_s=pause_s, counts=counts))

    async def finished(
        self, watches: Sequence[Watch], now: float, *, entered: float, failed: bool
    ) -> None:
        """Report an answer or a failure."""
        told = await self._tell(
            lambda: self._shared.finished(watches, now, entered=entered, failed=failed)
        )
        if not told:
            await self._local.finished(watches, now, entered=entered, failed=failed)

    async def released(self, gates: Sequence[str]) -> None:
        """Give probes back."""
        if not gates:
            return
        await self._local.released(gates)
        if self.is_shared:
            try:
                await self._shared.released(gates)
            except RedisLost as error:
                log.info("a probe was not given back: %s", error)

    def _failed(self, error: RedisLost) -> None:
        self.lost += 1
        self._missed()
        was_shared = self.is_shared
        self._failures += 1
        if was_shared and not self.is_shared:
            log.warning("Redis does not answer (%s): limits are divided among brokers", error)

    async def _tell(self, call: Callable[[], Awaitable[None]]) -> bool:
        if not self.is_shared:
            return False
        try:
            await call()
        except RedisLost as error:
            self._failed(error)
            return False
        return True

    async def _alone(
        self, asks: Sequence[LimitCheck], gates: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Decide by this broker's share, and note the start for a Redis that does not know it."""
        decision = await self._of_share(asks, gates, now, max_wait_s)
        if decision.allowed:
            start = to_us(now) + to_us(decision.wait_s)
            for ask in asks:
                if isinstance(ask.rule, Window):
                    self._seen.admitted(ask.key, ask.rule, start)
        return decision

    async def _of_share(
        self, asks: Sequence[LimitCheck], gates: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        at, brokers = to_us(now), max(1, self._brokers())
        mine = []
        for ask in asks:
            if isinstance(ask.rule, Bucket):
                mine.append(LimitCheck(ask.name, ask.key, _divided(ask.rule, brokers)))
                continue
            size, opens = self._seen.share(ask.key, ask.rule, at, brokers)
            if opens > at:
                return _full(ask, asks, (opens - at) / MICRO)
            mine.append(LimitCheck(ask.name, ask.key, Window(size, ask.rule.span_s)))
        return await self._local.decide(mine, gates, now, max_wait_s)


def _divided(rule: Bucket, brokers: int) -> Bucket:
    return Bucket(rule.rate / brokers, max(1, rule.burst // brokers))


def _full(ask: LimitCheck, asks: Sequence[LimitCheck], wait_s: float) -> Decision:
    quotas = tuple(
        Quota(each.name, each.rule, 0 if each is ask else 1, wait_s if each is ask else 0.0)
        for each in asks
    )
    return Decision(False, wait_s, ask.name, quotas=quotas)
