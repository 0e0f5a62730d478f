"""Experiments in simulated time, with limiters of every kind that an API may have."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cloud_broker.ratelimit_probe.holders import Holder, LimitScope
from cloud_broker.ratelimit_probe.plan import Limit, Plan, all_pairs, schedule
from cloud_broker.ratelimit_probe.tally import Reply, ReplyKind, Result, tally


def a_holder(bot: str, integration: str, workspace: str) -> Holder:
    return Holder(bot, integration, integration, workspace, workspace, "user")


A = a_holder("bot a", "one", "here")
SAME_BOTH = a_holder("bot b", "one", "here")
SAME_INTEGRATION = a_holder("bot c", "one", "there")
SAME_WORKSPACE = a_holder("bot d", "other", "here")
STRANGER = a_holder("bot e", "third", "elsewhere")


def key_of(scope: LimitScope, holder: Holder) -> str:
    """The budget that a token draws on."""
    return {
        LimitScope.TOKEN: holder.bot_id,
        LimitScope.CONNECTION: holder.bot_id,
        LimitScope.INTEGRATION: holder.integration,
        LimitScope.WORKSPACE: holder.workspace,
        LimitScope.ADDRESS: "all",
    }[scope]


@dataclass(slots=True)
class Window:
    """Fixed windows: from the first request on, or by the wall clock from ``offset_s``."""

    limit: Limit
    offset_s: float | None = None
    began: float = -1e9
    used: int = 0

    def admits(self, now: float) -> bool:
        if now - self.began >= self.limit.window_s:
            length = self.limit.window_s
            behind = 0.0 if self.offset_s is None else (now - self.offset_s) % length
            self.began, self.used = now - behind, 0
        if self.used == self.limit.requests:
            return False
        self.used += 1
        return True

    def closed_s(self, now: float) -> float:
        return self.began + self.limit.window_s - now


@dataclass(slots=True)
class Sliding:
    """At most so many in any span of the window's length."""

    limit: Limit
    starts: list[float] = field(default_factory=list)

    def admits(self, now: float) -> bool:
        recent = len(self.starts) - bisect_left(self.starts, now - self.limit.window_s)
        if recent >= self.limit.requests:
            return False
        self.starts.append(now)
        return True

    def closed_s(self, now: float) -> float:
        return self.starts[-self.limit.requests] + self.limit.window_s - now


@dataclass(slots=True)
class Bucket:
    """Evenly refilled, so many at once."""

    limit: Limit
    burst: int
    level: float = 0.0
    at: float = 0.0

    def admits(self, now: float) -> bool:
        rate = self.limit.requests / self.limit.window_s
        self.level = max(0.0, self.level - (now - self.at) * rate)
        self.at = now
        if self.level + 1 > self.burst:
            return False
        self.level += 1
        return True

    def closed_s(self, now: float) -> float:
        return 1.0


EXPECTED = Limit(180, 60)
Limiter = Window | Sliding | Bucket
MAKERS: Mapping[str, Callable[[Limit, random.Random], Limiter]] = {
    "window from the first request": lambda limit, chance: Window(limit),
    "window of the wall clock": lambda limit, chance: Window(
        limit, chance.uniform(0, limit.window_s)
    ),
    "sliding window": lambda limit, chance: Sliding(limit),
    "bucket": lambda limit, chance: Bucket(limit, chance.randint(1, limit.requests // 4)),
}


def a_plan(
    tokens: Mapping[str, Holder],
    *,
    rate: float = 4,
    duration_s: float = 180,
    cool_down_s: float = 60,
    expected: Limit = EXPECTED,
) -> Plan:
    labels = tuple(tokens)
    return Plan(labels, all_pairs(labels), rate, duration_s, cool_down_s, expected)


def experiment(
    plan: Plan,
    holders: Mapping[str, Holder],
    scope: LimitScope,
    maker: Callable[[], Limiter],
    chance: random.Random,
    *,
    foreign: float = 0.0,
) -> list[Result]:
    """Run ``plan`` against limiters of one scope.

    ``foreign``: requests of others, as a share of the rate, that draw on the same budgets.
    """
    limiters: dict[str, Limiter] = {}
    results = []
    start, closed_until = chance.uniform(0, 10_000), 0.0
    for phase in plan.phases:
        due = [(at, token, False) for at, token in schedule(phase, plan, chance)]
        due += [
            (chance.uniform(0, plan.duration_s), token, True)
            for token in phase.tokens
            for _ in range(int(foreign * plan.per_token))
        ]
        replies = []
        for at, token, is_foreign in sorted(due):
            key = key_of(scope, holders[token])
            if key not in limiters:
                limiters[key] = maker()
            admitted = limiters[key].admits(start + at)
            if is_foreign:
                continue
            if admitted:
                replies.append(Reply(at, token, ReplyKind.ADMITTED))
            else:
                wait_s = math.ceil(limiters[key].closed_s(start + at))
                closed_until = max(closed_until, start + at + wait_s)
                replies.append(Reply(at, token, ReplyKind.REFUSED, wait_s))
        counts = {token: tally(replies, token) for token in phase.tokens}
        results.append(Result(phase, counts, plan.duration_s, True))
        start = plan.next_start(start, closed_until)
    return results
