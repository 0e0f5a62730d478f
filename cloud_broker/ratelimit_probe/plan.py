"""What the experiment does when: its phases, and when each request is sent. Pure.

Each token is asked with alone, then each pair at the same time, every token at the same rate
throughout. Between two phases nothing is sent, so that budgets are whole again; and each begins a
whole number of windows after the first, so that windows of the wall clock lie the same in all.
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
    """A time in which the tokens with these labels, one or two, send."""

    tokens: tuple[str, ...]

    @property
    def name(self) -> str:
        """``A alone``, or ``A with B``."""
        return f"{self.tokens[0]} alone" if len(self.tokens) == 1 else " with ".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Plan:
    """All phases in their order. ``rate`` is in requests a second, for each token.

    ``expected`` is the limit that the experiment should be able to meet.
    """

    tokens: tuple[str, ...]
    pairs: tuple[Pair, ...]
    rate: float
    duration_s: float
    cool_down_s: float
    expected: Limit

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Every token alone, then every pair."""
        return (*(Phase((each,)) for each in self.tokens), *(Phase(pair) for pair in self.pairs))

    @property
    def per_token(self) -> int:
        """Requests that a token sends in a phase."""
        return int(self.rate * self.duration_s)

    @property
    def requests(self) -> int:
        """Requests in all; one more a token asks who it is."""
        return len(self.tokens) + sum(len(phase.tokens) for phase in self.phases) * self.per_token

    @property
    def seconds(self) -> float:
        """How long it takes, when no Retry-After asks for a longer pause."""
        return (len(self.phases) - 1) * self.next_start(0.0, 0.0) + self.duration_s

    def next_start(self, last_s: float, closed_until_s: float) -> float:
        """When the next phase begins, after one at ``last_s``: not before ``closed_until_s``."""
        earliest = max(last_s + self.duration_s + self.cool_down_s, closed_until_s)
        window_s = self.expected.window_s
        return last_s + math.ceil((earliest - last_s) / window_s - 1e-9) * window_s

    @property
    def busiest(self) -> int:
        """The most that one token sends in an expected window, or in a phase if that is shorter."""
        return int(self.rate * min(self.duration_s, self.expected.window_s))


def all_pairs(tokens: Sequence[str]) -> tuple[Pair, ...]:
    """Every two of the labels."""
    return tuple(combinations(tokens, 2))


def schedule(phase: Phase, plan: Plan, chance: random.Random) -> list[tuple[float, str]]:
    """When to send with which token, in seconds from the phase's start.

    Each request is moved by up to half a pace, so that of two tokens now one, now the other is
    the first to ask for what is left.
    """
    return sorted(
        ((number + chance.random() / 2) / plan.rate, token)
        for token in phase.tokens
        for number in range(plan.per_token)
    )
