"""Plans the phases of the experiment and the time of each request. Pure.

Each token sends alone, then each pair together, every token at the same rate. A pause between two
phases lets the budgets refill. Each phase starts a whole number of windows after the first, so
that windows aligned to the wall clock have the same position in all phases.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget of ``requests`` in ``window_s`` seconds."""

    requests: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase, in which the tokens with these labels (one or two) send."""

    tokens: tuple[str, ...]

    @property
    def name(self) -> str:
        """``A alone``, or ``A with B``."""
        return f"{self.tokens[0]} alone" if len(self.tokens) == 1 else " with ".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Plan:
    """All phases in order. ``rate`` is in requests per second and token.

    ``expected`` is the limit that the experiment should reach.
    """

    tokens: tuple[str, ...]
    pairs: tuple[Pair, ...]
    rate: float
    duration_s: float
    cool_down_s: float
    expected: Limit

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Each token alone, then each pair."""
        return (*(Phase((each,)) for each in self.tokens), *(Phase(pair) for pair in self.pairs))

    @property
    def per_token(self) -> int:
        """The requests that a token sends in a phase."""
        return int(self.rate * self.duration_s)

    @property
    def requests(self) -> int:
        """The total of requests, with one ``users/me`` per token."""
        return len(self.tokens) + sum(len(phase.tokens) for phase in self.phases) * self.per_token

    @property
    def seconds(self) -> float:
        """The duration, unless a Retry-After asks for a longer pause."""
        return (len(self.phases) - 1) * self.next_start(0.0, 0.0) + self.duration_s

    def next_start(self, last_s: float, closed_until_s: float) -> float:
        """Return the start of the phase after ``last_s``, not before ``closed_until_s``."""
        earliest = max(last_s + self.duration_s + self.cool_down_s, closed_until_s)
        window_s = self.expected.window_s
        return last_s + math.ceil((earliest - last_s) / window_s - 1e-9) * window_s

    @property
    def busiest(self) -> int:
        """The requests that one token sends in an expected window, or in a shorter phase."""
        return int(self.rate * min(self.duration_s, self.expected.window_s))


def all_pairs(tokens: Sequence[str]) -> tuple[Pair, ...]:
    """Return all pairs of the labels."""
    return tuple(combinations(tokens, 2))


def schedule(phase: Phase, plan: Plan, chance: random.Random) -> list[tuple[float, str]]:
    """Return the time of each request, in seconds from the phase's start, with its token.

    Each request is delayed by up to half an interval, so that both tokens of a pair are sometimes
    the first to ask for the remaining budget.
    """
    return sorted(
        ((number + chance.random() / 2) / plan.rate, token)
        for token in phase.tokens
        for number in range(plan.per_token)
    )
