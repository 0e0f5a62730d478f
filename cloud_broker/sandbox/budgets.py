"""Budgets of requests, as Notion counts them per connection and per workspace.

https://developers.notion.com/reference/request-limits: a window of 60 seconds with 180 or 600
requests at any pace within it, Retry-After in whole seconds to its end. The page said before "an
average of three requests per second, with some bursts": that is a bucket, a budget with a burst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """``limit`` requests in ``length_s`` seconds: at any pace, or at most ``burst`` at once."""

    limit: int
    length_s: float
    burst: int | None = None


@dataclass(slots=True)
class _Account:
    """A window, opened by its first request; in a bucket ``used`` drains as time goes by."""

    since: float
    used: float = 0.0


class Budgets:
    """What is spent, per key; a window opens with the first request after the last one closed."""

    def __init__(self) -> None:
        """Start with nothing spent."""
        self._accounts: dict[str, _Account] = {}

    def wait_s(self, key: str, budget: Budget, now: float) -> int:
        """Return 0 when one more request fits, else whole seconds until one does."""
        account = self._current(key, budget, now)
        if budget.burst is None:
            if account.used < budget.limit:
                return 0
            return max(1, math.ceil(account.since + budget.length_s - now))
        over = account.used + 1 - budget.burst
        # A sum of many small drains is not exact; a request must not wait for a billionth.
        return 0 if over <= 1e-6 else max(1, math.ceil(over * budget.length_s / budget.limit))

    def spend(self, key: str, budget: Budget, now: float) -> None:
        """Count one request."""
        self._current(key, budget, now).used += 1

    def _current(self, key: str, budget: Budget, now: float) -> _Account:
        account = self._accounts.get(key)
        # A clock that a test turned back must not leave a window open for hours.
        if account is None or now < account.since:
            account = self._accounts[key] = _Account(now)
        elif budget.burst is not None:
            drained = (now - account.since) * budget.limit / budget.length_s
            account.since, account.used = now, max(0.0, account.used - drained)
        elif now - account.since >= budget.length_s:
            account = self._accounts[key] = _Account(now)
        return account
