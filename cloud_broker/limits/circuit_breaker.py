"""Gates: what closes a way to Notion for a while, and who may try it first afterwards. Pure.

A gate guards one connection, workspace, endpoint of a connection, or the upstream as a whole.
It closes in three ways:

- *paused*: Notion said 429, and until when. Opens for all at that moment.
- *tripped by throttling*: five 429s in a row close it for a minute at least, as the old back end
  did (seed section 7.1). Afterwards one probe at a time until one is answered.
- *tripped by failure*: most of what passes ends in 5xx or silence. Judged by party (connection),
  not by request, so one party's broken requests cannot close the gate of all.

A 429 is the sign of a healthy upstream: it never counts as a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from cloud_broker.limits.gcra import to_us

STRIKES = 5
STRIKE_PAUSE_S = 60.0
PROBE_S = 70.0  # a probe that never reports back (its broker died) blocks no longer than this
MANY = 100  # parties; more are not judged again at every failure
PROBE_WAIT_S = 1.0  # how long those behind a probe are told to wait


class TripRule(Struct, frozen=True, dict=True):
    """When failures close a gate.

    In ``span_s`` there were at least ``requests`` from at least ``parties``, and at least
    ``share`` of the parties had half of theirs or more fail. Then closed for ``closed_s``.
    """

    requests: int
    parties: int
    share: float = 0.5
    span_s: float = 30.0
    closed_s: float = 15.0

    @cached_property
    def half_us(self) -> int:
        """Half of the span in microseconds: what is counted turns over by halves."""
        return to_us(self.span_s / 2)


CONNECTION_TRIP = TripRule(requests=20, parties=1)
UPSTREAM_TRIP = TripRule(requests=50, parties=5, share=0.6)


class Breaker(Struct, frozen=True):
    """The state of one gate; times in microseconds on the limiter's clock."""

    closed_until: int = 0
    strikes: int = 0
    last_strike: int = -1
    tripped: bool = False
    probe_until: int = 0


class Entry(Struct, frozen=True):
    """May it pass now? Else ``wait_us``. ``probe``: it is the one that tries first."""

    open: bool
    wait_us: int = 0
    probe: bool = False


def entry(gate: Breaker, now: int) -> Entry:
    """Say whether a request may pass at ``now``."""
    if now < gate.closed_until:
        return Entry(open=False, wait_us=gate.closed_until - now)
    if not gate.tripped:
        return Entry(open=True)
    if now < gate.probe_until:
        return Entry(open=False, wait_us=min(gate.probe_until - now, to_us(PROBE_WAIT_S)))
    return Entry(open=True, probe=True)


def probing(gate: Breaker, now: int) -> Breaker:
    """Give the probe to the request that passes at ``now``."""
    return replace(gate, probe_until=now + to_us(PROBE_S))


def throttled(gate: Breaker, now: int, *, entered: int, pause_us: int, counts: bool) -> Breaker:
    """Notion answered 429 to a request that passed at ``entered``.

    ``counts``: the strike rule applies (to a connection; a workspace is only paused). Several
    that were on their way together are one strike: each after the first says nothing new.
    """
    closed = max(gate.closed_until, now + pause_us)
    if not counts:
        return replace(gate, closed_until=closed)
    fresh = entered > gate.last_strike
    strikes = gate.strikes + 1 if fresh else gate.strikes
    last = now if fresh else gate.last_strike
    tripped = gate.tripped or strikes >= STRIKES
    if tripped and fresh:
        closed = max(closed, now + to_us(STRIKE_PAUSE_S))
    return Breaker(closed, strikes, last, tripped, 0 if fresh else gate.probe_until)


def passed(gate: Breaker, now: int, *, entered: int) -> Breaker:
    """Notion answered a request that passed at ``entered``; the way is good again.

    An answer to what was sent before the last strike proves nothing about the time after it.
    """
    if now < gate.closed_until or entered <= gate.last_strike:
        return gate
    return Breaker(closed_until=gate.closed_until, last_strike=gate.last_strike)


def tripped(gate: Breaker, now: int, rule: TripRule) -> Breaker:
    """Close after failures."""
    closed = max(gate.closed_until, now + to_us(rule.closed_s))
    return replace(gate, closed_until=closed, tripped=True, probe_until=0)


def released(gate: Breaker) -> Breaker:
    """The probe ended without a verdict: the next one may try."""
    return replace(gate, probe_until=0)


@dataclass(slots=True)
class Tally:
    """Requests and failures per party over the last span, in two halves that rotate."""

    turned: int = 0
    judged: int = 0
    fresh: dict[str, tuple[int, int]] = field(default_factory=dict)
    old: dict[str, tuple[int, int]] = field(default_factory=dict)

    def count(self, party: str, *, failed: bool, now: int, rule: TripRule) -> None:
        """Count one finished request of ``party``."""
        half = rule.half_us
        if now - self.turned >= half:
            self.old = self.fresh if now - self.turned < 2 * half else {}
            self.fresh = {}
            self.turned = now
        total, bad = self.fresh.get(party, (0, 0))
        self.fresh[party] = (total + 1, bad + failed)

    def trips(self, rule: TripRule, now: int) -> bool:
        """Say whether what was counted closes the gate; of many parties, four times a second."""
        if len(self.fresh) > MANY and now - self.judged < to_us(0.25):
            return False
        self.judged = now
        return is_failing(self.fresh, self.old, rule)

    def clear(self) -> None:
        """Begin anew, after the gate has closed."""
        self.fresh, self.old = {}, {}


def is_failing(
    fresh: Mapping[str, tuple[int, int]], old: Mapping[str, tuple[int, int]], rule: TripRule
) -> bool:
    """Judge both halves together by ``rule``."""
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
