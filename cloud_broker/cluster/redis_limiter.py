"""Decides limits in Redis for all brokers: one script call a decision, none for an answer.

Buckets, windows and breakers are Redis keys that expire; Redis's clock counts. The broker computes
a new breaker state with ``circuit_breaker`` and writes it with compare-and-set. Answers only count
towards the share of failures, so the broker gathers them and sends them with its next decision.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from cloud_broker.cluster.redis import Redis, RedisLost
from cloud_broker.cluster.scripts import COMPARE_AND_SET, DECIDE, RESTORE
from cloud_broker.cluster.usage_snapshot import OwnStart, SharedCount, UsageSnapshot
from cloud_broker.limits import circuit_breaker
from cloud_broker.limits.circuit_breaker import JUDGE_EVERY_S, MANY, Breaker, TripRule
from cloud_broker.limits.gcra import MICRO, Bucket, Window, to_us
from cloud_broker.limits.limiter import Decision, LimitCheck, Quota, Watch
from cloud_broker.randomness import Randomness

EPOCH = "v1:epoch"
PROBES = (  # a decision as requests need it: two owners, written keys
    LimitCheck("probe", "v1:{probe:1}:window", Window(1_000_000, 1.0)),
    LimitCheck("probe", "v1:{probe:2}:bucket", Bucket(1e6, 1_000_000)),
)
GATHER_S = 0.1  # longest time an answer waits to be counted
QUIET_S, FORGIVEN_S = 60.0, 3600.0  # lives of a breaker's key: not tripped, tripped
TRIES = 20  # of a compare-and-set; more means that brokers starve each other
PATIENCE = 10  # budgets for a restore in the background

Change = Callable[[Breaker, int], Breaker]


class RedisLimiter:
    """See the protocol ``Limiter``; every method raises RedisLost."""

    def __init__(
        self,
        redis: Redis,
        randomness: Randomness,
        usage: UsageSnapshot,
        *,
        own_clock: bool = True,
    ) -> None:
        """``own_clock``: Redis's clock counts; else the caller's ``now``, for tests."""
        self._redis = redis
        self._name = randomness.new_id()
        self._usage = usage
        self._own_clock = own_clock
        self._offset: int | None = None if own_clock else 0  # Redis's clock less the caller's
        self._answers: dict[tuple[str, str, float], int] = defaultdict(int)
        self._answers_since = 0
        self._unhealthy: set[str] = set()  # breakers with strikes, or tripped
        self._judged: dict[str, int] = {}
        self._restoring = asyncio.Lock()
        self.needs_restore = False  # Redis lost its memory

    async def decide(
        self, checks: Sequence[LimitCheck], breakers: Sequence[str], now: float, max_wait_s: float
    ) -> Decision:
        """Check and spend in one call; see the protocol."""
        at, number = to_us(now), self._usage.number()
        keys = [EPOCH, *(check.key for check in checks), *breakers]
        good = self._take_answers(at) if at - self._answers_since >= to_us(GATHER_S) else []
        for _ in range(TRIES):
            args = self._arguments(checks, at, number, max_wait_s)
            answer = await self._redis.run(DECIDE, keys, args, before=good)
            if answer[0] >= 0:
                return self._read(answer, checks, breakers, at, number)
            async with self._restoring:
                await self._restore_windows(checks, at, str(answer[1]))
            good = []
        raise RedisLost("it keeps losing its memory")

    async def restore(self, now: float) -> None:
        """Check that Redis decides, and restore its memory. Raises RedisLost."""
        at = to_us(now)
        keys = [EPOCH, *(probe.key for probe in PROBES)]
        args = self._arguments(PROBES, at, self._usage.number(), 0.0)
        epoch = str((await self._redis.run(DECIDE, keys, args, patience=PATIENCE))[4])
        self.needs_restore = False
        for key, rule in self._usage.to_report(epoch, at):
            await self._redis.run(RESTORE, [key], self._known(key, rule, at), patience=PATIENCE)
            self._usage.mark_reported(key, rule, at, epoch)

    async def on_throttled(
        self, breaker: str, now: float, *, entered: float, pause_s: float, counts: bool
    ) -> None:
        """Open ``breaker``; see the protocol."""
        offset = await self._clock_offset(to_us(now))
        began, pause_us = to_us(entered) + offset, to_us(pause_s)

        def change(state: Breaker, at: int) -> Breaker:
            return circuit_breaker.on_throttled(
                state, at, entered=began, pause_us=pause_us, counts=counts
            )

        await self._change(breaker, to_us(now) + offset, change)
        self._unhealthy.add(breaker)

    async def on_finished(
        self, watches: Sequence[Watch], now: float, *, entered: float, failed: bool
    ) -> None:
        """Count one finished request; see the protocol."""
        at = to_us(now)
        if not failed:
            if not self._answers:
                self._answers_since = at
            for watch in watches:
                self._answers[watch.breaker, watch.party, watch.rule.span_s] += 1
            unhealthy = [watch.breaker for watch in watches if watch.breaker in self._unhealthy]
            if not unhealthy:
                return
            offset = await self._clock_offset(at)
            began = to_us(entered) + offset
            for breaker in unhealthy:
                await self._change(
                    breaker,
                    at + offset,
                    lambda state, t: circuit_breaker.on_answer(state, t, entered=began),
                )
            return
        offset = await self._clock_offset(at)
        for watch in watches:
            await self._failed(watch, at + offset)

    async def release_probes(self, breakers: Sequence[str]) -> None:
        """Release probes; see the protocol."""
        for breaker in breakers:
            await self._change(breaker, 0, lambda state, _: circuit_breaker.release_probe(state))

    def _arguments(
        self, checks: Sequence[LimitCheck], at: int, number: int, max_wait_s: float
    ) -> list[str | int]:
        args: list[str | int] = [self._now(at), to_us(max_wait_s), self._of(number), len(checks)]
        for check in checks:
            match check.rule:
                case Window() as rule:
                    own = self._starts(self._usage.unreported(check.key, at), at)
                    known = self._usage.shared(check.key).epoch
                    args += ["w", rule.limit, rule.span_us, known, len(own) // 2, *own]
                case Bucket() as bucket:
                    args += ["b", bucket.burst, bucket.interval_us, "", 0]
        return args

    async def _restore_windows(self, checks: Sequence[LimitCheck], at: int, epoch: str) -> None:
        """Restore the windows of ``checks`` in a Redis that lost its memory."""
        self.needs_restore = True
        for check in checks:
            known = self._usage.shared(check.key).epoch
            if isinstance(check.rule, Window) and known not in ("", epoch):
                await self._redis.run(RESTORE, [check.key], self._known(check.key, check.rule, at))
                self._usage.mark_reported(check.key, check.rule, at, epoch)

    def _known(self, key: str, rule: Window, at: int) -> list[str | int]:
        """Return the arguments of RESTORE: this broker's knowledge of a window."""
        shared, reported = self._usage.shared(key), self._usage.reported(key, at)
        own = sorted([*reported, *self._usage.unreported(key, at)], key=lambda one: one.at)
        others, age = max(0, shared.used - len(reported)), max(0, at - shared.at)
        return [self._now(at), rule.limit, rule.span_us, others, age, *self._starts(own, at)]

    def _starts(self, starts: Sequence[OwnStart], at: int) -> list[str | int]:
        """Return the age and the name of each start."""
        return [part for own in starts for part in (at - own.at, self._of(own.number))]

    def _of(self, number: int) -> str:
        return f"{self._name}:{number}"

    def _now(self, at: int) -> int:
        return -1 if self._own_clock else at

    def _read(
        self,
        answer: list[int | str],
        checks: Sequence[LimitCheck],
        breakers: Sequence[str],
        at: int,
        number: int,
    ) -> Decision:
        allowed, wait_us, refused, now, epoch = answer[:5]
        if self._own_clock:
            self._offset = int(now) - at
        started = OwnStart(at + int(wait_us), number) if allowed else None
        rest = answer[5:]
        quotas = []
        for check in checks:
            left, reset, *rest = rest
            quotas.append(Quota(check.name, check.rule, int(left), int(reset) / MICRO))
            if isinstance(check.rule, Window):
                used = check.rule.limit - int(left)
                self._usage.record_count(
                    check.key, check.rule, SharedCount(used, at, str(epoch)), started
                )
        probes = []
        for breaker in breakers:
            mine, text, *rest = rest
            if int(mine):
                probes.append(breaker)
            state = _parsed(str(text))
            if state.strikes or state.tripped:
                self._unhealthy.add(breaker)
            else:
                self._unhealthy.discard(breaker)
        names = ["", *(check.name for check in checks), *breakers]
        return Decision(
            bool(allowed),
            int(wait_us) / MICRO,
            names[int(refused)],
            probes=tuple(probes),
            quotas=tuple(quotas),
        )

    def _take_answers(self, at: int) -> list[tuple[str | int, ...]]:
        """Return the commands that count the gathered answers, and clear them."""
        if self._offset is None or not self._answers:
            return []
        found, self._answers = self._answers, defaultdict(int)
        commands: list[tuple[str | int, ...]] = []
        for (breaker, party, span_s), many in found.items():
            key = _tally(breaker, at + self._offset, span_s)
            commands.append(("HINCRBY", key, f"all:{party}", many))
            commands.append(("PEXPIRE", key, round(span_s * 1000)))
        return commands

    async def _failed(self, watch: Watch, at: int) -> None:
        rule = watch.rule
        key, before = (
            _tally(watch.breaker, at, rule.span_s),
            _tally(watch.breaker, at - to_us(rule.span_s / 2), rule.span_s),
        )
        commands: list[tuple[str | int, ...]] = [
            *self._take_answers(at - (self._offset or 0)),
            ("HINCRBY", key, f"all:{watch.party}", 1),
            ("HINCRBY", key, f"bad:{watch.party}", 1),
            ("PEXPIRE", key, round(rule.span_s * 1000)),
        ]
        state = _parsed(str(await self._redis.execute(*commands, ("GET", watch.breaker)) or ""))
        if state.tripped or await self._trips(watch.breaker, rule, key, before, at):
            await self._change(watch.breaker, at, lambda g, t: circuit_breaker.trip(g, t, rule))
            await self._redis.execute(("DEL", key), ("DEL", before))

    async def _trips(self, breaker: str, rule: TripRule, key: str, before: str, at: int) -> bool:
        """Return whether failures trip the breaker; with many parties, not at every failure."""
        many = int(await self._redis.execute(("HLEN", key)))
        if many > MANY and at - self._judged.get(breaker, 0) < to_us(JUDGE_EVERY_S):
            return False
        self._judged[breaker] = at
        fresh, old = (
            await self._redis.execute(("HGETALL", key)),
            await self._redis.execute(("HGETALL", before)),
        )
        return circuit_breaker.is_failing(_counts(fresh), _counts(old), rule)

    async def _change(self, breaker: str, at: int, change: Change) -> None:
        """Apply ``change`` to the stored breaker; repeat when another broker was faster."""
        for _ in range(TRIES):
            text = str(await self._redis.execute(("GET", breaker)) or "")
            before = _parsed(text)
            after = change(before, at)
            if after == before:
                return
            if await self._redis.run(
                COMPARE_AND_SET, [breaker], [text, _text(after), _life_ms(after, at)]
            ):
                return
        raise RedisLost("other brokers keep changing the breaker")

    async def _clock_offset(self, at: int) -> int:
        if self._offset is None:
            seconds, rest = await self._redis.execute(("TIME",))
            self._offset = int(seconds) * MICRO + int(rest) - at
        return self._offset


def _life_ms(breaker: Breaker, at: int) -> int:
    """Return the life of the breaker's key after ``at``; 0 keeps its life when no time is known."""
    if not at:
        return 0
    kept_us = to_us(FORGIVEN_S if breaker.tripped else QUIET_S)
    return max(1000, (max(breaker.open_until, breaker.last_strike) - at + kept_us) // 1000)


def _tally(breaker: str, at: int, span_s: float) -> str:
    """Return the key of the half span that contains ``at``."""
    return f"{breaker}:tally:{at // to_us(span_s / 2)}"


def _counts(found: dict[str, str]) -> dict[str, tuple[int, int]]:
    parties = {name[4:] for name in found}
    return {
        party: (int(found.get(f"all:{party}", 0)), int(found.get(f"bad:{party}", 0)))
        for party in parties
    }


def _text(breaker: Breaker) -> str:
    return (
        f"{breaker.open_until},{breaker.strikes},{breaker.last_strike},{int(breaker.tripped)},"
        f"{breaker.probe_until}"
    )


def _parsed(text: str) -> Breaker:
    if not text:
        return Breaker()
    closed, strikes, last, tripped, probe = map(int, text.split(","))
    return Breaker(closed, strikes, last, bool(tripped), probe)
