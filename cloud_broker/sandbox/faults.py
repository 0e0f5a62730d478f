"""Holds the fault rules: the calls that they match, their frequency and their effect.

One seeded generator makes all decisions, with one draw per matching probabilistic rule and call,
so that the same calls in the same order meet the same faults. ``misbehave.py`` applies them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from cloud_broker.sandbox.errors import ControlError
from cloud_broker.sandbox.model import Json

# Kind of fault to its parameters with their defaults.
PARAMS: dict[str, dict[str, Any]] = {
    "latency": {"ms": 200, "jitter_ms": 0},
    "search_lag": {"ms": 30_000},
    "hold": {},
    "429": {
        "retry_after": 1,
        "reason": "public_api_request_rate_limit",
        "as_date": False,
    },
    "5xx_before": {"status": 500},
    "5xx_after": {"status": 500},
    "committed_503": {"elapsed_ms": 55_012},
    "uncommitted_503": {},
    "drop_before": {},
    "drop_after": {},
    "late": {"ms": 1000, "answer": "drop"},
    "409": {"applied": False},
    "529": {"retry_after": 1, "as_date": False},
    "garbage": {},
    "truncated": {},
    "html_502": {"applied": False},
    "huge": {"mb": 6},
    "error": {"status": 400, "code": "", "message": "", "applied": False},
}
MODIFIERS = frozenset({"latency", "search_lag", "hold"})
# With these the write is applied and only the response is broken.
APPLYING = frozenset({"5xx_after", "committed_503", "drop_after", "garbage", "truncated", "huge"})
SERVER_ERRORS = (500, 502, 503, 504)
LATE_ANSWERS = ("drop", "504")


class RuleBody(msgspec.Struct, forbid_unknown_fields=True):
    """A posted rule: for all calls, by ``probability``, or ``on`` given calls counted from now."""

    kind: str
    route: str = "*"
    path: str = "*"
    probability: float | None = None
    on: list[int] | None = None
    times: int | None = None
    params: dict[str, Any] = {}
    id: str | None = None


@dataclass(slots=True)
class Rule:
    """An active rule, with its counts."""

    id: str
    kind: str
    route: str
    path: str
    probability: float | None
    on: frozenset[int] | None
    times: int | None
    params: Mapping[str, Any]
    seen: int = 0
    fired: int = 0
    removed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def applied(self) -> bool:
        """Whether the write is applied although the response is broken."""
        return self.kind in APPLYING or bool(self.params.get("applied"))

    def shown(self) -> Json:
        """Render for ``GET /_sandbox/faults``."""
        return {
            "id": self.id,
            "kind": self.kind,
            "route": self.route,
            "path": self.path,
            "probability": self.probability,
            "on": None if self.on is None else sorted(self.on),
            "times": self.times,
            "params": dict(self.params),
            "seen": self.seen,
            "fired": self.fired,
        }


@dataclass(slots=True)
class Effects:
    """The faults of one call."""

    latency_s: float = 0.0
    search_lag_s: float = 0.0
    held_until: list[asyncio.Event] = field(default_factory=list)
    rule: Rule | None = None
    names: list[str] = field(default_factory=list)


class Faults:
    """The active rules, in the order in which they were added."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.rules: dict[str, Rule] = {}
        self.clear()

    def clear(self, seed: int | None = None) -> None:
        """Remove all rules and restart the random numbers."""
        self._seed = self._seed if seed is None else seed
        self._random = random.Random(f"faults {self._seed}")  # noqa: S311 (repeatable)
        removed, self.rules = self.rules, {}
        for rule in removed.values():
            rule.removed.set()
        self._made = 0

    def add(self, body: RuleBody) -> Rule:
        """Activate a rule. Raises ControlError."""
        self._made += 1
        rule = Rule(
            id=body.id or self._free_id(),
            kind=body.kind,
            route=body.route,
            path=body.path,
            probability=body.probability,
            on=None if body.on is None else frozenset(body.on),
            times=body.times,
            params=_read_params(body.kind, body.params),
        )
        if rule.on is not None and rule.probability is not None:
            raise ControlError("Give either probability or on, not both.")
        if rule.probability is not None and not 0 <= rule.probability <= 1:
            raise ControlError("probability must be between 0 and 1.")
        self.rules[rule.id] = rule
        return rule

    def remove(self, rule_id: str) -> None:
        """Remove a rule. Raises ControlError when there is none."""
        rule = self.rules.pop(rule_id, None)
        if rule is None:
            raise ControlError(f"There is no fault {rule_id}.")
        rule.removed.set()

    def choose(self, route: str, path: str) -> Effects:
        """Choose the faults of a new call. The first rule that breaks the response wins."""
        effects = Effects()
        for rule in self.rules.values():
            if not (fnmatchcase(route, rule.route) and fnmatchcase(path, rule.path)):
                continue
            if not self._fires(rule):
                continue
            if rule.kind not in MODIFIERS:
                if effects.rule is not None:
                    continue
                effects.rule = rule
            elif rule.kind == "latency":
                jitter_ms = rule.params["jitter_ms"] * self._random.random()
                effects.latency_s += (rule.params["ms"] + jitter_ms) / 1000
            elif rule.kind == "hold":
                effects.held_until.append(rule.removed)
            else:
                effects.search_lag_s = rule.params["ms"] / 1000
            rule.fired += 1
            effects.names.append(rule.kind)
        return effects

    def _free_id(self) -> str:
        while f"fault-{self._made}" in self.rules:
            self._made += 1
        return f"fault-{self._made}"

    def _fires(self, rule: Rule) -> bool:
        rule.seen += 1
        drawn = self._random.random() if rule.probability is not None else 0.0
        if rule.times is not None and rule.fired >= rule.times:
            return False
        if rule.on is not None:
            return rule.seen in rule.on
        return rule.probability is None or drawn < rule.probability


def _read_params(kind: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    known = PARAMS.get(kind)
    if known is None:
        raise ControlError(f"There is no fault kind {kind!r}. Known: {', '.join(PARAMS)}.")
    for name, value in given.items():
        if name not in known:
            raise ControlError(f"{kind} has no parameter {name!r}. Known: {', '.join(known)}.")
        wanted = type(known[name])
        number = wanted is int and isinstance(value, int | float) and not isinstance(value, bool)
        if not (number or type(value) is wanted):
            raise ControlError(f"{kind}: {name} must be a {wanted.__name__}.")
    params = {**known, **given}
    if kind.startswith("5xx") and params["status"] not in SERVER_ERRORS:
        raise ControlError(f"{kind}: status must be one of {SERVER_ERRORS}.")
    if kind == "late" and params["answer"] not in LATE_ANSWERS:
        raise ControlError(f"late: answer must be one of {LATE_ANSWERS}.")
    return params
