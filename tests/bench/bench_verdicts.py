"""Counts right, wrong and missing verdicts of the rate-limit probe, in simulated experiments."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

from cloud_broker.ratelimit_probe.holders import LimitScope
from cloud_broker.ratelimit_probe.plan import Limit
from cloud_broker.ratelimit_probe.verdict import judge
from tests.cloud_broker.ratelimit_probe.simulated import (
    MAKERS,
    SAME_INTEGRATION,
    SAME_WORKSPACE,
    A,
    a_plan,
    experiment,
)

_EACH = 100
_SCOPES = (LimitScope.TOKEN, LimitScope.INTEGRATION, LimitScope.WORKSPACE)
_HOLDERS = {"A": A, "B": SAME_INTEGRATION, "C": SAME_WORKSPACE}
_EXPECTED = Limit(60, 20)


def run() -> list[str]:
    """Lines for ``make bench``: nothing here is a time."""
    lines = [
        f"verdicts: {_EACH} experiments for each scope, three tokens, phases of three expected"
        " windows; 3 requests a second allowed, 3.3 to 9 sent, 0 or 5 % more by others"
    ]
    for kind in MAKERS:
        for stretch in (1.0, 0.75, 1.5, 2.0, 5.0):
            came_to: Counter[str] = Counter()
            for scope in _SCOPES:
                for number in range(_EACH):
                    came_to[_one(kind, scope, stretch, number)] += 1
            told = ", ".join(f"{name} {count}" for name, count in came_to.most_common())
            lines.append(f"  {kind}, {stretch:g} x the expected length: {told}")
    return lines


def _one(kind: str, scope: LimitScope, stretch: float, number: int) -> str:
    chance = random.Random(f"{kind} {scope} {stretch} {number}")
    window_s = stretch * _EXPECTED.window_s
    limit = Limit(int(3 * window_s), window_s)
    plan = a_plan(
        _HOLDERS,
        rate=chance.uniform(3.3, 9),
        duration_s=3 * _EXPECTED.window_s,
        cool_down_s=_EXPECTED.window_s,
        expected=_EXPECTED,
    )
    maker = partial(MAKERS[kind], limit, chance)
    foreign = chance.choice([0, 0.05])
    verdict = judge(
        plan, experiment(plan, _HOLDERS, scope, maker, chance, foreign=foreign), _HOLDERS
    )
    if verdict.scopes in ((), (scope,)):
        return verdict.answer.value
    return "wrong"
