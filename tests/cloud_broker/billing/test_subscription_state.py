"""Events of one subscription, late, doubled and out of order: the end state is always the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_broker.billing.event import FailedPayment, Snapshot, state_of
from cloud_broker.billing.subscription_state import (
    FINAL,
    SubscriptionState,
    after_failure,
    after_snapshot,
)
from cloud_broker.tariff import Status

T = 1_800_000_000
ENDS: tuple[Status, ...] = ("canceled", "incomplete_expired")
LIVE: tuple[Status, ...] = ("trialing", "active", "past_due", "paused", "unpaid", "incomplete")


def a_snapshot(status: Status, at: int, came_from: str, price: str = "price_pro") -> Snapshot:
    return Snapshot("sub_1", "cus_1", status, (price,), at, at + 100, at, came_from, None)


def changed(status: Status, before: Status, at: int) -> Snapshot:
    return a_snapshot(status, at, state_of(before, ("price_pro",)))


def taken(
    held: SubscriptionState | None, told: Snapshot | FailedPayment
) -> SubscriptionState | None:
    """What the intake does with one event."""
    if isinstance(told, Snapshot):
        return after_snapshot(held, told) or held
    return held if held is None else after_failure(held, told) or held


def standing(*events: Snapshot | FailedPayment) -> SubscriptionState:
    found = reduce(taken, events, None)
    assert found is not None
    return found


@dataclass(frozen=True)
class History:
    """A subscription's life as Stripe tells it, in the true order."""

    snapshots: tuple[Snapshot, ...]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Created, then changed, then perhaps ended; a second holds two of these besides the end."""
    at = T
    state: tuple[Status, str] = (draw(st.sampled_from(["incomplete", "trialing", "active"])), "a")
    found = [a_snapshot(state[0], at, "", state[1])]
    in_this_second = 0
    for _ in range(draw(st.integers(0, 6))):
        step = draw(st.integers(0, 3))
        if step == 0 and in_this_second == 2:
            step = 1
        in_this_second = in_this_second + 1 if step == 0 else 1
        at += step
        before = state_of(state[0], (state[1],))
        after = (draw(st.sampled_from(LIVE)), draw(st.sampled_from("abc")))
        if step == 0 and state_of(after[0], (after[1],)) in {each.came_from for each in found}:
            continue  # there and back within one second cannot be told from back and there
        state = after
        found.append(a_snapshot(state[0], at, before, state[1]))
    if draw(st.booleans()):
        end = draw(st.sampled_from(ENDS))
        found.append(a_snapshot(end, at, state_of(state[0], (state[1],)), state[1]))
    return History(tuple(found))


@given(histories(), st.data())
def test_in_whatever_order_and_however_often_the_end_is_the_last_snapshot(
    history: History, data: st.DataObject
) -> None:
    last = history.snapshots[-1]
    again = data.draw(st.lists(st.sampled_from(history.snapshots), max_size=4))
    order = data.draw(st.permutations([*history.snapshots, *again]))
    found = standing(*order).snapshot
    assert (found.status, found.prices, found.at) == (last.status, last.prices, last.at)


@given(st.permutations([0, 1, 2, 3, 4]), st.data())
def test_payments_that_fail_count_the_same_in_any_order(
    order: list[int], data: st.DataObject
) -> None:
    first = a_snapshot("active", T, "")
    last = changed("active", "past_due", T + data.draw(st.integers(12, 30)))
    events: list[Snapshot | FailedPayment] = [
        changed("active", "active", T + 10),
        FailedPayment("sub_1", T + 11),
        FailedPayment("sub_1", T + 20),
        FailedPayment("sub_1", T + 5),
        last,
    ]
    paid = last.at >= T + 20
    found = standing(first, *(events[number] for number in order))
    assert found.status == ("active" if paid else "past_due")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("live", LIVE)
def test_an_end_is_final_whatever_its_time(end: Status, live: Status) -> None:
    assert end in FINAL
    ended = changed(end, "active", T)
    assert standing(ended, changed(live, "active", T + 100)).status == end
    assert standing(changed(live, "active", T + 100), ended).status == end


def test_of_the_same_second_a_creation_comes_first() -> None:
    created, paid = a_snapshot("incomplete", T, ""), changed("active", "incomplete", T)
    assert standing(created, paid).status == "active"
    assert standing(paid, created).status == "active"


def test_of_the_same_second_what_was_replaced_comes_first() -> None:
    one, two = changed("past_due", "active", T), changed("unpaid", "past_due", T)
    assert standing(one, two).status == "unpaid"
    assert standing(two, one).status == "unpaid"


def test_where_nothing_tells_the_order_the_later_arrival_counts() -> None:
    one, two = changed("past_due", "active", T), changed("active", "past_due", T)
    assert standing(one, two).status == "active"
    assert standing(two, one).status == "past_due"


def test_a_failed_payment_of_the_same_second_waits_for_the_snapshot_that_says_so() -> None:
    paid = changed("active", "past_due", T)
    assert standing(paid, FailedPayment("sub_1", T)).status == "active"
    assert standing(paid, FailedPayment("sub_1", T + 1)).status == "past_due"


@pytest.mark.parametrize("status", ["paused", "incomplete", "unpaid", "canceled"])
def test_a_failed_payment_makes_past_due_only_of_what_was_paid(status: Status) -> None:
    assert standing(changed(status, "active", T), FailedPayment("sub_1", T + 1)).status == status


def test_the_grace_counts_from_the_first_event_that_told_of_it() -> None:
    failed = standing(a_snapshot("active", T, ""), FailedPayment("sub_1", T + 10))
    assert failed.past_due_since == T + 10
    told = after_snapshot(failed, changed("past_due", "active", T + 12))
    assert told is not None
    again = after_failure(told, FailedPayment("sub_1", T + 500))
    assert again is not None
    assert again.past_due_since == T + 10
    paid = after_snapshot(again, changed("active", "past_due", T + 600))
    assert paid is not None
    assert paid.past_due_since is None
