"""Fixed windows of requests, as Notion counts them per connection and per workspace.

https://developers.notion.com/reference/request-limits: a 60-second window, 180 or 600 requests
at any pace within it, Retry-After in whole seconds to its end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class _Window:
    started_at: float
    used: int = 0


class Windows:
    """Counts per key; a window opens with the first request after the last one closed."""

    def __init__(self) -> None:
        """Start with no window open."""
        self._open: dict[str, _Window] = {}

    def check(self, key: str, limit: int, length_s: float, now: float) -> int:
        """Return 0 when one more request fits, else whole seconds until the window ends."""
        window = self._current(key, length_s, now)
        if window.used < limit:
            return 0
        return max(1, math.ceil(window.started_at + length_s - now))

    def spend(self, key: str, length_s: float, now: float) -> None:
        """Count one request."""
        self._current(key, length_s, now).used += 1

    def _current(self, key: str, length_s: float, now: float) -> _Window:
        window = self._open.get(key)
        # A clock that a test turned back must not leave a window open for hours.
        if window is None or not 0 <= now - window.started_at < length_s:
            window = self._open[key] = _Window(now)
        return window
