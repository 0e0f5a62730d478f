"""Defines the limiter port: one decision spends every rule or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from cloud_broker.limits.circuit_breaker import TripRule
from cloud_broker.limits.gcra import Rule


class LimitCheck(Struct, frozen=True):
    """One rule to check for ``key``; ``name`` tells the caller which one (user, route, …)."""

    name: str
    key: str
    rule: Rule


class Quota(Struct, frozen=True):
    """The rest of a rule: ``left`` starts now, one more in ``reset_s`` seconds."""

    name: str
    rule: Rule
    left: int
    reset_s: float


class Decision(Struct, frozen=True):
    """Allowed: start in ``wait_s`` seconds (already spent). Refused: nothing was spent.

    ``refused_by`` names the check or breaker with the longest wait, ``wait_s``. ``probes`` are
    the breakers that this request probes; the caller must report on each.
    """

    allowed: bool
    wait_s: float = 0.0
    refused_by: str = ""
    probes: tuple[str, ...] = ()
    quotas: tuple[Quota, ...] = ()


class Watch(Struct, frozen=True):
    """A breaker that also trips after failures; ``party`` made the request."""

    breaker: str
    party: str
    rule: TripRule


class Limiter(Protocol):
    """Decides and remembers.

    ``now`` is seconds on the caller's monotonic clock; an adapter that several machines share uses
    its own clock instead. A limiter that loses its memory grants one burst more.
    """

    async def decide(
        self, checks: Sequence[LimitCheck], breakers: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Spend all ``checks``, or none when the wait would be longer than ``max_wait_s``."""

    async def on_throttled(
        self, breaker: str, now: float, *, entered: float, pause_s: float, counts: bool
    ) -> None:
        """Open ``breaker`` for ``pause_s`` after a 429; see circuit_breaker.on_throttled."""

    async def on_finished(
        self, watches: Sequence[Watch], now: float, *, entered: float, failed: bool
    ) -> None:
        """Report an answer (not a 429) or a failure to every breaker that was passed."""

    async def release_probes(self, breakers: Sequence[str]) -> None:
        """Release probes that ended without a verdict."""
