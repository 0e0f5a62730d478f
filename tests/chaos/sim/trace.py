"""Records the events of a run in order: as a fingerprint and, on demand, as lines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tests.chaos.sim.loop import Loop


class Trace:
    """Takes notes; two runs with the same notes at the same moments have the same ``digest``."""

    def __init__(self, loop: Loop, show: Callable[[str], None] | None = None) -> None:
        """``show`` gets every line as it is written."""
        self._loop = loop
        self._hash = hashlib.sha256()
        self._show = show
        self.lines = 0

    def note(self, who: str, what: str) -> None:
        """Note that ``who`` did or met ``what`` now."""
        line = f"{self._loop.time():14.6f} {who:<10} {what}"
        self._hash.update(line.encode())
        self.lines += 1
        if self._show is not None:
            self._show(line)

    @property
    def digest(self) -> str:
        """The fingerprint so far."""
        return self._hash.hexdigest()[:16]
