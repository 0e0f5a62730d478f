"""Weighs counts: do two tokens have a budget each, or share one? Pure.

Alone, the tokens A and B got ``a`` and ``b`` requests admitted; together, at the same rate each,
``c`` and ``d``. With a budget each, c is about a and d about b. With a shared budget, c + d is
about a (and about b), in about equal parts.

"About" needs care. A limiter refuses in long runs, so a binomial or Poisson test would treat
hundreds of dependent refusals as independent and be certain of anything. Equal budgets give
different counts because of the start of the window and other traffic, by some per cent of any
count. So each prediction has a normal error of ``NOISE`` times its value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cloud_broker.ratelimit_probe.tally import Count

NOISE = 0.08
"""Standard deviation, as a share: about twice the differences of 3.0 % and 4.4 % between together
and alone in the experiment of the first plan."""
LEAST = 3.0  # requests: minimum error of any count
WIDER = 4 / 3
"""At twice the rate one budget admits the same in each full window, but more in a window that the
phase covers in part: with one full and one half window, 2 instead of 1.5."""
UNEVEN = 0.1  # standard deviation of A's share of one budget around a half


@dataclass(frozen=True, slots=True)
class Evidence:
    """Log-likelihoods of the counts of two tokens, with the expected totals."""

    separate: float
    common: float
    neither: float
    total: int
    if_separate: int
    if_common: tuple[float, float]


def weigh(alone: tuple[Count, Count], together: tuple[Count, Count]) -> Evidence:
    """Weigh one pair's counts under both explanations, and under neither."""
    a, b = (count.admitted for count in alone)
    c, d = (count.admitted for count in together)
    most = sum(count.sent - count.failed for count in together)
    low = max(1.0, (a + b) / 2)
    both_refused = all(count.refused for count in alone)
    # A token without a refusal alone does not show the limit: up to twice its count may fit.
    high = min(low * (WIDER if both_refused else 2.0), max(low + 1.0, float(most)))
    separate = _normal(c - a, _error(a)) + _normal(d - b, _error(b))
    common = (
        _spread(c + d, low, high)
        + _normal(c - (c + d) / 2, max(LEAST, UNEVEN * (c + d)))
        # Alone, both used the same budget: 0 for equal counts.
        - ((a - b) / (math.sqrt(2) * _error(low))) ** 2 / 2
    )
    neither = -math.log(together[0].sent + 1) - math.log(together[1].sent + 1)
    return Evidence(separate, common, neither, c + d, a + b, (low, high))


def _error(expected: float) -> float:
    return max(LEAST, NOISE * expected)


def _normal(off: float, error: float) -> float:
    return -((off / error) ** 2) / 2 - math.log(error * math.sqrt(2 * math.pi))


def _spread(found: float, low: float, high: float) -> float:
    """Return the log-density of a value between ``low`` and ``high``, with the error."""
    error = _error(low)

    def below(value: float) -> float:
        return math.erfc((value - found) / (error * math.sqrt(2))) / 2

    return math.log(max((below(low) - below(high)) / (high - low), 1e-300))
