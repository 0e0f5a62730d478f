"""Admits requests to Notion: checks limits, connection bucket and circuit breakers together."""

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

MAX_WAIT_S = 10.0  # seconds; for longer waits the client gets a Retry-After
SEATS = 64  # waiting and running requests of one connection, besides its burst
_UPSTREAM = "v1:up"
_SCOPES = tuple(ThrottleScope)

# Retries have a limit of their own per connection: a tenth of its rate, with a burst of ten.
_RETRY_SHARE = 0.1
_RETRY_BURST = 10


@dataclass(frozen=True, slots=True)
class Budgets:
    """The limits: 120 requests a minute per user (seed section 3.2), Notion's per connection.

    ``scale`` and the tier's factor multiply every limit per user and endpoint.
    """

    scale: float
    tiers: Mapping[str, float]
    notion_rate: float  # requests a second
    notion_burst: int
    per_minute: int = 120

    def window(self, per_minute: int, tier: str) -> Window:
        """Return the limit per user for a row's number and the user's tier.

        An unknown tier has the smallest factor of the table.
        """
        factor = self.scale * self.tiers.get(tier, min(self.tiers.values(), default=1.0))
        return Window(max(1, int(per_minute * factor)))

    def bucket(self) -> Bucket:
        """Return the limit of requests to Notion per connection."""
        return Bucket(self.notion_rate, self.notion_burst)

    def retries(self) -> Bucket:
        """Return the limit of retries per connection."""
        return Bucket(self.notion_rate * _RETRY_SHARE, _RETRY_BURST)


class Charge(Enum):
    """The limits that count a request, besides the connection's bucket."""

    USER = "user"  # the user's limits, in total and for the row
    CONNECTION = "connection"  # none: part of a request that is already counted
    RETRY = "retry"  # the connection's limit of retries


class Party(Struct, frozen=True):
    """The user, connection and workspace of a request."""

    user_id: str
    tier: str
    connection_id: str
    workspace_id: str


class Admitted(Struct, frozen=True):
    """A request that may be sent now; pass it to ``report`` or ``forget`` afterwards."""

    party: Party
    route: Route
    at: float  # monotonic clock
    probes: tuple[str, ...]
    quotas: tuple[Quota, ...]


class Admission:
    """Admits requests and learns from their outcomes."""

    def __init__(self, limiter: Limiter, clock: Clock, budgets: Budgets) -> None:
        """Decide with ``limiter`` by the limits of ``budgets``."""
        self._limiter = limiter
        self._clock = clock
        self._budgets = budgets
        self._seats = SEATS + budgets.notion_burst
        self._seated: dict[str, int] = {}
        self._windows: dict[tuple[int, str], Window] = {}  # by number a minute and tier
        self._bucket = budgets.bucket()

    @contextmanager
    def seat(self, party: Party) -> Iterator[None]:
        """Hold one of the connection's slots while its request waits or runs.

        All users share the sockets to Notion: one user's slow requests must not hold all of them.
        Raises LimitReached.
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
        """Wait until the request may be sent: up to ``until`` (monotonic) and MAX_WAIT_S.

        Raises LimitReached or NotSent; the request then counts for no limit.
        """
        checks = self._checks(party, route, charge)
        breakers = (_UPSTREAM, *(_breaker_key(scope, party, route) for scope in _SCOPES))
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
                checks = ()  # already counted; but a breaker may have opened during the wait
            elif decision.refused_by in breakers and now + decision.wait_s <= until:
                await self._clock.sleep(decision.wait_s)
            else:
                raise _refusal(decision, quotas)

    async def _wait(self, decision: Decision) -> None:
        if not decision.wait_s:
            return
        try:
            await self._clock.sleep(decision.wait_s)
        except BaseException:  # cancelled: let another request probe
            await self._limiter.release_probes(decision.probes)
            raise

    async def report(self, admitted: Admitted, outcome: Outcome) -> None:
        """Update pauses, health and probes from the outcome of an attempt."""
        now = self._clock.monotonic()
        party, watches = admitted.party, _watches(admitted.party)
        if outcome.throttle is None:
            await self._limiter.on_finished(
                watches, now, entered=admitted.at, failed=outcome.is_failure
            )
            return
        scope = outcome.throttle.scope
        await self._limiter.on_throttled(
            _breaker_key(scope, party, admitted.route),
            now,
            entered=admitted.at,
            pause_s=_pause(outcome.throttle),
            counts=scope is ThrottleScope.CONNECTION,
        )
        await self._limiter.on_finished(watches[:1], now, entered=admitted.at, failed=False)
        if scope is not ThrottleScope.CONNECTION:
            await self.forget(admitted)

    async def forget(self, admitted: Admitted) -> None:
        """Release the probes of an attempt that tells nothing about Notion."""
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
        """Return the budget's window from a cache: few combinations exist."""
        found = self._windows.get((per_minute, tier))
        if found is None:
            found = self._windows[per_minute, tier] = self._budgets.window(per_minute, tier)
        return found


def _breaker_key(scope: ThrottleScope, party: Party, route: Route) -> str:
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
    code = {"user": "limit_user", "route": "limit_route"}.get(
        decision.refused_by, "limit_connection"
    )
    return LimitReached(
        broker_code=code, retry_after_s=decision.wait_s, headers=limit_headers(quotas)
    )
