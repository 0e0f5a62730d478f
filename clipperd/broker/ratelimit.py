"""Parses the rate limit headers of draft-ietf-httpapi-ratelimit-headers-09."""

from __future__ import annotations

import re
from collections.abc import Mapping

from clipperd.broker.reply import Limit

_ITEM = re.compile(r'\s*"([a-z_-]{1,40})"((?:;[a-z]+=[0-9]{1,7})*)\s*', re.ASCII)

_MAX_QUOTA = 10_000  # larger quotas never limit one daemon
_MAX_WINDOW_S = 3600  # longer windows are no help in pacing clips


def limits(headers: Mapping[str, str]) -> tuple[Limit, ...]:
    """Return the limits named in both ``RateLimit-Policy`` and ``RateLimit`` (lower-case names).

    Skips malformed or very large limits: the headers are advice only.
    """
    policies = _items(headers.get("ratelimit-policy", ""))
    found = []
    for name, state in _items(headers.get("ratelimit", "")).items():
        policy = policies.get(name, {})
        quota, window = policy.get("q", 0), policy.get("w", 0)
        if "r" in state and 0 < quota <= _MAX_QUOTA and 0 < window <= _MAX_WINDOW_S:
            reset = min(window, state.get("t", 0))
            found.append(Limit(name, quota, float(window), state["r"], float(reset)))
    return tuple(found)


def _items(text: str) -> dict[str, dict[str, int]]:
    found = {}
    for part in text.split(","):
        item = _ITEM.fullmatch(part)
        if item is not None:
            pairs = (pair.split("=") for pair in item[2].split(";") if pair)
            found[item[1]] = {key: int(number) for key, number in pairs}
    return found
