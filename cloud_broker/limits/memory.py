"""The limiter of a single process: dictionaries, no locks, since nothing here awaits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cloud_broker.limits import circuit_breaker as gate_rules
from cloud_broker.limits.circuit_breaker import Breaker, Tally
from cloud_broker.limits.gcra import (
    MICRO,
    Bucket,
    Window,
    bucket_left,
    bucket_spend,
    bucket_start,
    to_us,
    window_left,
    window_spend,
    window_start,
)
from cloud_broker.limits.limiter import Decision, LimitCheck, Quota, Watch

SWEEP_S = 30.0
FORGIVEN_S = 3600.0  # a tripped gate at which nobody has knocked for so long is forgotten
MAX_KEYS = 200_000  # beyond it the oldest key begins anew, which grants it one burst more


@dataclass(slots=True)
class _Shelf:
    """What is remembered of one key: a log of starts (window) or one number (bucket)."""

    starts: list[int] = field(default_factory=list)
    full_at: int = 0
    useless_at: int = 0


class MemoryLimiter:
    """In-process limits; what no longer matters is forgotten every half minute."""

    def __init__(self) -> None:
        """Start with every rule fresh and every gate open."""
        self._shelves: dict[str, _Shelf] = {}
        self._gates: dict[str, Breaker] = {}
        self._tallies: dict[str, Tally] = {}
        self._swept = 0

    async def decide(
        self, asks: Sequence[LimitCheck], gates: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Check all, then spend all; see the protocol."""
        at = to_us(now)
        self._sweep(at)
        start, slowest = at, ""
        probes = []
        for name in gates:
            gate = self._gates.get(name)
            if gate is None:
                continue
            found = gate_rules.entry(gate, at)
            if found.probe:
                probes.append(name)
            if not found.open and at + found.wait_us > start:
                start, slowest = at + found.wait_us, name
        if slowest:  # a closed gate is waited for outside: it may close again meanwhile
            wait_s = (start - at) / MICRO
            return Decision(False, wait_s, slowest, quotas=self._quotas(asks, at))
        for ask in asks:
            earliest = self._start(ask, at)
            if earliest > start:
                start, slowest = earliest, ask.name
        wait_s = (start - at) / MICRO
        if wait_s > max_wait_s:
            return Decision(False, wait_s, slowest, quotas=self._quotas(asks, at))
        for ask in asks:
            self._spend(ask, start)
        for name in probes:
            self._gates[name] = gate_rules.probing(self._gates[name], at)
        return Decision(True, wait_s, probes=tuple(probes), quotas=self._quotas(asks, at))

    def pause(self, gates: Sequence[str], now: float) -> Decision | None:
        """The refusal of the gate that stays closed longest; None when none is closed."""
        at = to_us(now)
        closed = {name: self._gates[name].closed_until for name in gates if name in self._gates}
        name = max(closed, key=closed.__getitem__, default="")
        if not name or closed[name] <= at:
            return None
        return Decision(False, (closed[name] - at) / MICRO, name)

    async def throttled(
        self, gate: str, now: float, *, entered: float, pause_s: float, counts: bool
    ) -> None:
        """Close ``gate``; see the protocol."""
        self._gates[gate] = gate_rules.throttled(
            self._gates.get(gate, Breaker()),
            to_us(now),
            entered=to_us(entered),
            pause_us=to_us(pause_s),
            counts=counts,
        )

    async def finished(
        self, watches: Sequence[Watch], now: float, *, entered: float, failed: bool
    ) -> None:
        """Count one finished request; see the protocol."""
        at = to_us(now)
        for watch in watches:
            gate = self._gates.get(watch.gate)
            tally = self._tallies.get(watch.gate)
            if tally is None:
                tally = self._tallies[watch.gate] = Tally(turned=at)
            tally.count(watch.party, failed=failed, now=at, rule=watch.rule)
            if not failed:
                if gate is not None:
                    self._gates[watch.gate] = gate_rules.passed(gate, at, entered=to_us(entered))
                continue
            gate = gate or Breaker()
            if gate.tripped or tally.trips(watch.rule, at):
                self._gates[watch.gate] = gate_rules.tripped(gate, at, watch.rule)
                tally.clear()

    async def released(self, gates: Sequence[str]) -> None:
        """Give probes back; see the protocol."""
        for name in gates:
            if name in self._gates:
                self._gates[name] = gate_rules.released(self._gates[name])

    def _start(self, ask: LimitCheck, at: int) -> int:
        shelf = self._shelves.get(ask.key)
        if shelf is None:
            return at
        match ask.rule:
            case Window() as rule:
                return window_start(shelf.starts, rule, at)
            case Bucket() as rule:
                return bucket_start(shelf.full_at, rule, at)

    def _spend(self, ask: LimitCheck, start: int) -> None:
        shelf = self._shelves.setdefault(ask.key, _Shelf())
        if len(self._shelves) > MAX_KEYS:
            del self._shelves[next(iter(self._shelves))]
        match ask.rule:
            case Window() as rule:
                window_spend(shelf.starts, rule, start)
                shelf.useless_at = max(shelf.useless_at, start + rule.span_us)
            case Bucket() as rule:
                shelf.full_at = bucket_spend(shelf.full_at, rule, start)
                shelf.useless_at = shelf.full_at

    def _left(self, ask: LimitCheck, at: int) -> tuple[int, int]:
        shelf = self._shelves.get(ask.key, _Shelf())
        match ask.rule:
            case Window() as rule:
                return window_left(shelf.starts, rule, at)
            case Bucket() as rule:
                return bucket_left(shelf.full_at, rule, at)

    def _quotas(self, asks: Sequence[LimitCheck], at: int) -> tuple[Quota, ...]:
        found = []
        for ask in asks:
            left, reset = self._left(ask, at)
            found.append(Quota(ask.name, ask.rule, left, reset / MICRO))
        return tuple(found)

    def _sweep(self, at: int) -> None:
        if at - self._swept < to_us(SWEEP_S):
            return
        self._swept = at
        self._shelves = {k: s for k, s in self._shelves.items() if s.useless_at > at}
        quiet, forgiven = to_us(gate_rules.STRIKE_PAUSE_S), to_us(FORGIVEN_S)
        self._gates = {
            k: g
            for k, g in self._gates.items()
            if max(g.closed_until, g.last_strike) + (forgiven if g.tripped else quiet) > at
        }
        self._tallies = {k: t for k, t in self._tallies.items() if at - t.turned < quiet}
