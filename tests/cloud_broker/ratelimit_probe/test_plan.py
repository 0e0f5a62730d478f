"""Phases, their times, and the due time of each request."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cloud_broker.ratelimit_probe.plan import Limit, Phase, Plan, all_pairs, schedule


def a_plan(**changes: float) -> Plan:
    shape = {"rate": 4.0, "duration_s": 180.0, "cool_down_s": 60.0, **changes}
    return Plan(("A", "B"), (("A", "B"),), expected=Limit(180, 60), **shape)


def test_each_token_is_asked_with_alone_and_each_pair_together() -> None:
    labels = ("A", "B", "C")
    plan = Plan(labels, all_pairs(labels), 4, 180, 60, Limit(180, 60))
    told = [phase.name for phase in plan.phases]
    assert told == ["A alone", "B alone", "C alone", "A with B", "A with C", "B with C"]


def test_the_estimate_is_what_is_sent_and_how_long_it_takes() -> None:
    plan = a_plan()
    # Two alone and one pair of 720 each, and two that ask who they are.
    assert plan.requests == 4 * 720 + 2
    assert plan.seconds == 3 * 180 + 2 * 60


def test_phases_begin_whole_windows_apart_and_never_before_they_may() -> None:
    plan = a_plan(duration_s=100)
    assert plan.next_start(7, 0) == 7 + 180  # 160 s later would be in the middle of a window
    assert plan.next_start(7, 7 + 181) == 7 + 240
    assert a_plan().next_start(0, 0) == 240


@given(
    st.floats(0.5, 20), st.floats(2, 60), st.integers(0, 1000), st.sampled_from(["A", "B", "AB"])
)
def test_a_schedule_has_every_request_in_its_pace(
    rate: float, duration_s: float, number: int, tokens: str
) -> None:
    plan = a_plan(rate=rate, duration_s=duration_s)
    due = schedule(Phase(tuple(tokens)), plan, random.Random(number))
    assert due == sorted(due)
    for token in tokens:
        mine = [at for at, name in due if name == token]
        assert len(mine) == plan.per_token
        paces = [int(at * rate + 1e-9) for at in mine]
        assert paces == list(range(plan.per_token))
        assert all(0 <= at <= duration_s for at in mine)


def test_a_seed_repeats_a_schedule_and_another_does_not() -> None:
    plan, phase = a_plan(), Phase(("A", "B"))
    first = schedule(phase, plan, random.Random(1))
    assert first == schedule(phase, plan, random.Random(1))
    assert first != schedule(phase, plan, random.Random(2))
