"""Circuit breakers of the ways to Notion (pure).

A breaker guards one connection, workspace, endpoint of a connection, or all of Notion. While it is
open, no request passes. It opens in three ways:

- *paused*: Notion answered 429 with a time. Closes for all requests at that time.
- *tripped by throttling*: five 429s in a row open it for at least a minute, as in the old back end
  (seed section 7.1). Afterwards it is half-open: one probe at a time until Notion answers one.
- *tripped by failure*: most requests end in 5xx or without an answer. It counts failing parties
  (connections), not requests, so one party's broken requests cannot open the breaker of all.

A 429 comes from a healthy Notion, so it never counts as a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from cloud_broker.limits.gcra import to_us

STRIKES = 5  # 429s in a row
STRIKE_PAUSE_S = 60.0
PROBE_S = 70.0  # after it a probe without a verdict (its broker died) no longer blocks others
PROBE_WAIT_S = 1.0  # between attempts of the requests that wait for a probe
MANY = 100  # parties; with more, judging at every failure would cost too much
JUDGE_EVERY_S = 0.25  # with more than MANY parties


class TripRule(Struct, frozen=True, dict=True):
    """When failures trip a breaker.

    It trips for ``open_s`` when ``span_s`` had at least ``requests`` from at least ``parties``,
    and for at least ``share`` of the parties half or more of their requests failed.
    """

    requests: int
    parties: int
    share: float = 0.5
    span_s: float = 30.0
    open_s: float = 15.0

    @cached_property
    def half_us(self) -> int:
        """Half of the span in microseconds; the counts rotate by halves."""
        return to_us(self.span_s / 2)


CONNECTION_TRIP = TripRule(requests=20, parties=1)
UPSTREAM_TRIP = TripRule(requests=50, parties=5, share=0.6)


class Breaker(Struct, frozen=True):
    """The state of one breaker; times in microseconds on the limiter's clock."""

    open_until: int = 0
    strikes: int = 0
    last_strike: int = -1
    tripped: bool = False
    probe_until: int = 0


class Passage(Struct, frozen=True):
    """Whether a request passes now, else how long it waits. ``probe``: it passes as the probe."""

    allowed: bool
    wait_us: int = 0
    probe: bool = False


def may_pass(breaker: Breaker, now: int) -> Passage:
    """Return whether a request may pass at ``now``."""
    if now < breaker.open_until:
        return Passage(allowed=False, wait_us=breaker.open_until - now)
    if not breaker.tripped:
        return Passage(allowed=True)
    if now < breaker.probe_until:
        return Passage(allowed=False, wait_us=min(breaker.probe_until - now, to_us(PROBE_WAIT_S)))
    return Passage(allowed=True, probe=True)


def start_probe(breaker: Breaker, now: int) -> Breaker:
    """Give the probe to the request that passes at ``now``."""
    return replace(breaker, probe_until=now + to_us(PROBE_S))


def on_throttled(
    breaker: Breaker, now: int, *, entered: int, pause_us: int, counts: bool
) -> Breaker:
    """Open the breaker after a 429 to a request that passed at ``entered``.

    ``counts``: the strike rule applies (to a connection; a workspace is only paused). Concurrent
    requests that are all throttled count as one strike.
    """
    closed = max(breaker.open_until, now + pause_us)
    if not counts:
        return replace(breaker, open_until=closed)
    fresh = entered > breaker.last_strike
    strikes = breaker.strikes + 1 if fresh else breaker.strikes
    last = now if fresh else breaker.last_strike
    tripped = breaker.tripped or strikes >= STRIKES
    if tripped and fresh:
        closed = max(closed, now + to_us(STRIKE_PAUSE_S))
    return Breaker(closed, strikes, last, tripped, 0 if fresh else breaker.probe_until)


def on_answer(breaker: Breaker, now: int, *, entered: int) -> Breaker:
    """Close the breaker: Notion answered a request that passed at ``entered``.

    An answer to a request from before the last strike changes nothing.
    """
    if now < breaker.open_until or entered <= breaker.last_strike:
        return breaker
    return Breaker(open_until=breaker.open_until, last_strike=breaker.last_strike)


def trip(breaker: Breaker, now: int, rule: TripRule) -> Breaker:
    """Open the breaker after failures."""
    closed = max(breaker.open_until, now + to_us(rule.open_s))
    return replace(breaker, open_until=closed, tripped=True, probe_until=0)


def release_probe(breaker: Breaker) -> Breaker:
    """Let the next request probe: this probe ended without a verdict."""
    return replace(breaker, probe_until=0)


@dataclass(slots=True)
class Tally:
    """Counts requests and failures per party over the last span, in two halves that rotate."""

    rotated_at: int = 0
    judged_at: int = 0
    fresh: dict[str, tuple[int, int]] = field(default_factory=dict)
    old: dict[str, tuple[int, int]] = field(default_factory=dict)

    def count(self, party: str, *, failed: bool, now: int, rule: TripRule) -> None:
        """Count one finished request of ``party``."""
        half = rule.half_us
        if now - self.rotated_at >= half:
            self.old = self.fresh if now - self.rotated_at < 2 * half else {}
            self.fresh = {}
            self.rotated_at = now
        total, bad = self.fresh.get(party, (0, 0))
        self.fresh[party] = (total + 1, bad + failed)

    def trips(self, rule: TripRule, now: int) -> bool:
        """Return whether the counts trip the breaker; with many parties, four times a second."""
        if len(self.fresh) > MANY and now - self.judged_at < to_us(JUDGE_EVERY_S):
            return False
        self.judged_at = now
        return is_failing(self.fresh, self.old, rule)

    def clear(self) -> None:
        """Start counting again, after the breaker has tripped."""
        self.fresh, self.old = {}, {}


def is_failing(
    fresh: Mapping[str, tuple[int, int]], old: Mapping[str, tuple[int, int]], rule: TripRule
) -> bool:
    """Return whether both halves together trip a breaker by ``rule``."""
    requests = failing = 0
    parties = fresh.keys() | old.keys()
    for party in parties:
        total = fresh.get(party, (0, 0))[0] + old.get(party, (0, 0))[0]
        bad = fresh.get(party, (0, 0))[1] + old.get(party, (0, 0))[1]
        requests += total
        failing += bad * 2 >= total
    if requests < rule.requests or len(parties) < rule.parties:
        return False
    return failing >= rule.share * len(parties)
