"""Estimate when the queue is empty, from limits, pauses and queued requests. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from clipperd.delivery.quota import GRACE_S, Quota
from clipperd.delivery.throttle import Key, Throttle, keys_of
from clipperd.outbox.records import LaneKey

_QUOTA, _SPAN_S = (
    20,
    60.0,
)  # the broker's default for appends, used until an answer reports the limit


def seconds_left(
    loads: Mapping[LaneKey, int], throttle: Throttle, *, now: float, begins: float, places: int
) -> float | None:
    """Return the seconds until the last of ``loads`` (requests per lane) is sent; None: unknown.

    ``now`` and ``begins`` (the end of a pause) are on the boot clock; ``places`` lanes run in
    parallel. The longest of these decides: a lane's own requests one after the other, all of them
    through the parallel slots, or a shared limit.
    """
    if not loads or throttle.offline_until > now:
        return None
    ends = [begins + sum(loads.values()) * throttle.round_trip_s / places]
    shares: dict[Key, int] = {}
    for lane, requests in loads.items():
        keys = keys_of(lane)
        starts = max(
            begins, throttle.lanes.get(lane, 0.0), *(throttle.pauses.get(k, 0.0) for k in keys)
        )
        ends.append(starts + requests * throttle.round_trip_s)
        for key in keys:
            shares[key] = shares.get(key, 0) + requests
    is_limit_known = bool(throttle.quotas or throttle.learned)
    for key, requests in shares.items():
        starts = max(begins, throttle.pauses.get(key, 0.0))
        limits = throttle.limits_of((key,))
        if not is_limit_known and key[0] == "route":
            limits.append(Quota(_QUOTA, _SPAN_S))
        ends += [_leaves(requests, limit, starts) for limit in limits]
    return max(0.0, max(ends) - now)


def _leaves(requests: int, limit: Quota, starts: float) -> float:
    """Return when the last of ``requests`` is sent, if no other program uses the limit.

    The reserved share stays unused (except for a moment before it is restored, see
    ``Quota.opens``); each write returns to the quota one span later.
    """
    usable = limit.quota - limit.kept
    rounds, place = divmod(requests - 1, usable)
    used = place + limit.kept - (limit.quota - len(limit.back))
    first = starts if used < 0 else max(starts, limit.back[used])
    return first + rounds * max(limit.span_s - GRACE_S, limit.span_s * usable / limit.quota)
