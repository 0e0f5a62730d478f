"""The verdict on a limit's scope from counts, and its rate of errors."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pytest

from cloud_broker.ratelimit_probe.evidence import weigh
from cloud_broker.ratelimit_probe.holders import Holder, LimitScope
from cloud_broker.ratelimit_probe.plan import Limit, Phase, Plan
from cloud_broker.ratelimit_probe.report import sentence, text
from cloud_broker.ratelimit_probe.tally import Count, Result
from cloud_broker.ratelimit_probe.verdict import CONFIDENT, Conclusion, Finding, judge
from tests.cloud_broker.ratelimit_probe.simulated import (
    MAKERS,
    SAME_BOTH,
    SAME_INTEGRATION,
    SAME_WORKSPACE,
    STRANGER,
    A,
    a_plan,
    experiment,
)

SPACE = "public_api_space_request_rate_limit"


def a_count(sent: int, admitted: int) -> Count:
    return Count(
        sent=sent,
        admitted=admitted,
        refused=sent - admitted,
        failed=0,
        first_refusal_s=None,
        before_first=admitted,
        retry_after_s=None,
        longest_retry_after_s=None,
        reasons={},
    )


def results(plan: Plan, *admitted: tuple[int, ...]) -> list[Result]:
    """One tuple per phase, one number per token of it."""
    return [
        Result(
            phase,
            {
                token: a_count(plan.per_token, number)
                for token, number in zip(phase.tokens, numbers, strict=True)
            },
            plan.duration_s,
            True,
        )
        for phase, numbers in zip(plan.phases, admitted, strict=True)
    ]


def judged(holders: Mapping[str, Holder], *admitted: tuple[int, ...], rate: float = 4) -> Finding:
    plan = a_plan(holders, rate=rate)
    return judge(plan, results(plan, *admitted), holders)


# 720 sent; 540 fit a budget of 180 in 60 s.
SEPARATE, COMMON = ((540,), (540,), (541, 539)), ((540,), (540,), (272, 268))


@pytest.mark.parametrize(
    ("other", "counts", "scopes"),
    [
        (SAME_BOTH, SEPARATE, {LimitScope.TOKEN}),
        (SAME_BOTH, COMMON, {LimitScope.INTEGRATION, LimitScope.WORKSPACE}),
        (SAME_INTEGRATION, SEPARATE, {LimitScope.TOKEN, LimitScope.WORKSPACE}),
        (SAME_INTEGRATION, COMMON, {LimitScope.INTEGRATION}),
        (SAME_WORKSPACE, SEPARATE, {LimitScope.TOKEN, LimitScope.INTEGRATION}),
        (SAME_WORKSPACE, COMMON, {LimitScope.WORKSPACE}),
        (STRANGER, SEPARATE, {LimitScope.TOKEN, LimitScope.INTEGRATION, LimitScope.WORKSPACE}),
        (STRANGER, COMMON, {LimitScope.ADDRESS}),
        (replace(A), SEPARATE, {LimitScope.TOKEN}),
        (replace(A), COMMON, {LimitScope.CONNECTION, LimitScope.INTEGRATION, LimitScope.WORKSPACE}),
    ],
)
def test_two_tokens_tell_as_much_as_they_have_in_common(
    other: Holder, counts: tuple[tuple[int, ...], ...], scopes: set[LimitScope]
) -> None:
    verdict = judged({"A": A, "B": other}, *counts)
    assert set(verdict.scopes) == scopes
    assert verdict.answer is (Conclusion.FOUND if len(scopes) == 1 else Conclusion.NARROWED)
    assert verdict.confidence is not None
    assert verdict.confidence >= CONFIDENT
    assert verdict.posterior is not None
    assert math.isclose(sum(verdict.posterior.values()), 1)


def test_what_a_third_token_would_tell_is_said_when_two_cannot() -> None:
    told = sentence(judged({"A": A, "B": SAME_BOTH}, *COMMON))
    assert "per integration" in told
    assert "per workspace" in told
    assert "one of A's integration in another workspace" in told
    assert "one of another integration in A's workspace" in told


@pytest.mark.parametrize(
    ("together", "scope"),
    [
        (((540, 540), (540, 540), (540, 540)), LimitScope.TOKEN),
        (((270, 270), (540, 540), (540, 540)), LimitScope.INTEGRATION),
        (((540, 540), (270, 270), (540, 540)), LimitScope.WORKSPACE),
        (((270, 270), (270, 270), (270, 270)), LimitScope.ADDRESS),
    ],
)
def test_three_tokens_tell_all_scopes_apart(
    together: tuple[tuple[int, ...], ...], scope: LimitScope
) -> None:
    holders = {"A": A, "B": SAME_INTEGRATION, "C": SAME_WORKSPACE}
    verdict = judged(holders, (540,), (540,), (540,), *together)
    assert (verdict.answer, verdict.scopes) == (Conclusion.FOUND, (scope,))


def test_the_counts_of_the_first_plan_rule_out_the_integration_and_no_more() -> None:
    """4 requests a second for 12 minutes; 142, 143, 61 and 22 of them refused."""
    holders = {"A": A, "B": SAME_INTEGRATION}
    plan = replace(a_plan(holders), duration_s=720)
    counts = results(plan, (2880 - 142,), (2880 - 143,), (2880 - 61, 2880 - 22))
    assert set(judge(plan, counts, holders).scopes) == {LimitScope.TOKEN, LimitScope.WORKSPACE}


def test_refusals_only_together_show_a_shared_budget_too() -> None:
    verdict = judged({"A": A, "B": SAME_WORKSPACE}, (720,), (720,), (520, 500))
    assert verdict.scopes == (LimitScope.WORKSPACE,)


def test_a_few_refusals_together_show_nothing() -> None:
    verdict = judged({"A": A, "B": SAME_WORKSPACE}, (720,), (720,), (640, 645))
    assert verdict.answer is Conclusion.INCONCLUSIVE


def test_counts_between_one_budget_and_two_fit_no_scope() -> None:
    verdict = judged({"A": A, "B": SAME_WORKSPACE}, (540,), (540,), (425, 430))
    assert verdict.answer is Conclusion.INCONCLUSIVE
    assert verdict.scopes == ()
    assert verdict.posterior is not None
    assert "fit no scope" in verdict.why[0]


def test_no_refusal_above_the_expected_limit_is_no_limit() -> None:
    verdict = judged({"A": A, "B": SAME_BOTH}, (720,), (720,), (720, 720))
    assert verdict.answer is Conclusion.NO_LIMIT
    assert "240 requests in 60 s" in verdict.why[0]


@pytest.mark.parametrize(("rate", "together"), [(1.0, False), (2.5, True)])
def test_no_refusal_below_the_expected_limit_is_inconclusive(rate: float, together: bool) -> None:
    sent = int(rate * 180)
    verdict = judged({"A": A, "B": SAME_BOTH}, (sent,), (sent,), (sent, sent), rate=rate)
    assert verdict.answer is Conclusion.INCONCLUSIVE
    assert "raise --rate" in verdict.why[0]
    assert (len(verdict.why) == 2) == together


def test_tokens_with_limits_of_their_own_size_are_judged_and_it_is_said() -> None:
    verdict = judged({"A": A, "B": SAME_BOTH}, (540,), (720,), (540, 720))
    assert verdict.scopes == (LimitScope.TOKEN,)
    assert "different limits" in verdict.why[0]


def test_tokens_that_were_unequal_alone_did_not_draw_on_one_budget() -> None:
    alone, together = (a_count(720, 540), a_count(720, 300)), (a_count(720, 270), a_count(720, 270))
    unequal, equal = weigh(alone, together), weigh((alone[0], alone[0]), together)
    assert unequal.common < equal.common - 5


def test_a_phase_that_was_cut_short_is_inconclusive() -> None:
    plan = a_plan({"A": A, "B": SAME_BOTH})
    counts = results(plan, *SEPARATE)
    cut = [*counts[:2], replace(counts[2], complete=False)]
    for found in (counts[:2], cut):
        verdict = judge(plan, found, {"A": A, "B": SAME_BOTH})
        assert verdict.answer is Conclusion.INCONCLUSIVE
        assert "stopped early" in verdict.why[0]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"A": replace(a_count(720, 500), failed=50)}, "50 of 720 requests of A failed"),
        ({"A": replace(a_count(720, 540), longest_retry_after_s=100.0)}, "wait 100 s"),
        (
            {"A": replace(a_count(720, 540), first_refusal_s=170.0, retry_after_s=60.0)},
            "longer than a phase",
        ),
    ],
)
def test_a_phase_that_says_nothing_makes_it_inconclusive(
    broken: Mapping[str, Count], why: str
) -> None:
    plan = a_plan({"A": A, "B": SAME_BOTH})
    counts = results(plan, *SEPARATE)
    counts[0] = Result(Phase(("A",)), broken, plan.duration_s, True)
    verdict = judge(plan, counts, {"A": A, "B": SAME_BOTH})
    assert verdict.answer is Conclusion.INCONCLUSIVE
    assert why in verdict.why[0]


def test_a_sender_that_fell_behind_makes_it_inconclusive() -> None:
    plan = a_plan({"A": A, "B": SAME_BOTH})
    counts = results(plan, *SEPARATE)
    counts[1] = replace(counts[1], elapsed_s=220.0)
    verdict = judge(plan, counts, {"A": A, "B": SAME_BOTH})
    assert (verdict.answer, "too slow for" in verdict.why[0]) == (Conclusion.INCONCLUSIVE, True)


def test_a_reason_that_the_counts_deny_is_told() -> None:
    holders = {"A": A, "B": SAME_BOTH}
    plan = a_plan(holders)
    counts = results(plan, *SEPARATE)
    named = {"A": replace(counts[0].counts["A"], reasons={SPACE: 180})}
    counts[0] = replace(counts[0], counts=named)
    assert any("Notion's own reason" in line for line in judge(plan, counts, holders).why)
    assert SPACE in text(counts, judge(plan, counts, holders))


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("scope", [LimitScope.TOKEN, LimitScope.INTEGRATION, LimitScope.WORKSPACE])
def test_of_many_experiments_none_names_a_wrong_scope(kind: str, scope: LimitScope) -> None:
    """Every kind of limiter, any rate above it, windows that begin anywhere, others' traffic.

    A third of the usual size, to be fast; ``python -m tests.bench verdicts`` does thousands.
    """
    holders = {"A": A, "B": SAME_INTEGRATION, "C": SAME_WORKSPACE}
    came_to: Counter[str] = Counter()
    for number in range(10):
        chance = random.Random(f"{kind} {scope} {number}")
        limit = Limit(60, 20)
        plan = a_plan(
            holders, rate=chance.uniform(3.3, 9), duration_s=60, cool_down_s=20, expected=limit
        )
        found = experiment(
            plan,
            holders,
            scope,
            partial(MAKERS[kind], limit, chance),
            chance,
            foreign=chance.choice([0, 0.05]),
        )
        verdict = judge(plan, found, holders)
        wrong = verdict.scopes not in ((), (scope,))
        came_to["wrong" if wrong else verdict.answer.value] += 1
    assert came_to["wrong"] == 0
    assert came_to["found"] >= 9, came_to
