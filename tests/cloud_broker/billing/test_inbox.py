"""The webhook route of Stripe: accepted senders, and the answers they get."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from cloud_broker.web.billing import EVENT_MAX_BYTES
from tests.cloud_broker.billing.stripe_events import (
    CHECKOUT,
    CREATED,
    CUSTOMER,
    OLD_SECRET,
    SECRET,
    SUBSCRIPTION,
    TAKEN,
    UPDATED,
    a_checkout,
    a_subscription,
    an_event,
    deliver,
    deliver_raw,
    everything,
    signature,
    somebody,
    standing,
    subscribe,
)
from tests.cloud_broker.broker_stage import BrokerStage, a_broker


async def test_without_a_secret_there_is_no_such_address(tmp_path: Path) -> None:
    async with a_broker(tmp_path) as stage:
        event = an_event(CREATED, a_subscription(), at=stage.clock.now())
        status, body = await deliver(stage, event)
        assert (status, body["code"]) == (404, "not_found")
        assert (await everything(stage))["stripe_events"] == []


async def test_a_forged_or_unsigned_event_changes_nothing_and_is_counted(
    stage: BrokerStage,
) -> None:
    user_id, token = await somebody(stage)
    event = an_event(CREATED, a_subscription(metadata={"user_id": user_id}), at=stage.clock.now())
    now = stage.clock.now()
    for sign in ("", "t=1,v1=00", signature(b"{}", now), signature(b"{}", now, "whsec_of_nobody")):
        status, body = await deliver(stage, event, sign)
        assert (status, body["code"]) == (401, "webhook_unsigned")
    assert await standing(stage, token) == ("FREE", "active", 120)
    assert (await everything(stage))["stripe_events"] == []
    metrics = await (await stage.browser.get("/metrics")).text()
    assert 'broker_billing_events_total{outcome="unsigned"} 4' in metrics


async def test_a_request_signed_at_another_time_is_a_replay(stage: BrokerStage) -> None:
    raw = json.dumps(an_event(CREATED, a_subscription(), at=stage.clock.now())).encode()
    for away_s in (-301, 301):
        sign = signature(raw, stage.clock.now() + away_s)
        status, body = await deliver_raw(stage, raw, sign)
        assert (status, body["code"]) == (400, "webhook_stale")
    assert (await everything(stage))["stripe_events"] == []
    for away_s in (-300, 300):
        assert await deliver_raw(stage, raw, signature(raw, stage.clock.now() + away_s)) == TAKEN


async def test_two_secrets_hold_while_one_is_being_replaced(stage: BrokerStage) -> None:
    raw = b'{"id":"evt_1","type":"ping","created":1,"data":{"object":{}}}'
    now = stage.clock.now()
    for secret in (SECRET, OLD_SECRET):
        assert await deliver_raw(stage, raw, signature(raw, now, secret)) == TAKEN


async def test_a_genuine_body_of_another_form_is_refused(stage: BrokerStage) -> None:
    for raw in (b"", b"{", b"[]", b"null", b"\xff", b'{"id":1}', b'{"id":"evt_1"}', b"[" * 99_999):
        status, body = await deliver_raw(stage, raw, signature(raw, stage.clock.now()))
        assert (status, body["code"]) == (400, "invalid_input")


async def test_a_body_over_the_cap_is_refused(stage: BrokerStage) -> None:
    raw = b" " * (EVENT_MAX_BYTES + 1)
    status, body = await deliver_raw(stage, raw, signature(raw, stage.clock.now()))
    assert (status, body["code"]) == (413, "too_large")


async def test_the_answer_tells_nobody_who_is_a_customer(stage: BrokerStage) -> None:
    user_id, _ = await somebody(stage)
    now = stage.clock.now()
    known = an_event(CHECKOUT, a_checkout(user_id), at=now)
    answers = [
        await deliver(stage, event)
        for event in (
            known,
            known,
            an_event(CREATED, a_subscription(), at=now),
            an_event(CREATED, a_subscription(), at=now - 9),
            an_event(UPDATED, a_subscription(id="sub_x", customer="cus_nobody"), at=now),
            an_event(CHECKOUT, a_checkout("no-such-account", "cus_nobody"), at=now),
            an_event(CHECKOUT, a_checkout("no-such-account"), at=now),
            an_event("charge.refunded", {"id": "ch_1"}, at=now),
        )
    ]
    assert answers == [TAKEN] * 8
    metrics = await (await stage.browser.get("/metrics")).text()
    counted = {"applied": 3, "duplicate": 1, "old": 1, "ignored": 3}
    for outcome, number in counted.items():
        assert f'broker_billing_events_total{{outcome="{outcome}"}} {number}' in metrics


async def test_no_body_and_no_secret_is_logged(
    stage: BrokerStage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    user_id, _ = await somebody(stage)
    prices = [("price_unknown", "prod_unknown")]
    await subscribe(stage, user_id, prices=prices, customer_email="ada@example.org")
    await deliver(stage, an_event(CREATED, a_subscription(), at=0), "t=1,v1=canary")
    for text in (SECRET, OLD_SECRET, CUSTOMER, SUBSCRIPTION, "ada@example.org", user_id, "canary"):
        assert text not in caplog.text
