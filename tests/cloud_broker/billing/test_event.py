"""Reading Stripe's events: the fields that count, in both forms, and invalid bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_broker.billing.event import FailedPayment, Purchase, Snapshot, read
from cloud_broker.errors import InvalidInput
from tests.cloud_broker.billing.stripe_events import (
    CUSTOMER,
    SUBSCRIPTION,
    a_checkout,
    a_subscription,
    an_event,
    an_invoice,
    an_items,
)

AT = 1_800_000_000
USER = "5f0e6a34-5b1c-4c0e-9d0f-3a2b1c0d9e8f"


def told(kind: str, thing: dict[str, Any], **more: Any) -> Any:
    return read(json.dumps(an_event(kind, thing, at=AT, **more)).encode()).change


def test_a_subscription_is_read_with_its_prices_and_products() -> None:
    found = told(
        "customer.subscription.updated",
        a_subscription(prices=[("price_b", "prod_2"), ("price_a", "prod_1")]),
        previous={"status": "trialing"},
    )
    prices = ("price_a", "price_b", "prod_1", "prod_2")
    assert found == Snapshot(
        SUBSCRIPTION,
        CUSTOMER,
        "active",
        prices,
        1_800_000_000,
        1_802_592_000,
        AT,
        " ".join(("trialing", *prices)),
        None,
    )


def test_the_period_is_found_in_both_versions_of_the_api() -> None:
    before = a_subscription(
        items=an_items(("price_a", "prod_a")), current_period_start=1, current_period_end=2
    )
    found = told("customer.subscription.updated", before)
    assert (found.period_start, found.period_end) == (1, 2)


def test_an_update_knows_what_it_replaced() -> None:
    former = {"items": an_items(("price_old", "prod_old"))}
    found = told("customer.subscription.updated", a_subscription(), previous=former)
    assert found.came_from == "active price_old prod_old"
    same = told("customer.subscription.updated", a_subscription(), previous={"quantity": 1})
    assert same.came_from == same.state
    assert told("customer.subscription.created", a_subscription()).came_from == ""


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("created", "incomplete"),
        ("updated", "past_due"),
        ("paused", "paused"),
        ("resumed", "active"),
    ],
)
def test_every_change_of_a_subscription_is_a_snapshot(kind: str, status: str) -> None:
    found = told(f"customer.subscription.{kind}", a_subscription(status=status))
    assert found.status == status


def test_a_deleted_subscription_is_canceled_whatever_it_says() -> None:
    assert told("customer.subscription.deleted", a_subscription()).status == "canceled"


def test_a_purchase_names_customer_and_account() -> None:
    purchase = Purchase(CUSTOMER, USER)
    assert told("checkout.session.completed", a_checkout(USER)) == purchase
    by_metadata = a_checkout(None, metadata={"user_id": USER})
    assert told("checkout.session.completed", by_metadata) == purchase
    owned = a_subscription(metadata={"user_id": USER})
    assert told("customer.subscription.created", owned).user_id == USER


@pytest.mark.parametrize(
    "session",
    [a_checkout(None), a_checkout(USER, None), a_checkout("not an id"), a_checkout("x" * 65)],
)
def test_a_purchase_without_an_account_or_a_customer_tells_nothing(session: Any) -> None:
    assert told("checkout.session.completed", session) is None


def test_a_failed_payment_is_read_in_both_versions_of_the_api() -> None:
    failed = FailedPayment(SUBSCRIPTION, AT)
    assert told("invoice.payment_failed", an_invoice()) == failed
    before = an_invoice(parent=None, subscription=SUBSCRIPTION)
    assert told("invoice.payment_failed", before) == failed


@pytest.mark.parametrize(
    "invoice",
    [
        an_invoice("subscription_create"),
        an_invoice("manual"),
        an_invoice(parent=None),
        an_invoice(parent={"type": "quote_details", "subscription_details": None}),
    ],
)
def test_another_invoice_says_nothing_of_a_running_period(invoice: Any) -> None:
    assert told("invoice.payment_failed", invoice) is None


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        ("customer.subscription.trial_will_end", a_subscription()),
        ("customer.subscription.updated", a_subscription(status="a_new_status")),
        ("invoice.paid", an_invoice()),
        ("charge.refunded", {"id": "ch_1"}),
        ("", {}),
    ],
)
def test_what_is_not_known_is_passed_over(kind: str, thing: Any) -> None:
    assert told(kind, thing) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["id"], 1),
        (["id"], ""),
        (["id"], "evt 1"),
        (["id"], "e" * 300),
        (["type"], None),
        (["created"], "now"),
        (["created"], -1),
        (["created"], 10**12),
        (["created"], 1.5),
        (["data"], []),
        (["data", "object"], "x"),
        (["data", "object", "id"], "sub\n"),
        (["data", "object", "customer"], None),
        (["data", "object", "customer"], {"id": "cus_1"}),
        (["data", "object", "status"], 1),
        (["data", "object", "items"], None),
        (["data", "object", "items", "data"], {}),
        (["data", "object", "items", "data", 0, "price"], "price_pro"),
        (["data", "object", "metadata"], {"user_id": 1}),
        (["data", "previous_attributes"], []),
    ],
)
def test_a_field_of_another_form_is_refused(path: list[Any], value: Any) -> None:
    event = an_event("customer.subscription.updated", a_subscription(), at=AT, previous={})
    place: Any = event
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(InvalidInput):
        read(json.dumps(event).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_an_event_or_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(raw)


def test_brackets_without_end_are_refused() -> None:
    with pytest.raises(InvalidInput):
        read(
            b'{"id":"e","type":"customer.subscription.updated","created":1,"data":' + b"[" * 99_999
        )


def test_an_id_that_a_merchant_chose_is_taken_and_one_with_spaces_left_out() -> None:
    found = told("customer.subscription.created", a_subscription(prices=[("gold-plan", "a b")]))
    assert found.prices == ("gold-plan",)
