"""Limits within a single process: dictionaries without locks, because no method here awaits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cloud_broker.limits import circuit_breaker
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
FORGIVEN_S = 3600.0  # a tripped breaker without an attempt for this long is dropped
MAX_KEYS = 200_000  # beyond it the oldest key is dropped, which grants it one burst more


@dataclass(slots=True)
class _KeyState:
    """The state of one key: a log of starts (window) or one number (bucket)."""

    starts: list[int] = field(default_factory=list)
    full_at: int = 0
    expires_at: int = 0


class MemoryLimiter:
    """See the protocol ``Limiter``. Drops expired state every half minute."""

    def __init__(self) -> None:
        """Start with every rule unspent and every breaker closed."""
        self._keys: dict[str, _KeyState] = {}
        self._breakers: dict[str, Breaker] = {}
        self._tallies: dict[str, Tally] = {}
        self._swept = 0

    async def decide(
        self, checks: Sequence[LimitCheck], breakers: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Check all, then spend all; see the protocol."""
        at = to_us(now)
        self._sweep(at)
        start, slowest = at, ""
        probes = []
        for name in breakers:
            breaker = self._breakers.get(name)
            if breaker is None:
                continue
            found = circuit_breaker.may_pass(breaker, at)
            if found.probe:
                probes.append(name)
            if not found.allowed and at + found.wait_us > start:
                start, slowest = at + found.wait_us, name
        if slowest:  # the caller waits for an open breaker, which may open again meanwhile
            wait_s = (start - at) / MICRO
            return Decision(False, wait_s, slowest, quotas=self._quotas(checks, at))
        for check in checks:
            earliest = self._start(check, at)
            if earliest > start:
                start, slowest = earliest, check.name
        wait_s = (start - at) / MICRO
        if wait_s > max_wait_s:
            return Decision(False, wait_s, slowest, quotas=self._quotas(checks, at))
        for check in checks:
            self._spend(check, start)
        for name in probes:
            self._breakers[name] = circuit_breaker.start_probe(self._breakers[name], at)
        return Decision(True, wait_s, probes=tuple(probes), quotas=self._quotas(checks, at))

    def pause(self, breakers: Sequence[str], now: float) -> Decision | None:
        """Return the refusal by the breaker that stays open longest; None when none is open."""
        at = to_us(now)
        ends = {
            each: self._breakers[each].open_until for each in breakers if each in self._breakers
        }
        name = max(ends, key=ends.__getitem__, default="")
        if not name or ends[name] <= at:
            return None
        return Decision(False, (ends[name] - at) / MICRO, name)

    async def on_throttled(
        self, breaker: str, now: float, *, entered: float, pause_s: float, counts: bool
    ) -> None:
        """Open ``breaker``; see the protocol."""
        self._breakers[breaker] = circuit_breaker.on_throttled(
            self._breakers.get(breaker, Breaker()),
            to_us(now),
            entered=to_us(entered),
            pause_us=to_us(pause_s),
            counts=counts,
        )

    async def on_finished(
        self, watches: Sequence[Watch], now: float, *, entered: float, failed: bool
    ) -> None:
        """Count one finished request; see the protocol."""
        at = to_us(now)
        for watch in watches:
            breaker = self._breakers.get(watch.breaker)
            tally = self._tallies.get(watch.breaker)
            if tally is None:
                tally = self._tallies[watch.breaker] = Tally(rotated_at=at)
            tally.count(watch.party, failed=failed, now=at, rule=watch.rule)
            if not failed:
                if breaker is not None:
                    self._breakers[watch.breaker] = circuit_breaker.on_answer(
                        breaker, at, entered=to_us(entered)
                    )
                continue
            breaker = breaker or Breaker()
            if breaker.tripped or tally.trips(watch.rule, at):
                self._breakers[watch.breaker] = circuit_breaker.trip(breaker, at, watch.rule)
                tally.clear()

    async def release_probes(self, breakers: Sequence[str]) -> None:
        """Release probes; see the protocol."""
        for name in breakers:
            if name in self._breakers:
                self._breakers[name] = circuit_breaker.release_probe(self._breakers[name])

    def _start(self, check: LimitCheck, at: int) -> int:
        state = self._keys.get(check.key)
        if state is None:
            return at
        match check.rule:
            case Window() as rule:
                return window_start(state.starts, rule, at)
            case Bucket() as rule:
                return bucket_start(state.full_at, rule, at)

    def _spend(self, check: LimitCheck, start: int) -> None:
        state = self._keys.setdefault(check.key, _KeyState())
        if len(self._keys) > MAX_KEYS:
            del self._keys[next(iter(self._keys))]
        match check.rule:
            case Window() as rule:
                window_spend(state.starts, rule, start)
                state.expires_at = max(state.expires_at, start + rule.span_us)
            case Bucket() as rule:
                state.full_at = bucket_spend(state.full_at, rule, start)
                state.expires_at = state.full_at

    def _left(self, check: LimitCheck, at: int) -> tuple[int, int]:
        state = self._keys.get(check.key, _KeyState())
        match check.rule:
            case Window() as rule:
                return window_left(state.starts, rule, at)
            case Bucket() as rule:
                return bucket_left(state.full_at, rule, at)

    def _quotas(self, checks: Sequence[LimitCheck], at: int) -> tuple[Quota, ...]:
        found = []
        for check in checks:
            left, reset = self._left(check, at)
            found.append(Quota(check.name, check.rule, left, reset / MICRO))
        return tuple(found)

    def _sweep(self, at: int) -> None:
        if at - self._swept < to_us(SWEEP_S):
            return
        self._swept = at
        self._keys = {k: s for k, s in self._keys.items() if s.expires_at > at}
        quiet, forgiven = to_us(circuit_breaker.STRIKE_PAUSE_S), to_us(FORGIVEN_S)
        self._breakers = {
            k: g
            for k, g in self._breakers.items()
            if max(g.open_until, g.last_strike) + (forgiven if g.tripped else quiet) > at
        }
        self._tallies = {k: t for k, t in self._tallies.items() if at - t.rotated_at < quiet}
