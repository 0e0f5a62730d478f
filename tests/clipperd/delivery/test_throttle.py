"""The throttle decides when the next write may leave: tables, and one property for all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipperd.broker.reply import Limit, Reply
from clipperd.delivery.quota import GRACE_S, Quota
from clipperd.delivery.throttle import Throttle
from clipperd.outbox.records import LaneKey

A: LaneKey = ("user", "home", "page-a")
B: LaneKey = ("user", "home", "page-b")
NEW: LaneKey = ("user", "home", "ref:1")
WORK: LaneKey = ("user", "work", "page-c")
OTHER: LaneKey = ("somebody", "home", "page-a")
NEVER = float("inf")


def route(left: int, reset_s: float = 0.0, status: int = 200) -> Reply:
    """An answer that tells what is left of 20 a minute."""
    return Reply(status, limits=(Limit("route", 20, 60.0, left, reset_s),))


@pytest.mark.parametrize(
    ("back", "flying", "urgent", "opens"),
    [
        ([], 0, False, 0.0),
        ([], 20, True, NEVER),  # none before one of those has been answered
        ([], 19, False, NEVER),  # the last is kept
        ([], 19, True, 0.0),
        ([50.0] * 19, 0, True, 0.0),
        ([50.0] * 19, 0, False, 50.0 - GRACE_S),  # made good at once
        ([50.0] * 18 + [51.0] * 2, 0, False, 50.0),
        ([50.0] + [70.0] * 19, 0, True, 50.0),
        ([50.0] + [70.0] * 19, 0, False, 70.0 - GRACE_S),
        ([50.0] * 18, 1, False, 50.0 - GRACE_S),
        ([50.0] * 18, 2, True, 50.0),
        ([50.0] * 5, 0, False, 0.0),
    ],
)
def test_the_next_write_leaves_when_enough_is_left_for_it_and_for_people(
    back: Sequence[float], flying: int, urgent: bool, opens: float
) -> None:
    quota = Quota(20, 60.0, list(back))
    assert quota.opens(flying=flying, urgent=urgent) == opens


def test_once_half_is_used_what_is_not_urgent_spreads() -> None:
    half = Quota(20, 60.0, [100.0] * 10, last=40.0)
    assert half.opens(flying=0, urgent=False) == 42.25
    assert half.opens(flying=0, urgent=True) == 0.0
    assert Quota(20, 60.0, [100.0] * 9, last=40.0).opens(flying=0, urgent=False) == 0.0


@pytest.mark.parametrize(
    ("back", "people", "opens"),
    [
        ([100.0] * 15, 60.0, 60.0),  # five are kept for whoever has just clipped
        ([100.0] * 14, 60.0, 0.0),
        ([50.0] + [100.0] * 14, 60.0, 50.0 - GRACE_S),
        ([100.0] * 18, 60.0, 60.0),  # later one is enough
        ([100.0] * 19, 60.0, 100.0 - GRACE_S),
    ],
)
def test_more_is_kept_for_a_while_after_a_persons_write(
    back: Sequence[float], people: float, opens: float
) -> None:
    quota = Quota(20, 60.0, list(back), last=-60.0)
    quota.begin(people - 60.0, urgent=True)
    assert quota.opens(flying=0, urgent=False) == opens
    assert quota.opens(flying=0, urgent=True) == 0.0


@pytest.mark.parametrize(
    ("quota", "kept", "burst"), [(5, 0, 0), (6, 1, 1), (10, 1, 2), (20, 1, 5), (180, 9, 9)]
)
def test_the_share_kept_for_people_follows_the_quota(quota: int, kept: int, burst: int) -> None:
    assert (Quota(quota, 60.0).kept, Quota(quota, 60.0).burst) == (kept, burst)


@pytest.mark.parametrize(
    ("back", "left", "reset_s", "flying", "after"),
    [
        ([], 20, 0.0, 0, []),
        ([], 18, 30.0, 0, [30.0, 33.0]),  # others have used two: the first as told
        ([40.0, 50.0], 18, 40.0, 0, [40.0, 50.0]),
        ([40.0, 50.0], 19, 50.0, 0, [50.0]),  # one came back sooner than we thought
        ([40.0, 50.0], 20, 0.0, 1, [50.0]),  # ... unless that is what is still on its way
        ([40.0, 50.0], 18, 1.0, 0, [1.0, 50.0]),  # a bucket refills sooner than a window
    ],
)
def test_the_limits_own_word_is_taken_over(
    back: Sequence[float], left: int, reset_s: float, flying: int, after: Sequence[float]
) -> None:
    quota = Quota(20, 60.0, list(back))
    quota.observe(left, reset_s, now=0.0, flying=flying)
    assert quota.back == list(after)


@given(
    quota=st.integers(1, 30),
    gaps=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=120),
    urgent=st.lists(st.booleans(), min_size=120, max_size=120),
)
def test_writes_by_the_quota_never_exceed_its_window(
    quota: int, gaps: Sequence[float], urgent: Sequence[bool]
) -> None:
    limit, now, starts = Quota(quota, 60.0), 0.0, []
    for gap, mine in zip(gaps, urgent, strict=False):
        now = max(now + gap, limit.opens(flying=0, urgent=mine))
        limit.forget(now)
        limit.spend(now)
        starts.append(now)
    for first, over in zip(starts, starts[quota:], strict=False):
        assert over - first >= 60.0 - 1e-6


def test_what_is_on_its_way_counts_until_it_is_answered() -> None:
    throttle = Throttle()
    throttle.observe(A, route(left=1, reset_s=30.0), 0.0)
    assert throttle.due(A) == 0.0
    throttle.begin(B, 0.0, urgent=True)
    assert throttle.due(A) == 30.0
    throttle.end(B)
    assert throttle.due(A) == 0.0


def test_a_limit_binds_whom_it_names() -> None:
    throttle = Throttle()
    throttle.observe(A, route(left=0, reset_s=30.0), 0.0)
    assert [throttle.due(lane) for lane in (A, B, WORK)] == [30.0] * 3
    assert [throttle.due(lane) for lane in (NEW, OTHER)] == [0.0] * 2
    throttle.hold("connection", A, 40.0)
    assert [throttle.due(lane) for lane in (A, B, NEW, WORK, OTHER)] == [
        40.0,
        40.0,
        40.0,
        30.0,
        0.0,
    ]
    throttle.hold("user", A, 50.0)
    assert [throttle.due(lane) for lane in (NEW, WORK, OTHER)] == [50.0, 50.0, 0.0]


def test_a_refused_write_spends_nothing() -> None:
    throttle = Throttle()
    throttle.observe(A, route(left=0, reset_s=30.0, status=429), 0.0)
    assert len(throttle.quotas["route", "user", "append"].back) == 20
    assert throttle.due(A) == 30.0


def test_a_limit_with_other_numbers_begins_anew() -> None:
    throttle = Throttle()
    throttle.observe(A, route(left=0, reset_s=30.0), 0.0)
    throttle.observe(A, Reply(200, limits=(Limit("route", 40, 60.0, 39, 60.0),)), 1.0)
    assert throttle.due(A) == 0.0


def test_a_limit_that_nobody_tells_is_what_was_taken_before_the_429_and_felt_for_again() -> None:
    throttle, bare = Throttle(), Reply(429, code="rate_limited")
    for number in range(100):
        throttle.observe(A, Reply(200), number * 0.1)
    throttle.observe(A, bare, 10.0)
    throttle.observe(B, bare, 10.0)  # was on its way with the other
    quota = throttle.learned["connection", "user", "home"].quota
    assert quota.quota == 100
    assert throttle.due(A) == pytest.approx(60.0)
    for number in range(200):
        throttle.observe(A, Reply(200), 100.0 + number * 0.6)
    assert quota.quota == 101
    for number in range(300):
        throttle.observe(A, Reply(200), 220.0 + number * 0.6)
    assert quota.quota > 102  # each probe that goes well doubles the next


@pytest.mark.parametrize("status", [429, 529])
def test_a_refusal_that_our_own_few_writes_cannot_have_caused_is_no_limit(status: int) -> None:
    throttle = Throttle()
    for number in range(10):
        throttle.observe(A, Reply(200), float(number))
    throttle.observe(A, Reply(status), 10.0)
    assert throttle.due(A, urgent=False) == 0.0
