"""Decide when a lane may send: backoff, requested pauses, limits, the offline state.

Pure. All moments are seconds on the boot clock: a change of the wall clock moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from clipperd.broker.reply import Reply
from clipperd.delivery.quota import Quota
from clipperd.outbox.records import LaneKey

_UNLIMITED = 1_000_000
_SPAN_S = 60.0  # https://developers.notion.com/reference/request-limits counts in minutes
_CAUSE = 30  # writes in a minute; from there on our own writes explain a 429 of Notion's
_NEWS = 0.125  # the weight of the newest round trip, as in TCP (RFC 6298)
_PROBE_S = 120.0  # seconds; a learned limit holds this long before a probe raises it

Key = tuple[str, str, str]
"""The scope of a pause or a limit: "user", "route" or "connection", the account, and which one."""


def backoff(attempts: int, *, base_s: float, cap_s: float, rng: Callable[[], float]) -> float:
    """Return a wait with full jitter: up to ``base_s`` doubled per attempt, at most ``cap_s``.

    ``rng`` returns a number in [0, 1). The wait is at least a tenth of the bound, so that a run of
    small draws cannot flood the server.
    """
    bound: float = min(cap_s, base_s * 2.0 ** min(attempts, 30))
    return bound * (0.1 + 0.9 * rng())


class LearnedLimit(msgspec.Struct):
    """Notion's own limit, which answers do not report: learned from its 429, then probed upwards.

    ``step`` doubles with every probe that succeeds, so that a raised limit is found again.
    """

    quota: Quota = msgspec.field(default_factory=lambda: Quota(_UNLIMITED, _SPAN_S))
    step: int = 1
    changed: float = 0.0

    def counted(self, now: float) -> None:
        """Count an accepted write; raise the limit a little if it has held for long."""
        quota = self.quota
        quota.forget(now)
        quota.spend(now)
        is_full = len(quota.back) >= quota.quota - quota.kept
        if is_full and now - self.changed >= _PROBE_S:
            quota.quota += self.step
            self.step *= 2
            self.changed = now

    def refused(self, now: float) -> None:
        """Take the writes of the last minute as the limit, if they can explain a 429."""
        self.quota.forget(now)
        if len(self.quota.back) >= _CAUSE:
            self.quota.quota = len(self.quota.back)
            self.step, self.changed = 1, now


class Throttle(msgspec.Struct):
    """Deadlines of lanes, requested pauses, and the rest of each limit."""

    lanes: dict[LaneKey, float] = msgspec.field(default_factory=dict)
    pauses: dict[Key, float] = msgspec.field(default_factory=dict)
    quotas: dict[Key, Quota] = msgspec.field(default_factory=dict)
    learned: dict[Key, LearnedLimit] = msgspec.field(default_factory=dict)
    in_flight: dict[LaneKey, float] = msgspec.field(default_factory=dict)
    """When each running step began."""
    round_trip_s: float = 0.0
    """The smoothed duration of a step with a write; 0: none has ended."""
    offline_until: float = 0.0
    resets: int = 0
    """How often all backoffs were cleared: a failure that began before a reset is outdated."""
    _known: dict[tuple[tuple[Key, ...], bool], float] = msgspec.field(default_factory=dict)

    def hold_lane(self, lane: LaneKey, until: float) -> None:
        """Let the lane wait until then."""
        self.lanes[lane] = until

    def hold(self, what: str, lane: LaneKey, until: float) -> None:
        """Let all lanes of a scope wait: the "user", or this lane's "route" or "connection"."""
        key = next(key for key in keys_of(lane) if key[0] == what)
        self.pauses[key] = max(self.pauses.get(key, 0.0), until)
        self._known.clear()

    def free_lane(self, lane: LaneKey) -> None:
        """Clear the lane's backoff."""
        self.lanes.pop(lane, None)

    def free_all(self) -> None:
        """Clear every lane's backoff; pauses that the server asked for stay."""
        self.lanes.clear()
        self.offline_until = 0.0
        self.resets += 1

    def due(self, lane: LaneKey, *, urgent: bool = True) -> float:
        """Return when the lane may send; ``urgent``: the user waits for it."""
        return max(
            self.offline_until, self.lanes.get(lane, 0.0), self._opens(keys_of(lane), urgent)
        )

    def begin(self, lane: LaneKey, now: float, *, urgent: bool) -> None:
        """Count a step as a write in flight until it ends."""
        self.in_flight[lane] = now
        for quota in self.limits_of(keys_of(lane)):
            quota.begin(now, urgent=urgent)
        self._known.clear()

    def end(self, lane: LaneKey) -> None:
        """End the lane's step; if it wrote, :meth:`observe` has run."""
        self.in_flight.pop(lane, None)
        self._known.clear()

    def observe(self, lane: LaneKey, reply: Reply, now: float) -> None:
        """Learn from the answer to a write: the rest of each limit, and Notion's own limit."""
        self._known.clear()
        is_refused = reply.status in (429, 529)
        keys = keys_of(lane)
        for key in keys:
            limit = next((each for each in reply.limits if each.name == key[0]), None)
            if limit is None:
                continue
            quota = self.quotas.get(key)
            if quota is None or (quota.quota, quota.span_s) != (limit.quota, limit.span_s):
                quota = self.quotas[key] = Quota(limit.quota, limit.span_s)
            if not is_refused:
                quota.spend(now)
            quota.observe(
                limit.left, limit.reset_s, now=now, flying=self._writes_in_flight(key, lane)
            )
        learned = self.learned.setdefault(keys[-1], LearnedLimit())
        if not is_refused:
            learned.counted(now)
            took = now - self.in_flight.get(lane, now)
            self.round_trip_s += (took - self.round_trip_s) * (_NEWS if self.round_trip_s else 1.0)
        elif reply.status == 429 and all(limit.left > 0 for limit in reply.limits):
            learned.refused(now)

    def _opens(self, keys: tuple[Key, ...], urgent: bool) -> float:
        """Return when pauses and limits admit one more write; cached until one of them changes."""
        found = self._known.get((keys, urgent))
        if found is None:
            found = max(self.pauses.get(key, 0.0) for key in keys)
            for key in keys:
                flying = self._writes_in_flight(key)
                for quota in self.limits_of((key,)):
                    found = max(found, quota.opens(flying=flying, urgent=urgent))
            self._known[keys, urgent] = found
        return found

    def limits_of(self, keys: tuple[Key, ...]) -> list[Quota]:
        """Return the limits of these scopes: the reported and the learned ones."""
        found = [self.quotas[key] for key in keys if key in self.quotas]
        return found + [self.learned[key].quota for key in keys if key in self.learned]

    def _writes_in_flight(self, key: Key, but: LaneKey | None = None) -> int:
        return sum(lane != but and key in keys_of(lane) for lane in self.in_flight)


def keys_of(lane: LaneKey) -> tuple[Key, ...]:
    """Return the scopes of the lane's writes. A page still to be created has another route."""
    user, workspace, page = lane
    route = "create" if page.startswith("ref:") else "append"
    return ("user", user, ""), ("route", user, route), ("connection", user, workspace)
