"""What an answer's headers say of limits (draft-ietf-httpapi-ratelimit-headers-09). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from clipperd.broker.reply import Limit

_ITEM = re.compile(r'\s*"([a-z_-]{1,40})"((?:;[a-z]+=[0-9]{1,7})*)\s*', re.ASCII)

_MOST = 10_000  # a larger quota binds nobody here
_LONGEST_S = 3600  # nobody paces a clip by a longer one


def limits(headers: Mapping[str, str]) -> tuple[Limit, ...]:
    """Read ``RateLimit-Policy`` and ``RateLimit`` (lower-case names): those that are in both.

    Whatever has another form or size is left out: it is advice, not a condition.
    """
    policies = _items(headers.get("ratelimit-policy", ""))
    found = []
    for name, state in _items(headers.get("ratelimit", "")).items():
        policy = policies.get(name, {})
        quota, span = policy.get("q", 0), policy.get("w", 0)
        if "r" in state and 0 < quota <= _MOST and 0 < span <= _LONGEST_S:
            reset = min(span, state.get("t", 0))
            found.append(Limit(name, quota, float(span), state["r"], float(reset)))
    return tuple(found)


def _items(text: str) -> dict[str, dict[str, int]]:
    found = {}
    for part in text.split(","):
        item = _ITEM.fullmatch(part)
        if item is not None:
            pairs = (pair.split("=") for pair in item[2].split(";") if pair)
            found[item[1]] = {key: int(number) for key, number in pairs}
    return found
