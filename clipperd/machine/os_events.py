"""OS events (wake-up from sleep, clock change, network change) behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Notify = Callable[[], None]


class OsEvents(Protocol):
    """A source that wakes nobody until something happens, and then calls ``tell`` on the loop.

    It says only that it is time to look: the same thing may be told several times, and what was
    told may turn out to be nothing.
    """

    def open(self, tell: Notify) -> None:
        """Begin, on the running loop. Raises OSError where the system does not offer it."""

    def close(self) -> None:
        """Tell nothing more; closing again is fine."""
