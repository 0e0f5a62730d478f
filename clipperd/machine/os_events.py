"""OS events (wake-up from sleep, clock change, network change) behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Notify = Callable[[], None]


class OsEvents(Protocol):
    """A source that calls ``notify`` on the loop when something happened, without polling.

    A notification only means "check now": it may repeat, and the check may find no change.
    """

    def open(self, notify: Notify) -> None:
        """Start on the running loop. Raises OSError where the system does not offer it."""

    def close(self) -> None:
        """Stop; does nothing when closed already."""
