"""Errors of starting, finding and calling the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipperd.errors import ClipperdError, Kind


class AlreadyRunning(ClipperdError):
    """Another clipperd runs in this home (exit 3)."""

    code = "already_running"
    kind = Kind.CONFLICT
    title = "clipperd is already running"


class PortTaken(ClipperdError):
    """The port of the local API cannot be opened (exit 6)."""

    code = "port_taken"
    kind = Kind.UNAVAILABLE
    title = "The port cannot be opened"


class DaemonDown(ClipperdError):
    """No daemon runs in this home; raised by clients only."""

    code = "daemon_down"
    kind = Kind.UNAVAILABLE
    title = "clipperd is not running"


class DaemonUntrusted(ClipperdError):
    """Another program answers on the daemon's port; the client has sent it no secret."""

    code = "daemon_untrusted"
    kind = Kind.FORBIDDEN
    title = "That is not this user's clipperd"


class ApiError(Exception):
    """The daemon answered a client with an error; the fields are those of its problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        """Take the fields of a problem+json body, and defaults for missing ones."""
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
    """``clipperd start`` started a daemon that did not become ready."""

    code = "daemon_start_failed"
    kind = Kind.UNAVAILABLE
    title = "clipperd did not start"
