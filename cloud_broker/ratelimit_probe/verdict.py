"""Finds the scope of the limit by a Bayesian comparison of all scopes. Pure.

A scope predicts for each pair of tokens if they share a budget: the tokens of one integration
share the integration's limit, and so on. Scopes with the same predictions for all pairs form one
group. All groups have the same prior probability; a small part is reserved for "something else"
(several limits, other traffic), which predicts all counts equally. The result is the most likely
group, if it is likely enough. Flaws of the experiment are checked first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from cloud_broker.ratelimit_probe.evidence import Evidence, weigh
from cloud_broker.ratelimit_probe.holders import Holder, LimitScope, shared
from cloud_broker.ratelimit_probe.plan import Pair, Plan
from cloud_broker.ratelimit_probe.tally import Count, Result

CONFIDENT = 0.95  # minimum probability of a result
SOMETHING_ELSE = 0.02
MOST_FAILED = 0.05  # of a token's requests in a phase
MOST_LATE = 0.10  # of a phase's length
LONGER = 1.25  # times the expected window; Retry-After is rounded up to a second
SPACE = "public_api_space_request_rate_limit"


class Conclusion(Enum):
    """The kind of result."""

    FOUND = "found"  # one scope
    NARROWED = "narrowed"  # several that these tokens cannot tell apart
    NO_LIMIT = "no_limit_seen"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result. ``scopes``: one when found, several when narrowed, else none.

    ``posterior``: groups of scopes with their probability; the empty group is something else.
    ``pairs``: the evidence of each pair. ``why``: the reasons, as sentences.
    """

    answer: Conclusion
    scopes: tuple[LimitScope, ...] = ()
    confidence: float | None = None
    posterior: Mapping[tuple[LimitScope, ...], float] | None = None
    pairs: Mapping[Pair, Evidence] | None = None
    why: tuple[str, ...] = ()


def judge(plan: Plan, results: Sequence[Result], holders: Mapping[str, Holder]) -> Finding:
    """Judge an experiment by its results, which may lack phases."""
    flaw = _flaw(plan, results)
    if flaw is not None:
        return Finding(Conclusion.INCONCLUSIVE, why=(flaw,))
    if not any(result.refused for result in results):
        return _unmet(plan)
    counts = {result.phase.tokens: result.counts for result in results}
    pairs = {
        (a, b): weigh((counts[(a,)][a], counts[(b,)][b]), (counts[(a, b)][a], counts[(a, b)][b]))
        for a, b in plan.pairs
    }
    known = groups(plan.pairs, holders)
    posterior = _posterior(pairs, known)
    best = max(posterior, key=lambda group: posterior[group])
    notes = _notes(plan, counts)
    if not best or posterior[best] < CONFIDENT:
        why = "The counts fit no scope well enough. See the totals of each pair."
        return Finding(Conclusion.INCONCLUSIVE, (), None, posterior, pairs, (why, *notes))
    if known.get((True,) * len(pairs)) == best != (LimitScope.ADDRESS,):
        notes += (
            "All tokens were also used from one address. To exclude a limit per address, add a"
            " token that shares nothing else with them.",
        )
    if LimitScope.WORKSPACE not in best and _named_the_workspace(results):
        notes += ("Notion's own reason names the workspace's limit, but the counts contradict it.",)
    answer = Conclusion.FOUND if len(best) == 1 else Conclusion.NARROWED
    return Finding(answer, best, posterior[best], posterior, pairs, notes)


def groups(
    pairs: Sequence[Pair], holders: Mapping[str, Holder]
) -> dict[tuple[bool, ...], tuple[LimitScope, ...]]:
    """Group the scopes by their predictions: for each pair, if it shares a budget.

    Connection and address are listed only if no earlier scope has the same predictions: unless two
    tokens share a connection, it means the same as the token.
    """
    found: dict[tuple[bool, ...], tuple[LimitScope, ...]] = {}
    common = [shared(holders[a], holders[b]) for a, b in pairs]
    for scope in LimitScope:
        predicted = tuple(scope in each or scope is LimitScope.ADDRESS for each in common)
        if scope in (LimitScope.INTEGRATION, LimitScope.WORKSPACE) or predicted not in found:
            found[predicted] = (*found.get(predicted, ()), scope)
    return found


def _posterior(
    pairs: Mapping[Pair, Evidence], known: Mapping[tuple[bool, ...], tuple[LimitScope, ...]]
) -> dict[tuple[LimitScope, ...], float]:
    prior = (1 - SOMETHING_ELSE) / len(known)
    logs: dict[tuple[LimitScope, ...], float] = {
        group: math.log(prior)
        + sum(
            each.common if is_common else each.separate
            for is_common, each in zip(predicted, pairs.values(), strict=True)
        )
        for predicted, group in known.items()
    }
    logs[()] = math.log(SOMETHING_ELSE) + sum(each.neither for each in pairs.values())
    top = max(logs.values())
    weights = {group: math.exp(value - top) for group, value in logs.items()}
    total = sum(weights.values())
    return {group: weight / total for group, weight in weights.items()}


def _flaw(plan: Plan, results: Sequence[Result]) -> str | None:
    """Return the flaw that makes the counts worthless, or None."""
    if len(results) < len(plan.phases) or not all(result.complete for result in results):
        return f"The probe stopped early: it began {len(results)} of {len(plan.phases)} phases."
    for result in results:
        for token, count in result.counts.items():
            if count.failed > MOST_FAILED * count.sent:
                return (
                    f"{count.failed} of {count.sent} requests of {token} failed in the phase"
                    f" {result.phase.name}, for reasons other than a limit."
                )
        if result.elapsed_s > (1 + MOST_LATE) * plan.duration_s:
            return (
                f"The phase {result.phase.name} took {result.elapsed_s:.0f} s instead of"
                f" {plan.duration_s:.0f} s: this machine or its network is too slow for the rate."
            )
        ends = max(count.window_s or 0.0 for count in result.counts.values())
        waits = max(count.longest_retry_after_s or 0.0 for count in result.counts.values())
        if ends > (1 + MOST_LATE) * plan.duration_s or waits > 1 + LONGER * plan.expected.window_s:
            return (
                f"In the phase {result.phase.name} a 429 asked to wait {waits:.0f} s: the window is"
                f" longer than a phase, or than the {plan.expected.window_s:g} s expected. Repeat"
                " with the window's length in --expect, and a --duration of several windows."
            )
    return None


def _unmet(plan: Plan) -> Finding:
    """Judge an experiment without any 429: no such limit, or too small a load."""
    limit = f"{plan.expected.requests} requests in {plan.expected.window_s:g} s"
    seconds = min(plan.duration_s, plan.expected.window_s)
    if plan.busiest > plan.expected.requests:
        return Finding(
            Conclusion.NO_LIMIT,
            why=(
                f"Each token sent {plan.busiest} requests in {seconds:g} s, more than the expected"
                f" {limit}, and none was refused.",
                f"A larger limit, or one over more than {plan.duration_s:g} s, would not show.",
            ),
        )
    why = [f"No token alone sent more than the expected {limit}: raise --rate or --duration."]
    if 2 * plan.busiest > plan.expected.requests:
        why.append("Two tokens together did, so no pair shares a budget of that size.")
    return Finding(Conclusion.INCONCLUSIVE, why=tuple(why))


def _named_the_workspace(results: Sequence[Result]) -> bool:
    return any(SPACE in count.reasons for result in results for count in result.counts.values())


def _notes(plan: Plan, counts: Mapping[tuple[str, ...], Mapping[str, Count]]) -> tuple[str, ...]:
    """Return remarks for the operator."""
    notes = []
    alone = {token: counts[(token,)][token] for token in plan.tokens}
    met = [token for token, count in alone.items() if count.refused]
    if 0 < len(met) < len(alone):
        others = ", ".join(token for token in alone if token not in met)
        notes.append(
            f"Alone, {', '.join(met)} reached the limit and {others} did not: the tokens may have"
            " different limits (other plans)."
        )
    return tuple(notes)
