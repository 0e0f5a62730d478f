"""Counts requests against budgets, as Notion does per connection and per workspace.

https://developers.notion.com/reference/request-limits: a window of 60 seconds with 180 or 600
requests at any pace, and a Retry-After in whole seconds until its end. An earlier version of the
page said "an average of three requests per second, with some bursts": a budget with ``burst``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """``limit`` requests in ``length_s`` seconds, at any pace or in bursts of ``burst``."""

    limit: int
    length_s: float
    burst: int | None = None


@dataclass(slots=True)
class _Account:
    """A window, opened by its first request; with a burst, ``used`` drains over time."""

    since: float
    used: float = 0.0


class Budgets:
    """The spent requests per key; a window opens with the first request after the previous one."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def wait_s(self, key: str, budget: Budget, now: float) -> int:
        """Return 0 when one more request fits, else whole seconds until one does."""
        account = self._current(key, budget, now)
        if budget.burst is None:
            if account.used < budget.limit:
                return 0
            return max(1, math.ceil(account.since + budget.length_s - now))
        over = account.used + 1 - budget.burst
        # The sum of many small drains has a rounding error, which must not cause a wait.
        return 0 if over <= 1e-6 else max(1, math.ceil(over * budget.length_s / budget.limit))

    def spend(self, key: str, budget: Budget, now: float) -> None:
        """Count one request."""
        self._current(key, budget, now).used += 1

    def _current(self, key: str, budget: Budget, now: float) -> _Account:
        account = self._accounts.get(key)
        # After a test sets the clock back, an old window must not stay open for hours.
        if account is None or now < account.since:
            account = self._accounts[key] = _Account(now)
        elif budget.burst is not None:
            drained = (now - account.since) * budget.limit / budget.length_s
            account.since, account.used = now, max(0.0, account.used - drained)
        elif now - account.since >= budget.length_s:
            account = self._accounts[key] = _Account(now)
        return account
