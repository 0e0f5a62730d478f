"""Whether clips can leave now, told from the results of real requests: nothing polls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from clipperd.clock import Clock, rfc3339

Reach = Literal["online", "offline", "degraded", "reauth_required", "signed_out"]
Listener = Callable[["Link"], None]

# The broker or Notion behind it answers, but not with what was asked for.
_TROUBLED = frozenset({500, 502, 503, 504, 529})


class Link(msgspec.Struct, frozen=True):
    """How the daemon stands to the world: the state, since when (epoch seconds), and why."""

    state: Reach
    since: float
    why: str | None

    def view(self) -> dict[str, str | None]:
        """The link as clients see it."""
        return {"state": self.state, "since": rfc3339(self.since), "why": self.why}


class Connectivity:
    """The current :class:`Link`. An account that may not send outweighs how the network is."""

    def __init__(self, clock: Clock) -> None:
        """Begin as signed out, with a network believed to work until a request fails."""
        self._clock = clock
        self._network: tuple[Reach, str | None] = ("online", "not_tried_yet")
        self._account: tuple[Reach, str | None] | None = ("signed_out", None)
        self._listeners: list[Listener] = []
        self._link = Link("signed_out", clock.now(), None)

    @property
    def link(self) -> Link:
        """The state now."""
        return self._link

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with each new link whose state or why differs from the last."""
        self._listeners.append(listener)

    def heard(self, status: int) -> None:
        """Take an answer of HTTP ``status`` into account."""
        troubled = status in _TROUBLED
        self._network = ("degraded", f"status_{status}") if troubled else ("online", None)
        self._settle()

    def failed(self, *, sent: bool) -> None:
        """Take a request without an answer into account; ``sent`` if it may have left."""
        self._network = ("degraded", "no_answer") if sent else ("offline", "cannot_connect")
        self._settle()

    def locked(self) -> None:
        """Take into account that the keychain does not open: no request can even begin."""
        self._network = ("degraded", "keychain_locked")
        self._settle()

    def account(self, state: Literal["signed_in", "signed_out", "reauth_required"]) -> None:
        """Take the account's state into account."""
        self._account = None if state == "signed_in" else (state, None)
        self._settle()

    def _settle(self) -> None:
        state, why = self._account or self._network
        if (state, why) == (self._link.state, self._link.why):
            return
        since = self._link.since if state == self._link.state else self._clock.now()
        self._link = Link(state, since, why)
        for listener in tuple(self._listeners):
            listener(self._link)
