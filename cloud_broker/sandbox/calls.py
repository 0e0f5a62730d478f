"""Counts calls per route, and records the result of each call."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from cloud_broker.clock import rfc3339
from cloud_broker.sandbox.model import Json

KEPT_CALLS = 10_000  # calls with details; the counts are complete


@dataclass(slots=True)
class Record:
    """One call. ``status`` is None while it runs or when the connection was dropped."""

    number: int
    at: float
    method: str
    route: str
    path: str
    request_id: str
    status: int | None = None
    token_hint: str | None = None
    fault: str | None = None
    applied: bool = False
    blocks: int = 0

    def shown(self) -> Json:
        """Render for ``GET /_sandbox/calls``."""
        return {
            "n": self.number,
            "at": rfc3339(self.at),
            "method": self.method,
            "route": self.route,
            "path": self.path,
            "status": self.status,
            "token_hint": self.token_hint,
            "fault": self.fault,
            "applied": self.applied,
            "created_blocks": self.blocks,
            "request_id": self.request_id,
        }


class Calls:
    """The calls since the last reset."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Reset all counts."""
        self.by_route: Counter[str] = Counter()
        self.records: deque[Record] = deque(maxlen=KEPT_CALLS)

    @property
    def total(self) -> int:
        """The number of calls."""
        return self.by_route.total()

    def open(self, at: float, method: str, route: str, path: str, request_id: str) -> Record:
        """Count a new call."""
        self.by_route[route] += 1
        record = Record(self.total, at, method, route, path, request_id)
        self.records.append(record)
        return record

    def shown(self) -> Json:
        """Render the counts and the calls, oldest first."""
        return {
            "total": self.total,
            "by_route": dict(self.by_route),
            "calls": [record.shown() for record in self.records],
        }
