"""Derives from one seed which hazards a day has, and how often each strikes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

Table = Sequence[tuple[str, float]]

# Of the writes that reach Notion. Those that are late are applied within its own limit of 60 s.
WRITES: Table = (
    ("429", 0.025),
    ("529", 0.012),
    ("409", 0.01),
    ("5xx_before", 0.02),
    ("5xx_after", 0.02),
    ("committed_503", 0.015),
    ("uncommitted_503", 0.01),
    ("not_connected", 0.01),
    ("drop_before", 0.015),
    ("drop_after", 0.015),
    ("late_drop", 0.01),
    ("late_silent", 0.01),
    ("late_504", 0.01),
    ("truncated", 0.01),
    ("garbage", 0.007),
    ("html_502_before", 0.005),
    ("html_502_after", 0.005),
    ("late_html_502", 0.005),
    ("slow", 0.03),
)
READS: Table = (
    ("429", 0.015),
    ("529", 0.005),
    ("5xx_before", 0.015),
    ("not_connected", 0.005),
    ("drop_before", 0.01),
    ("truncated", 0.005),
    ("slow", 0.02),
)
# Of the requests from the daemon to the broker, whatever they ask.
LINE: Table = (
    ("refused", 0.012),
    ("cut_going", 0.01),
    ("lost_going", 0.004),
    ("cut_waiting", 0.012),
    ("lost_coming", 0.004),
    ("half_answer", 0.008),
    ("html_502", 0.005),
    ("gateway_json", 0.01),
    ("late_going", 0.004),
    ("twice", 0.004),
)


def pick(rng: random.Random, table: Table, scale: float) -> str | None:
    """One of the faults of ``table``, or None; each is ``scale`` times as likely as it says."""
    draw = rng.random()
    for kind, share in table:
        if draw < share * scale:
            return kind
        draw -= share * scale
    return None


@dataclass(frozen=True, slots=True)
class Weather:
    """The hazards of a run; a rate of 0 leaves one out.

    ``notion`` and ``line`` scale the tables above. ``*_steps``: the mean number of callbacks
    between two kills. ``*_s``: the mean seconds between two events of that kind. ``pace_s``: the
    mean seconds between clips. ``skew_s``: Notion's clock less the brokers'.
    """

    notion: float
    line: float
    daemon_steps: int
    broker_steps: int
    broker_freeze_s: float
    suspend_s: float
    stop_s: float
    jump_s: float
    offline_s: float
    full_s: float
    person_s: float
    storage: float
    brokers: int
    daemons: int
    push: bool
    tight: bool
    pace_s: float
    skew_s: float

    @classmethod
    def draw(cls, rng: random.Random) -> Weather:
        """Most hazards on most days, each day with its own mixture."""

        def some(share: float, low: float, high: float) -> float:
            value = rng.uniform(low, high)
            return value if rng.random() < share else 0.0

        return cls(
            notion=some(0.9, 0.3, 1.6),
            line=some(0.8, 0.3, 1.6),
            daemon_steps=int(some(0.75, 500, 6000)),
            broker_steps=int(some(0.6, 300, 5000)),
            broker_freeze_s=some(0.4, 40.0, 400.0),
            suspend_s=some(0.3, 200.0, 1500.0),
            stop_s=some(0.3, 60.0, 900.0),
            jump_s=some(0.4, 60.0, 900.0),
            offline_s=some(0.4, 60.0, 900.0),
            full_s=some(0.3, 60.0, 900.0),
            person_s=some(0.85, 10.0, 200.0),
            storage=some(0.3, 0.0005, 0.005),
            brokers=rng.choice((1, 1, 2, 3)),
            daemons=2 if rng.random() < 0.2 else 1,
            push=rng.random() < 0.5,
            tight=rng.random() < 0.25,
            pace_s=rng.choice((1.0, 5.0, 15.0, 30.0)),
            skew_s=rng.uniform(-3.0, 3.0),
        )

    def calm(self, rng: random.Random, mean_s: float) -> float:
        """Seconds until the next event of a kind that comes every ``mean_s``."""
        return min(rng.expovariate(1.0 / mean_s), 20.0 * mean_s)
