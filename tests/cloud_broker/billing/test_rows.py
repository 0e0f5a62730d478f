"""The stored rows of Stripe's events, and their retention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloud_broker.billing.inbox import KEPT_S
from cloud_broker.storage.audit import verify
from cloud_broker.web.billing import BILLING
from tests.cloud_broker.billing.stripe_events import (
    CHECKOUT,
    CREATED,
    CUSTOMER,
    DAY,
    SUBSCRIPTION,
    TAKEN,
    UPDATED,
    a_billed_broker,
    a_checkout,
    a_subscription,
    an_event,
    an_invoice,
    deliver,
    everything,
    somebody,
    standing,
    subscribe,
    told,
)
from tests.cloud_broker.broker_stage import OTHER_WORKSPACE, BrokerStage, Person

FREE, PRO, TEAM = ("FREE", "active", 120), ("PRO", "active", 240), ("TEAM", "active", 480)


async def noted(stage: BrokerStage, token: str, event: str) -> list[dict[str, Any]]:
    """The account's audit rows of one kind."""
    export = await (await stage.get("/api/user/export", token)).json()
    return [row for row in export["audit"] if row["event"] == event]


async def test_an_event_that_comes_again_is_taken_once(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    event = an_event(CREATED, a_subscription(metadata={"user_id": user_id}), at=stage.clock.now())
    for _ in range(3):
        assert await deliver(stage, event) == TAKEN
    assert len((await everything(stage))["stripe_events"]) == 1
    assert len(await noted(stage, token, "subscription_changed")) == 1


async def test_events_do_not_pile_up(stage: BrokerStage) -> None:
    user_id, _ = await somebody(stage)
    await subscribe(stage, user_id)
    await told(stage, CREATED, a_subscription(id="sub_x", customer="cus_nobody"))
    stage.clock.advance(KEPT_S)
    await stage.app[BILLING].run_once()
    assert len((await everything(stage))["stripe_events"]) == 3
    stage.clock.advance(1)
    await stage.app[BILLING].run_once()
    left = await everything(stage)
    assert left["stripe_events"] == []
    assert [row["id"] for row in left["stripe_subscriptions"]] == [SUBSCRIPTION]
    assert KEPT_S > 3 * DAY  # for so long Stripe repeats an event


async def test_a_customer_stays_the_first_accounts(stage: BrokerStage) -> None:
    ada, her_token = await somebody(stage)
    stage.notion.person, stage.notion.workspace_id = Person(id="eve"), OTHER_WORKSPACE
    eve, his_token = await somebody(stage)
    await subscribe(stage, ada)
    await told(stage, CHECKOUT, a_checkout(eve))
    await told(stage, UPDATED, a_subscription(metadata={"user_id": eve}), at=stage.clock.now() + 9)
    assert await standing(stage, her_token) == PRO
    assert await standing(stage, his_token) == FREE
    refused = await noted(stage, her_token, "customer_refused")
    assert [row["facts"]["why"] for row in refused] == ["customer_taken"] * 2


async def test_an_account_without_a_row_is_free(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    async with stage.database.transaction() as tx:
        await tx.execute("DELETE FROM subscriptions")
    assert await standing(stage, token) == FREE
    await subscribe(stage, user_id)
    assert await standing(stage, token) == PRO


async def test_a_price_that_the_settings_learn_later_counts_then(tmp_path: Path) -> None:
    async with a_billed_broker(tmp_path) as stage:
        user_id, token = await somebody(stage)
        await subscribe(stage, user_id, prices=[("price_new", "prod_new")])
        assert await standing(stage, token) == FREE
    async with a_billed_broker(tmp_path, BROKER_BILLING_TIERS="prod_new:TEAM") as stage:
        while await standing(stage, token) != TEAM:  # in the background, soon after the start
            await stage.turn()
            stage.clock.advance(0.1)
    async with a_billed_broker(tmp_path) as stage:  # and one that they forget counts no more
        await stage.app[BILLING].run_once()
        assert await standing(stage, token) == FREE


async def test_every_change_is_in_the_audit_log(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    await subscribe(stage, user_id)
    stage.clock.advance(10)
    await told(stage, UPDATED, a_subscription(status="unpaid"))
    bought, lost = await noted(stage, token, "subscription_changed")
    assert bought["facts"] == {
        "why": CHECKOUT,
        "tier": "PRO",
        "status": "active",
        "former_tier": "FREE",
        "former_status": "active",
    }
    assert (lost["facts"]["why"], lost["facts"]["status"]) == (UPDATED, "unpaid")
    assert bought["subject"] == {"customer": CUSTOMER, "subscription": SUBSCRIPTION}
    assert len(await noted(stage, token, "customer_known")) == 1
    assert (await verify(stage.database))[1] is None


async def test_an_export_holds_what_stripe_told(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    await subscribe(stage, user_id)
    stage.clock.advance(20)
    await told(stage, "invoice.payment_failed", an_invoice())
    export = await (await stage.get("/api/user/export", token)).json()
    assert export["subscription"] == {
        "tier": "PRO",
        "status": "past_due",
        "bought": "PRO",
        "period_starts_at": "2027-01-15T08:00:00.000Z",
        "period_ends_at": "2027-02-14T08:00:00.000Z",
        "past_due_since": "2027-01-15T08:00:20.000Z",
    }
    (kept,) = export["billing"]
    assert (kept["customer"], kept["subscription"]) == (CUSTOMER, SUBSCRIPTION)
    assert kept["payment_failed_at"] == "2027-01-15T08:00:20.000Z"


async def test_erasure_leaves_nothing_of_what_was_paid(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    await subscribe(stage, user_id)
    assert (await stage.delete("/api/user", token)).status == 204
    stored = await everything(stage)
    assert [stored[name] for name in stored if name != "stripe_events"] == [[], [], []]
    async with stage.database.reading() as tx:
        audit = str(await tx.all("SELECT * FROM audit_log"))
    assert CUSTOMER not in audit
    assert user_id not in audit
    # What Stripe goes on telling is nobody's, and does not bring the account back.
    await told(stage, UPDATED, a_subscription(metadata={"user_id": user_id}))
    stored = await everything(stage)
    assert stored["stripe_customers"] == []
    assert user_id not in str(stored)
