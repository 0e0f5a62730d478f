"""Errors of starting, finding and talking to the daemon as a process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipperd.errors import ClipperdError, Kind


class AlreadyRunning(ClipperdError):
    """Another clipperd owns this home (exit 3)."""

    code = "already_running"
    kind = Kind.CONFLICT
    title = "clipperd is already running"


class DaemonDown(ClipperdError):
    """No daemon answers for this home; raised on the client's side only."""

    code = "daemon_down"
    kind = Kind.UNAVAILABLE
    title = "clipperd is not running"


class DaemonUntrusted(ClipperdError):
    """Something else answers on the daemon's port: it was sent nothing secret."""

    code = "daemon_untrusted"
    kind = Kind.FORBIDDEN
    title = "That is not this user's clipperd"


class ApiError(Exception):
    """The daemon answered a client with a problem document; the fields are the document's."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        """Read a problem+json body; anything else is described by its status."""
        self.status = status
        self.code = str(problem.get("code") or f"http_{status}")
        self.title = str(problem.get("title") or "The daemon refused that")
        self.detail = str(problem.get("detail") or f"The daemon answered {status}.")
        self.hint: str | None = problem.get("hint")
        self.retry_after: float | None = problem.get("retry_after")
        self.params = dict(problem.get("params") or {})
        self.errors: list[dict[str, str]] = list(problem.get("errors") or [])
        super().__init__(f"{self.title}: {self.detail}")


class DaemonStartFailed(ClipperdError):
    """``clipperd start`` began a daemon that did not become ready."""

    code = "daemon_start_failed"
    kind = Kind.UNAVAILABLE
    title = "clipperd did not start"
