"""When the queue will be empty, by what is known of the limits, the pauses, the line. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from clipperd.delivery.quota import GRACE_S, Quota
from clipperd.delivery.throttle import Key, Throttle, keys_of
from clipperd.outbox.records import LaneKey

_QUOTA, _SPAN_S = 20, 60.0  # the broker's default for appends, until an answer came


def seconds_left(
    loads: Mapping[LaneKey, int], throttle: Throttle, *, now: float, begins: float, places: int
) -> float | None:
    """The seconds until the last of ``loads`` (requests per lane) has left; None: nobody can tell.

    ``now`` and ``begins`` (when the queue may move at all) are on the boot clock; ``places`` lanes
    move at once. Whatever holds longest decides: a lane's own requests one after the other, all of
    them through the places, or a limit that they share.
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
    heard = bool(throttle.quotas or throttle.learned)
    for key, requests in shares.items():
        starts = max(begins, throttle.pauses.get(key, 0.0))
        limits = throttle.limits_of((key,))
        if not heard and key[0] == "route":
            limits.append(Quota(_QUOTA, _SPAN_S))
        ends += [_leaves(requests, limit, starts) for limit in limits]
    return max(0.0, max(ends) - now)


def _leaves(requests: int, limit: Quota, starts: float) -> float:
    """When the last of so many leaves, if nobody else draws on the limit.

    What is kept for people stays (but for a moment before it is made good, as ``Budget.opens``
    allows); each write that leaves comes back one span later.
    """
    usable = limit.quota - limit.kept
    rounds, place = divmod(requests - 1, usable)
    used = place + limit.kept - (limit.quota - len(limit.back))
    first = starts if used < 0 else max(starts, limit.back[used])
    return first + rounds * max(limit.span_s - GRACE_S, limit.span_s * usable / limit.quota)
