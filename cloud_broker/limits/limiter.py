"""The port to shared limits: one decision for everything that must hold, or nothing spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from cloud_broker.limits.circuit_breaker import TripRule
from cloud_broker.limits.gcra import Rule


class LimitCheck(Struct, frozen=True):
    """One rule to hold for ``key``; ``name`` says which to the caller (user, route, …)."""

    name: str
    key: str
    rule: Rule


class Quota(Struct, frozen=True):
    """What is left of a rule: ``left`` starts now, one more in ``reset_s`` seconds."""

    name: str
    rule: Rule
    left: int
    reset_s: float


class Decision(Struct, frozen=True):
    """Allowed: start in ``wait_s`` seconds (already spent). Refused: nothing was spent.

    ``refused_by`` names the ask or gate that takes longest, ``wait_s`` how long. ``probes``
    are the gates for which this request is the probe; it must report back on each.
    """

    allowed: bool
    wait_s: float = 0.0
    refused_by: str = ""
    probes: tuple[str, ...] = ()
    quotas: tuple[Quota, ...] = ()


class Watch(Struct, frozen=True):
    """A gate that also closes after failures; ``party`` is whose request it was."""

    gate: str
    party: str
    rule: TripRule


class Limiter(Protocol):
    """Decides and remembers. ``now`` is seconds on the caller's steady clock; an adapter that is
    shared between machines uses its own clock instead. Loss of its memory grants one burst more.
    """

    async def decide(
        self, asks: Sequence[LimitCheck], gates: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Check all ``asks`` and ``gates``; spend all, or nothing when it takes too long."""

    async def throttled(
        self, gate: str, now: float, *, entered: float, pause_s: float, counts: bool
    ) -> None:
        """Close ``gate`` for ``pause_s`` after a 429; see gates.throttled."""

    async def finished(
        self, watches: Sequence[Watch], now: float, *, entered: float, failed: bool
    ) -> None:
        """Report an answer (not a 429) or a failure on every gate that was passed."""

    async def released(self, gates: Sequence[str]) -> None:
        """Give probes back that ended without a verdict."""
