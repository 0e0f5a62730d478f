"""Tracks whether clips can be sent, from the results of real requests; it never polls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypedDict

import msgspec

from clipperd.clock import Clock, rfc3339

State = Literal["online", "offline", "degraded", "reauth_required", "signed_out"]
Observer = Callable[["ConnectivityStatus"], None]

NOT_CONFIGURED = "broker_not_configured"
_SERVER_ERRORS = frozenset({500, 502, 503, 504, 529})  # the broker or Notion has a problem


class ConnectivityView(TypedDict):
    """Whether clips can be sent, since when, and why not."""

    state: State
    since: str
    why: str | None


class ConnectivityStatus(msgspec.Struct, frozen=True):
    """The state, since when (epoch seconds), and why."""

    state: State
    since: float
    why: str | None

    def view(self) -> ConnectivityView:
        """Return the status as clients see it."""
        return {"state": self.state, "since": rfc3339(self.since), "why": self.why}


class Connectivity:
    """Holds the current status. Account errors take precedence over the network's state."""

    def __init__(self, clock: Clock, *, has_broker: bool = True) -> None:
        """Start as signed out; the network counts as online until a request fails.

        ``has_broker`` False: no address is configured, so nothing is ever sent.
        """
        self._clock = clock
        self._network: tuple[State, str | None] = ("online", "not_tried_yet")
        self._why = None if has_broker else NOT_CONFIGURED
        if self._why is not None:
            self._network = ("offline", self._why)
        self._account: tuple[State, str | None] | None = ("signed_out", self._why)
        self._observers: list[Observer] = []
        self.failure: str | None = None  # the sentence of the last request, if it failed
        self._status = ConnectivityStatus("signed_out", clock.now(), self._why)

    @property
    def status(self) -> ConnectivityStatus:
        """The current status."""
        return self._status

    def observe(self, observer: Observer) -> None:
        """Call ``observer`` with each status whose state or why differs from the last."""
        self._observers.append(observer)

    def answered(self, status: int) -> None:
        """Record an answer of HTTP ``status``."""
        is_error = status in _SERVER_ERRORS
        self.failure = None
        self._network = ("degraded", f"status_{status}") if is_error else ("online", None)
        self._update()

    def failed(self, *, sent: bool, sentence: str | None = None) -> None:
        """Record a request without an answer; ``sent`` if bytes may have left."""
        self.failure = sentence
        self._network = ("degraded", "no_answer") if sent else ("offline", "cannot_connect")
        self._update()

    def keychain_locked(self) -> None:
        """Record that the keychain is locked, so no request has a token."""
        self._network = ("degraded", "keychain_locked")
        self._update()

    def account_changed(self, state: Literal["signed_in", "signed_out", "reauth_required"]) -> None:
        """Record the account's state."""
        self._account = None if state == "signed_in" else (state, self._why)
        self._update()

    def _update(self) -> None:
        state, why = self._account or self._network
        if (state, why) == (self._status.state, self._status.why):
            return
        since = self._status.since if state == self._status.state else self._clock.now()
        self._status = ConnectivityStatus(state, since, why)
        for observer in tuple(self._observers):
            observer(self._status)
