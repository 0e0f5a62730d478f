"""Counts the replies per phase and token. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from cloud_broker.ratelimit_probe.plan import Phase


class ReplyKind(Enum):
    """The effect of the limit on a request, from its answer."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    FAILED = "failed"  # a 5xx or no answer: no evidence about the limit


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. ``at_s`` is the time of the request, in seconds from the phase's start."""

    at_s: float
    token: str
    outcome: ReplyKind
    retry_after_s: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """The counts of one token in one phase.

    ``first_refusal_s`` is the time of the first 429, ``before_first`` the number of requests
    admitted until then, ``retry_after_s`` its Retry-After, ``longest_retry_after_s`` the longest
    Retry-After of all.
    """

    sent: int
    admitted: int
    refused: int
    failed: int
    first_refusal_s: float | None
    before_first: int
    retry_after_s: float | None
    longest_retry_after_s: float | None
    reasons: Mapping[str, int]

    @property
    def window_s(self) -> float | None:
        """The length of the window, if it started with the phase and Retry-After gives its end."""
        if self.first_refusal_s is None or self.retry_after_s is None:
            return None
        return self.first_refusal_s + self.retry_after_s


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one phase. ``elapsed_s``: from the first request to the last."""

    phase: Phase
    counts: Mapping[str, Count]
    elapsed_s: float
    complete: bool

    @property
    def refused(self) -> int:
        """The number of 429s of all tokens."""
        return sum(count.refused for count in self.counts.values())


def tally(replies: Iterable[Reply], token: str) -> Count:
    """Count the replies of one token."""
    mine = sorted((reply for reply in replies if reply.token == token), key=lambda each: each.at_s)
    kinds = Counter(reply.outcome for reply in mine)
    refusals = [reply for reply in mine if reply.outcome is ReplyKind.REFUSED]
    first = refusals[0] if refusals else None
    waits = [each.retry_after_s for each in refusals if each.retry_after_s is not None]
    return Count(
        sent=len(mine),
        admitted=kinds[ReplyKind.ADMITTED],
        refused=kinds[ReplyKind.REFUSED],
        failed=kinds[ReplyKind.FAILED],
        first_refusal_s=None if first is None else first.at_s,
        before_first=sum(
            reply.outcome is ReplyKind.ADMITTED and (first is None or reply.at_s < first.at_s)
            for reply in mine
        ),
        retry_after_s=None if first is None else first.retry_after_s,
        longest_retry_after_s=max(waits, default=None),
        reasons=Counter(each.reason for each in refusals if each.reason is not None),
    )
