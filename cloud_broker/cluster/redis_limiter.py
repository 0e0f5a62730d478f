"""Limits shared by all brokers in Redis: one script call for a decision, none for a good answer.

Buckets, windows and gates live under the keys of the asks, each with a life of its own; Redis's
clock counts. What changes a gate is computed by ``gates`` here and written if nobody else has
written meanwhile. Good answers only count towards how a gate is judged: they are gathered, and
travel with the next decision.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from cloud_broker.cluster.redis import Redis, RedisLost
from cloud_broker.cluster.scripts import DECIDE, SWAP, TELL
from cloud_broker.cluster.usage_snapshot import Own, UsageSnapshot, View
from cloud_broker.limits import circuit_breaker as gate_rules
from cloud_broker.limits.circuit_breaker import Breaker, TripRule
from cloud_broker.limits.gcra import MICRO, Bucket, Window, to_us
from cloud_broker.limits.limiter import Decision, LimitCheck, Quota, Watch
from cloud_broker.randomness import Randomness

EPOCH = "v1:epoch"
GATHER_S = 0.1  # how long a good answer may wait to be counted
QUIET_S, FORGIVEN_S = 60.0, 3600.0  # how long an open and a tripped gate are remembered
TRIES = 20  # of a guarded write
JUDGE_AGAIN_S = 0.25
PATIENCE = 10
MANY = gate_rules.MANY

Change = Callable[[Breaker, int], Breaker]


class RedisLimiter:
    """See the protocol ``Limiter``; every method raises RedisLost."""

    def __init__(
        self,
        redis: Redis,
        randomness: Randomness,
        recollection: UsageSnapshot,
        *,
        own_clock: bool = True,
    ) -> None:
        """``own_clock``: Redis's; else the caller's ``now`` counts, for tests of the arithmetic."""
        self._redis = redis
        self._name = randomness.new_id()
        self._seen = recollection
        self._own_clock = own_clock
        self._offset: int | None = None if own_clock else 0  # Redis's clock less the caller's
        self._good: dict[tuple[str, str, float], int] = defaultdict(int)
        self._good_since = 0
        self._troubled: set[str] = set()  # gates to which a good answer makes a difference
        self._judged: dict[str, int] = {}
        self._reminding = asyncio.Lock()
        self.has_forgotten = False  # so that ``reach`` should tell it what nobody asks for

    async def decide(
        self, asks: Sequence[LimitCheck], gates: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Check and spend in one call; see the protocol."""
        at, number = to_us(now), self._seen.number()
        keys = [EPOCH, *(ask.key for ask in asks), *gates]
        good = self._take_good(at) if at - self._good_since >= to_us(GATHER_S) else []
        for _ in range(TRIES):
            args = self._asked(asks, at, number, max_wait_s)
            answer = await self._redis.run(DECIDE, keys, args, before=good)
            if answer[0] >= 0:
                return self._read(answer, asks, gates, at, number)
            async with self._reminding:
                await self._remind(asks, at, str(answer[1]))
            good = []
        raise RedisLost("forgetful")

    async def reach(self, now: float) -> None:
        """Ask for a sign of life, and tell everything that this broker knows. Raises RedisLost."""
        at = to_us(now)
        args = self._asked((), at, self._seen.number(), 0.0)
        epoch = str((await self._redis.run(DECIDE, [EPOCH], args))[4])
        self.has_forgotten = False
        for key, rule in self._seen.to_tell(epoch, at):
            await self._redis.run(TELL, [key], self._known(key, rule, at), patience=PATIENCE)
            self._seen.reminded(key, rule, at, epoch)

    async def throttled(
        self, gate: str, now: float, *, entered: float, pause_s: float, counts: bool
    ) -> None:
        """Close ``gate``; see the protocol."""
        offset = await self._clock_offset(to_us(now))
        began, pause_us = to_us(entered) + offset, to_us(pause_s)

        def change(state: Breaker, at: int) -> Breaker:
            return gate_rules.throttled(state, at, entered=began, pause_us=pause_us, counts=counts)

        await self._change(gate, to_us(now) + offset, change)
        self._troubled.add(gate)

    async def finished(
        self, watches: Sequence[Watch], now: float, *, entered: float, failed: bool
    ) -> None:
        """Count one finished request; see the protocol."""
        at = to_us(now)
        if not failed:
            if not self._good:
                self._good_since = at
            for watch in watches:
                self._good[watch.gate, watch.party, watch.rule.span_s] += 1
            troubled = [watch.gate for watch in watches if watch.gate in self._troubled]
            if not troubled:
                return
            offset = await self._clock_offset(at)
            began = to_us(entered) + offset
            for gate in troubled:
                await self._change(
                    gate, at + offset, lambda g, t: gate_rules.passed(g, t, entered=began)
                )
            return
        offset = await self._clock_offset(at)
        for watch in watches:
            await self._failed(watch, at + offset)

    async def released(self, gates: Sequence[str]) -> None:
        """Give probes back; see the protocol."""
        for gate in gates:
            await self._change(gate, 0, lambda state, _: gate_rules.released(state))

    def _asked(
        self, asks: Sequence[LimitCheck], at: int, number: int, max_wait_s: float
    ) -> list[str | int]:
        args: list[str | int] = [self._now(at), to_us(max_wait_s), self._of(number), len(asks)]
        for ask in asks:
            match ask.rule:
                case Window() as rule:
                    untold = self._starts(self._seen.untold(ask.key, at), at)
                    known = self._seen.view(ask.key).epoch
                    args += ["w", rule.limit, rule.span_us, known, len(untold) // 2, *untold]
                case Bucket() as bucket:
                    args += ["b", bucket.burst, bucket.interval_us, "", 0]
        return args

    async def _remind(self, asks: Sequence[LimitCheck], at: int, epoch: str) -> None:
        """Tell a Redis that has forgotten what this broker knows of the windows, once."""
        self.has_forgotten = True
        for ask in asks:
            known = self._seen.view(ask.key).epoch
            if isinstance(ask.rule, Window) and known not in ("", epoch):
                await self._redis.run(TELL, [ask.key], self._known(ask.key, ask.rule, at))
                self._seen.reminded(ask.key, ask.rule, at, epoch)

    def _known(self, key: str, rule: Window, at: int) -> list[str | int]:
        """What this broker knows of a window, as TELL takes it."""
        view, told = self._seen.view(key), self._seen.told(key, at)
        own = sorted([*told, *self._seen.untold(key, at)], key=lambda one: one.at)
        others, age = max(0, view.used - len(told)), max(0, at - view.at)
        return [self._now(at), rule.limit, rule.span_us, others, age, *self._starts(own, at)]

    def _starts(self, starts: Sequence[Own], at: int) -> list[str | int]:
        """Age and name of each."""
        return [part for own in starts for part in (at - own.at, self._of(own.number))]

    def _of(self, number: int) -> str:
        return f"{self._name}:{number}"

    def _now(self, at: int) -> int:
        return -1 if self._own_clock else at

    def _read(
        self,
        answer: list[int | str],
        asks: Sequence[LimitCheck],
        gates: Sequence[str],
        at: int,
        number: int,
    ) -> Decision:
        allowed, wait_us, refused, now, epoch = answer[:5]
        if self._own_clock:
            self._offset = int(now) - at
        started = Own(at + int(wait_us), number) if allowed else None
        rest = answer[5:]
        quotas = []
        for ask in asks:
            left, reset, *rest = rest
            quotas.append(Quota(ask.name, ask.rule, int(left), int(reset) / MICRO))
            if isinstance(ask.rule, Window):
                used = ask.rule.limit - int(left)
                self._seen.saw(ask.key, ask.rule, View(used, at, str(epoch)), started)
        probes = []
        for gate in gates:
            mine, text, *rest = rest
            if int(mine):
                probes.append(gate)
            state = _parsed(str(text))
            if state.strikes or state.tripped:
                self._troubled.add(gate)
            else:
                self._troubled.discard(gate)
        names = ["", *(ask.name for ask in asks), *gates]
        return Decision(
            bool(allowed),
            int(wait_us) / MICRO,
            names[int(refused)],
            probes=tuple(probes),
            quotas=tuple(quotas),
        )

    def _take_good(self, at: int) -> list[tuple[str | int, ...]]:
        """The commands that count the answers gathered so far."""
        if self._offset is None or not self._good:
            return []
        found, self._good = self._good, defaultdict(int)
        commands: list[tuple[str | int, ...]] = []
        for (gate, party, span_s), many in found.items():
            key = _tally(gate, at + self._offset, span_s)
            commands.append(("HINCRBY", key, f"all:{party}", many))
            commands.append(("PEXPIRE", key, round(span_s * 1000)))
        return commands

    async def _failed(self, watch: Watch, at: int) -> None:
        rule = watch.rule
        key, before = (
            _tally(watch.gate, at, rule.span_s),
            _tally(watch.gate, at - to_us(rule.span_s / 2), rule.span_s),
        )
        commands: list[tuple[str | int, ...]] = [
            *self._take_good(at - (self._offset or 0)),
            ("HINCRBY", key, f"all:{watch.party}", 1),
            ("HINCRBY", key, f"bad:{watch.party}", 1),
            ("PEXPIRE", key, round(rule.span_s * 1000)),
        ]
        state = _parsed(str(await self._redis.say(*commands, ("GET", watch.gate)) or ""))
        if state.tripped or await self._trips(watch.gate, rule, key, before, at):
            await self._change(watch.gate, at, lambda g, t: gate_rules.tripped(g, t, rule))
            await self._redis.say(("DEL", key), ("DEL", before))

    async def _trips(self, gate: str, rule: TripRule, key: str, before: str, at: int) -> bool:
        """Judge the gate; one with many parties not at every failure."""
        many = int(await self._redis.say(("HLEN", key)))
        if many > MANY and at - self._judged.get(gate, 0) < to_us(JUDGE_AGAIN_S):
            return False
        self._judged[gate] = at
        fresh, old = (
            await self._redis.say(("HGETALL", key)),
            await self._redis.say(("HGETALL", before)),
        )
        return gate_rules.is_failing(_counts(fresh), _counts(old), rule)

    async def _change(self, gate: str, at: int, change: Change) -> None:
        """Write ``change`` of what stands there, again if another was faster."""
        for _ in range(TRIES):
            text = str(await self._redis.say(("GET", gate)) or "")
            before = _parsed(text)
            after = change(before, at)
            if after == before:
                return
            if await self._redis.run(SWAP, [gate], [text, _text(after), _life_ms(after, at)]):
                return
        raise RedisLost("contended")

    async def _clock_offset(self, at: int) -> int:
        if self._offset is None:
            seconds, rest = await self._redis.say(("TIME",))
            self._offset = int(seconds) * MICRO + int(rest) - at
        return self._offset


def _life_ms(gate: Breaker, at: int) -> int:
    """How long the gate matters after ``at``; 0, as long as before, where no time is known."""
    if not at:
        return 0
    kept_us = to_us(FORGIVEN_S if gate.tripped else QUIET_S)
    return max(1000, (max(gate.closed_until, gate.last_strike) - at + kept_us) // 1000)


def _tally(gate: str, at: int, span_s: float) -> str:
    """The key of the half span in which ``at`` lies."""
    return f"{gate}:tally:{at // to_us(span_s / 2)}"


def _counts(found: dict[str, str]) -> dict[str, tuple[int, int]]:
    parties = {name[4:] for name in found}
    return {
        party: (int(found.get(f"all:{party}", 0)), int(found.get(f"bad:{party}", 0)))
        for party in parties
    }


def _text(gate: Breaker) -> str:
    return (
        f"{gate.closed_until},{gate.strikes},{gate.last_strike},{int(gate.tripped)},"
        f"{gate.probe_until}"
    )


def _parsed(text: str) -> Breaker:
    if not text:
        return Breaker()
    closed, strikes, last, tripped, probe = map(int, text.split(","))
    return Breaker(closed, strikes, last, bool(tripped), probe)
