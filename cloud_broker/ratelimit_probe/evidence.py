"""How well counts agree with a budget for each token, or with one for two. Pure.

Two tokens A and B were asked with alone and got ``a`` and ``b`` requests through, then together at
the same rate each, and got ``c`` and ``d``. If each has a budget of its own, then c is about a and
d about b. If one budget serves both, c + d is about a (which is about b), in about equal parts.

"About" is the whole difficulty. A limiter is no coin: its refusals come in rows, so a binomial or
Poisson test takes hundreds of them for hundreds of witnesses and is sure of anything. What makes
equal budgets count differently is where a window begins, and other traffic; it moves a count by
some per cent however large the count is. So each prediction has a normal error of ``NOISE`` of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cloud_broker.ratelimit_probe.tally import Count

NOISE = 0.08
"""Standard deviation, as a share. In the first plan's experiment the same two tokens got 3.0 % and
4.4 % more through together than alone: about twice that."""
LEAST = 3.0  # requests: no count is surer than that
WIDER = 4 / 3
"""One budget asked at twice the rate admits the same in each whole window, more in a window of
which the phase covers a part: with a whole one and half of another, 2 in place of 1.5."""
UNEVEN = 0.1  # standard deviation of A's share of one budget around a half


@dataclass(frozen=True, slots=True)
class Evidence:
    """Log-likelihoods of what two tokens got, and the totals that were to be expected."""

    separate: float
    common: float
    neither: float
    total: int
    if_separate: int
    if_common: tuple[float, float]


def weigh(alone: tuple[Count, Count], together: tuple[Count, Count]) -> Evidence:
    """Weigh one pair's counts against the two explanations, and against none of them."""
    a, b = (count.admitted for count in alone)
    c, d = (count.admitted for count in together)
    most = sum(count.sent - count.failed for count in together)
    low = max(1.0, (a + b) / 2)
    both_met_it = all(count.refused for count in alone)
    # Who did not meet the limit alone has not shown how large it is: up to twice that may fit.
    high = min(low * (WIDER if both_met_it else 2.0), max(low + 1.0, float(most)))
    separate = _normal(c - a, _error(a)) + _normal(d - b, _error(b))
    common = (
        _spread(c + d, low, high)
        + _normal(c - (c + d) / 2, max(LEAST, UNEVEN * (c + d)))
        # Alone, both drew on the same budget. 0 when they got the same.
        - ((a - b) / (math.sqrt(2) * _error(low))) ** 2 / 2
    )
    neither = -math.log(together[0].sent + 1) - math.log(together[1].sent + 1)
    return Evidence(separate, common, neither, c + d, a + b, (low, high))


def _error(expected: float) -> float:
    return max(LEAST, NOISE * expected)


def _normal(off: float, error: float) -> float:
    return -((off / error) ** 2) / 2 - math.log(error * math.sqrt(2 * math.pi))


def _spread(found: float, low: float, high: float) -> float:
    """Log-density of a value anywhere from ``low`` to ``high``, give or take the error."""
    error = _error(low)

    def below(value: float) -> float:
        return math.erfc((value - found) / (error * math.sqrt(2))) / 2

    return math.log(max((below(low) - below(high)) / (high - low), 1e-300))
