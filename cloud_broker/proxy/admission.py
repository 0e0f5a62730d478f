"""Who may send to Notion now: the user's limits, the connection's bucket and the gates, at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from msgspec import Struct

from cloud_broker.clock import Clock
from cloud_broker.limits.circuit_breaker import CONNECTION_TRIP, UPSTREAM_TRIP
from cloud_broker.limits.gcra import Bucket, Window
from cloud_broker.limits.limiter import Decision, LimitCheck, Limiter, Quota, Watch
from cloud_broker.proxy.errors import LimitReached, NotSent, ProxyError
from cloud_broker.proxy.outcome import Outcome, Throttle, ThrottleScope
from cloud_broker.proxy.responses import limit_headers
from cloud_broker.proxy.routes import Route

MAX_WAIT_S = 10.0  # longer waits are the caller's
SEATS = 64  # requests of one connection, waiting and under way, besides its burst
_UPSTREAM = "v1:up"
_SCOPES = tuple(ThrottleScope)

# A retry's own allowance, per connection: a tenth of what the connection may send, ten at once.
_RETRY_SHARE = 0.1
_RETRY_BURST = 10


@dataclass(frozen=True, slots=True)
class Budgets:
    """The numbers: the seed's 120 a minute and user (section 3.2), Notion's per connection.

    ``scale`` multiplies every limit per user and endpoint; so does the tier's factor.
    """

    scale: float
    tiers: Mapping[str, float]
    notion_rate: float  # requests a second
    notion_burst: int
    per_minute: int = 120

    def window(self, per_minute: int, tier: str) -> Window:
        """Return the limit per user for a row's number and the user's tier.

        A tier that is not in the table has the least of its factors.
        """
        factor = self.scale * self.tiers.get(tier, min(self.tiers.values(), default=1.0))
        return Window(max(1, int(per_minute * factor)))

    def bucket(self) -> Bucket:
        """Return the limit towards Notion per connection."""
        return Bucket(self.notion_rate, self.notion_burst)

    def retries(self) -> Bucket:
        """Return the limit of resends per connection."""
        return Bucket(self.notion_rate * _RETRY_SHARE, _RETRY_BURST)


class Charge(Enum):
    """What a request to Notion counts for, besides the connection's bucket."""

    USER = "user"  # the user's limits, in all and for the row
    CONNECTION = "connection"  # nothing more: part of a request that was counted already
    RETRY = "retry"  # the connection's allowance of resends


class Party(Struct, frozen=True):
    """Whose request it is."""

    user_id: str
    tier: str
    connection_id: str
    workspace_id: str


class Admitted(Struct, frozen=True):
    """A request that may be sent now; hand it back with what became of it."""

    party: Party
    route: Route
    at: float  # steady clock
    probes: tuple[str, ...]
    quotas: tuple[Quota, ...]


class Admission:
    """Lets requests through and learns from their ends."""

    def __init__(self, limiter: Limiter, clock: Clock, budgets: Budgets) -> None:
        """Decide with ``limiter`` by the numbers of ``budgets``."""
        self._limiter = limiter
        self._clock = clock
        self._budgets = budgets
        self._seats = SEATS + budgets.notion_burst
        self._seated: dict[str, int] = {}
        self._windows: dict[tuple[int, str], Window] = {}  # by number a minute and tier
        self._bucket = budgets.bucket()

    @contextmanager
    def seat(self, party: Party) -> Iterator[None]:
        """Hold one of the connection's places while its request waits or is under way.

        The connections to Notion are shared by all: a user whose requests all take a minute must
        not hold every one of them. Raises LimitReached.
        """
        taken = self._seated.get(party.connection_id, 0)
        if taken >= self._seats:
            raise LimitReached(retry_after_s=1.0)
        self._seated[party.connection_id] = taken + 1
        try:
            yield
        finally:
            left = self._seated[party.connection_id] - 1
            if left:
                self._seated[party.connection_id] = left
            else:
                del self._seated[party.connection_id]

    async def enter(self, party: Party, route: Route, until: float, charge: Charge) -> Admitted:
        """Wait until the request may be sent, at most to ``until`` (steady clock) and MAX_WAIT_S.

        Raises LimitReached or NotSent; nothing is spent then.
        """
        checks = self._checks(party, route, charge)
        breakers = (_UPSTREAM, *(_breaker_of(scope, party, route) for scope in _SCOPES))
        now = self._clock.monotonic()
        until = min(until, now + MAX_WAIT_S)
        quotas: tuple[Quota, ...] = ()
        while True:
            now = self._clock.monotonic()
            decision = await self._limiter.decide(checks, breakers, now, max(0.0, until - now))
            quotas = quotas if not checks and quotas else decision.quotas
            if decision.allowed:
                await self._wait(decision)
                if decision.wait_s == 0 or decision.probes:
                    at = self._clock.monotonic()
                    return Admitted(party, route, at, decision.probes, quotas)
                checks = ()  # spent; but a breaker may have opened meanwhile
            elif decision.refused_by in breakers and now + decision.wait_s <= until:
                await self._clock.sleep(decision.wait_s)
            else:
                raise _refusal(decision, quotas)

    async def _wait(self, decision: Decision) -> None:
        if not decision.wait_s:
            return
        try:
            await self._clock.sleep(decision.wait_s)
        except BaseException:  # the caller has gone: somebody else is to try
            await self._limiter.release_probes(decision.probes)
            raise

    async def report(self, admitted: Admitted, outcome: Outcome) -> None:
        """Take in how an attempt ended: pauses, health, probes."""
        now = self._clock.monotonic()
        party, watches = admitted.party, _watches(admitted.party)
        if outcome.throttle is None:
            await self._limiter.on_finished(
                watches, now, entered=admitted.at, failed=outcome.is_failure
            )
            return
        scope = outcome.throttle.scope
        await self._limiter.on_throttled(
            _breaker_of(scope, party, admitted.route),
            now,
            entered=admitted.at,
            pause_s=_pause(outcome.throttle),
            counts=scope is ThrottleScope.CONNECTION,
        )
        await self._limiter.on_finished(watches[:1], now, entered=admitted.at, failed=False)
        if scope is not ThrottleScope.CONNECTION:
            await self.forget(admitted)

    async def forget(self, admitted: Admitted) -> None:
        """The attempt ended without saying anything about Notion."""
        await self._limiter.release_probes(admitted.probes)

    def _checks(self, party: Party, route: Route, charge: Charge) -> Sequence[LimitCheck]:
        budgets = self._budgets
        bucket = LimitCheck("connection", f"v1:{{c:{party.connection_id}}}:bucket", self._bucket)
        if charge is Charge.CONNECTION:
            return (bucket,)
        if charge is Charge.RETRY:
            retries = LimitCheck(
                "retries", f"v1:{{c:{party.connection_id}}}:retry", budgets.retries()
            )
            return (bucket, retries)
        user = f"v1:{{u:{party.user_id}}}"
        return (
            LimitCheck("user", f"{user}:all", self._window(budgets.per_minute, party.tier)),
            LimitCheck("route", f"{user}:{route.name}", self._window(route.per_minute, party.tier)),
            bucket,
        )

    def _window(self, per_minute: int, tier: str) -> Window:
        """The budget's window, made once: of both arguments there are a handful."""
        found = self._windows.get((per_minute, tier))
        if found is None:
            found = self._windows[per_minute, tier] = self._budgets.window(per_minute, tier)
        return found


def _breaker_of(scope: ThrottleScope, party: Party, route: Route) -> str:
    match scope:
        case ThrottleScope.CONNECTION:
            return f"v1:{{c:{party.connection_id}}}:gate"
        case ThrottleScope.ENDPOINT:
            return f"v1:{{c:{party.connection_id}}}:gate:{route.name}"
        case ThrottleScope.WORKSPACE:
            return f"v1:{{w:{party.workspace_id}}}:gate"


def _watches(party: Party) -> tuple[Watch, Watch]:
    connection = f"v1:{{c:{party.connection_id}}}:gate"
    return (
        Watch(_UPSTREAM, party.connection_id, UPSTREAM_TRIP),
        Watch(connection, party.connection_id, CONNECTION_TRIP),
    )


def _pause(throttle: Throttle) -> float:
    return max(0.001, throttle.pause_s)


def _refusal(decision: Decision, quotas: Sequence[Quota]) -> ProxyError:
    if decision.refused_by == _UPSTREAM:
        return NotSent(retry_after_s=decision.wait_s)
    sign = {"user": "limit_user", "route": "limit_route"}.get(
        decision.refused_by, "limit_connection"
    )
    return LimitReached(
        broker_code=sign, retry_after_s=decision.wait_s, headers=limit_headers(quotas)
    )
