"""Renders the report: a table with a verdict as text, or a JSON object. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cloud_broker.ratelimit_probe.holders import Holder, LimitScope, shared
from cloud_broker.ratelimit_probe.plan import Plan
from cloud_broker.ratelimit_probe.tally import Count, Result
from cloud_broker.ratelimit_probe.verdict import Conclusion, Finding

_HEAD = ("phase", "requests", "429s", "first 429", "Retry-After", "admitted", "reason")
SCOPE_PHRASES = {
    LimitScope.TOKEN: "per token (connection)",
    LimitScope.CONNECTION: "per connection (its tokens share a budget)",
    LimitScope.INTEGRATION: "per integration (its tokens share a budget)",
    LimitScope.WORKSPACE: "per workspace (its tokens share a budget)",
    LimitScope.ADDRESS: "shared by all tokens here (by their IP address or the like)",
}
EXTRA_TOKENS = {
    LimitScope.CONNECTION: "one of A's integration in A's workspace, authorized by another user",
    LimitScope.INTEGRATION: "one of A's integration in another workspace",
    LimitScope.WORKSPACE: "one of another integration in A's workspace",
}


def estimate(plan: Plan, holders: Mapping[str, Holder]) -> list[str]:
    """Describe the tokens, the number of requests and the duration, before the start."""
    lines = [
        f"{label}: bot {holder.bot_id} of {holder.name!r} in"
        f" {holder.workspace_name or holder.workspace!r}"
        for label, holder in holders.items()
    ]
    for a, b in plan.pairs:
        common = shared(holders[a], holders[b])
        names = [scope.value for scope in LimitScope if scope in common]
        lines.append(f"{a} and {b} share: {', '.join(names) or 'nothing known'}")
        if LimitScope.INTEGRATION in common and not holders[a].stated:
            lines.append("  (by the name of the integration; use --integrations to state it)")
    lines.append(
        f"{len(plan.phases)} phases of {plan.duration_s:g} s at {plan.rate:g} requests per second"
        f" and token: {plan.requests} requests in total, {_minutes(plan.seconds)}; longer if a"
        " Retry-After asks for it"
    )
    if plan.busiest <= plan.expected.requests:
        lines.append(
            f"warning: a token sends {plan.busiest} requests in a window and cannot reach a"
            f" limit of {plan.expected.requests} in {plan.expected.window_s:g} s"
        )
    return lines


def text(results: Sequence[Result], finding: Finding) -> str:
    """Render the report as text."""
    rows = [_HEAD, *(_row(result, token) for result in results for token in result.counts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    cells = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines = [line.rstrip() for line in cells]
    for result in results:
        for token, count in result.counts.items():
            if len(result.counts) == 1 and count.window_s is not None:
                lines.append(
                    f"{token} alone had {count.before_first} requests admitted before the first"
                    f" 429, which asked to wait until {count.window_s:.0f} s after the start."
                )
    lines += ["", f"Verdict: {sentence(finding)}"]
    lines += [f"  {line}" for line in finding.why]
    for pair, evidence in (finding.pairs or {}).items():
        low, high = evidence.if_common
        lines.append(
            f"  {' with '.join(pair)}: {evidence.total} admitted; expected"
            f" {evidence.if_separate} from two budgets, {low:.0f} to {high:.0f} from one."
        )
    for group, share in sorted((finding.posterior or {}).items(), key=lambda item: -item[1]):
        lines.append(f"  {_share(share):>11}  {_named(group)}")
    return "\n".join(lines)


def sentence(finding: Finding) -> str:
    """Return the finding in one or two sentences."""
    if finding.answer is Conclusion.NO_LIMIT:
        return "no limit was seen."
    if finding.answer is Conclusion.INCONCLUSIVE or finding.confidence is None:
        return "inconclusive."
    sure = f"Probability {_share(finding.confidence)}."
    whose = " or ".join(SCOPE_PHRASES[scope] for scope in finding.scopes)
    if finding.answer is Conclusion.FOUND:
        return f"the limit is {whose}. {sure}"
    advice = " or ".join(EXTRA_TOKENS[each] for each in finding.scopes if each in EXTRA_TOKENS)
    return f"the limit is {whose}. {sure} These tokens cannot tell which; one more would: {advice}."


def data(
    plan: Plan, holders: Mapping[str, Holder], results: Sequence[Result], finding: Finding
) -> dict[str, Any]:
    """Return the report as JSON data, without tokens."""
    return {
        "plan": {
            "rate": plan.rate,
            "duration_s": plan.duration_s,
            "cool_down_s": plan.cool_down_s,
            "requests": plan.requests,
            "seconds": plan.seconds,
            "expected": {
                "requests": plan.expected.requests,
                "window_s": plan.expected.window_s,
            },
        },
        "tokens": {
            label: {
                "bot_id": holder.bot_id,
                "name": holder.name,
                "workspace": holder.workspace,
                "workspace_name": holder.workspace_name,
                "owner": holder.owner,
            }
            for label, holder in holders.items()
        },
        "phases": [
            {
                "name": result.phase.name,
                "complete": result.complete,
                "elapsed_s": round(result.elapsed_s, 3),
                "tokens": {token: _count(count, plan) for token, count in result.counts.items()},
            }
            for result in results
        ],
        "verdict": _finding(holders, finding),
    }


def _finding(holders: Mapping[str, Holder], finding: Finding) -> dict[str, Any]:
    return {
        "answer": finding.answer.value,
        "scopes": [scope.value for scope in finding.scopes],
        "confidence": finding.confidence,
        "posterior": [
            {"scopes": [scope.value for scope in group], "probability": share}
            for group, share in (finding.posterior or {}).items()
        ],
        "pairs": [
            {
                "tokens": list(pair),
                "shared": sorted(
                    scope.value for scope in shared(holders[pair[0]], holders[pair[1]])
                ),
                "admitted": evidence.total,
                "expected_from_two_budgets": evidence.if_separate,
                "expected_from_one_budget": list(evidence.if_common),
                "log_likelihood": {
                    "two_budgets": evidence.separate,
                    "one_budget": evidence.common,
                    "something_else": evidence.neither,
                },
            }
            for pair, evidence in (finding.pairs or {}).items()
        ],
        "sentence": sentence(finding),
        "why": list(finding.why),
    }


def _count(count: Count, plan: Plan) -> dict[str, Any]:
    return {
        "requests": count.sent,
        "admitted": count.admitted,
        "refused": count.refused,
        "failed": count.failed,
        "first_429_s": count.first_refusal_s,
        "admitted_before_first_429": count.before_first,
        "retry_after_of_first_s": count.retry_after_s,
        "longest_retry_after_s": count.longest_retry_after_s,
        "rate_limit_reasons": dict(count.reasons),
        "admitted_per_s": count.admitted / plan.duration_s,
    }


def _row(result: Result, token: str) -> tuple[str, ...]:
    count = result.counts[token]
    first, longest = count.first_refusal_s, count.longest_retry_after_s
    name = result.phase.name + (f": {token}" if len(result.counts) > 1 else "")
    reasons = Counter(count.reasons).most_common()
    return (
        name,
        str(count.sent),
        str(count.refused),
        "-" if first is None else f"{first:.1f} s",
        "-" if longest is None else f"up to {longest:.0f} s",
        f"{count.admitted / max(result.elapsed_s, 1e-9):.2f}/s",
        ", ".join(f"{reason} ({number})" for reason, number in reasons) or "-",
    )


def _share(value: float) -> str:
    """Render a probability with at most three digits."""
    if value > 0.999:
        return "above 99.9%"
    return "below 0.1%" if value < 0.001 else f"{value:.1%}"


def _named(group: tuple[LimitScope, ...]) -> str:
    return " or ".join(scope.value for scope in group) or "something else"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
