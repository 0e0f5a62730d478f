"""When a lane may try again: backoff, pauses that an answer asked for, the offline state. Pure.

All moments are seconds on the boot clock, so that a change of the wall clock moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from clipperd.model import Scope
from clipperd.outbox.records import LaneKey


def backoff(attempts: int, *, base_s: float, cap_s: float, rng: Callable[[], float]) -> float:
    """Full jitter: anywhere up to ``base_s`` doubled per attempt, at most ``cap_s``.

    ``rng`` returns a number in [0, 1). Never less than a tenth of the bound, so that a run of
    small draws cannot hammer.
    """
    bound: float = min(cap_s, base_s * 2.0 ** min(attempts, 30))
    return bound * (0.1 + 0.9 * rng())


class Pace(msgspec.Struct):
    """Deadlines of lanes and of what an answer told to wait."""

    lanes: dict[LaneKey, float] = msgspec.field(default_factory=dict)
    pauses: dict[tuple[str, ...], float] = msgspec.field(default_factory=dict)
    link: float = 0.0

    def hold_lane(self, lane: LaneKey, until: float) -> None:
        """This lane rests until then."""
        self.lanes[lane] = until

    def hold(self, what: str, scope: Scope, until: float) -> None:
        """Everything that ``what`` covers rests: a "route" or "user" of the account, or the
        "connection" to one workspace."""
        key = (what, scope.user_id, scope.workspace_id if what == "connection" else "")
        self.pauses[key] = max(self.pauses.get(key, 0.0), until)

    def free_lane(self, lane: LaneKey) -> None:
        """This lane is due at once."""
        self.lanes.pop(lane, None)

    def free_all(self) -> None:
        """Every lane is due at once; what the server asked for stays."""
        self.lanes.clear()
        self.link = 0.0

    def due(self, lane: LaneKey) -> float:
        """The moment from which this lane may send."""
        user, workspace, _ = lane
        return max(
            self.link,
            self.lanes.get(lane, 0.0),
            self.pauses.get(("route", user, ""), 0.0),
            self.pauses.get(("user", user, ""), 0.0),
            self.pauses.get(("connection", user, workspace), 0.0),
        )
