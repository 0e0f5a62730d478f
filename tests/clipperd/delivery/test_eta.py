"""The estimate of the queue's end: tables over limits, pauses and the connection."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from clipperd.broker.reply import Reply
from clipperd.delivery.eta import seconds_left
from clipperd.delivery.quota import Quota
from clipperd.delivery.throttle import Throttle
from clipperd.outbox.records import LaneKey

A: LaneKey = ("user", "home", "page-a")
B: LaneKey = ("user", "home", "page-b")
WORK: LaneKey = ("user", "work", "page-c")
NEW: LaneKey = ("user", "home", "ref:1")
ROUTE = ("route", "user", "append")
HOME = ("connection", "user", "home")


def left(loads: Mapping[LaneKey, int], throttle: Throttle, *, begins: float = 0.0) -> float | None:
    return seconds_left(loads, throttle, now=0.0, begins=begins, places=6)


@pytest.mark.parametrize(
    ("loads", "seconds"),
    [
        ({}, None),
        ({A: 1}, 0.0),
        ({A: 19}, 0.0),  # one of twenty is kept for people
        ({A: 10, WORK: 10}, 59.25),
        ({A: 10, NEW: 10}, 0.0),  # new pages have a limit of their own
        ({A: 58}, 3 * 59.25),
    ],
)
def test_before_any_answer_the_brokers_default_is_assumed(
    loads: Mapping[LaneKey, int], seconds: float | None
) -> None:
    assert left(loads, Throttle()) == seconds


@pytest.mark.parametrize(
    ("quota", "requests", "seconds"),
    [
        (Quota(20, 60.0, [30.0, 40.0]), 17, 0.0),
        (Quota(20, 60.0, [30.0, 40.0]), 18, 30.0),
        (Quota(20, 60.0, [30.0, 40.0]), 19, 40.0),
        (Quota(20, 60.0, [30.0, 40.0]), 38, 40.0 + 59.25),
        (Quota(3, 10.0, [-5.0, 5.0, 9.0]), 2, 5.0),  # what has come back is free
        (Quota(3, 10.0), 9, 20.0),
        (Quota(200, 60.0), 190, 0.0),
    ],
)
def test_the_limit_as_it_was_told_and_used_so_far_decides(
    quota: Quota, requests: int, seconds: float
) -> None:
    assert left({A: requests}, Throttle(quotas={ROUTE: quota})) == seconds


def test_lanes_share_a_limit_and_other_accounts_workspaces_do_not() -> None:
    throttle = Throttle(quotas={HOME: Quota(4, 10.0)}, round_trip_s=0.001)
    assert left({A: 4, B: 4}, throttle) == 10.0
    assert left({A: 4, WORK: 4}, throttle) == pytest.approx(0.0, abs=0.01)


def test_a_lanes_requests_go_one_after_the_other_as_long_as_one_was_seen_to_take() -> None:
    throttle = Throttle()
    throttle.begin(A, 10.0, urgent=False)
    throttle.observe(A, Reply(200), 10.5)
    assert left({A: 8}, throttle) == 4.0
    assert left({A: 1, B: 5}, throttle) == 2.5
    throttle.begin(A, 20.0, urgent=False)
    throttle.observe(A, Reply(200), 24.5)  # a slow one counts for an eighth
    assert left({A: 8}, throttle) == 8.0


def test_pauses_and_waits_come_on_top() -> None:
    assert left({A: 2}, Throttle(lanes={A: 30.0})) == 30.0
    assert left({A: 2}, Throttle(pauses={HOME: 40.0})) == 40.0
    assert left({A: 2}, Throttle(), begins=50.0) == 50.0
    assert left({A: 20}, Throttle(pauses={HOME: 40.0})) == 59.25


def test_offline_nobody_can_tell() -> None:
    assert left({A: 2}, Throttle(offline_until=1.0)) is None
