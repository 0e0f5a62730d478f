"""The tier of an account after Stripe's events."""

from __future__ import annotations

from cloud_broker.push.fanout import CHECK_S
from cloud_broker.tariff import STATUSES
from cloud_broker.web.billing import BILLING
from tests.cloud_broker.billing.stripe_events import (
    CHECKOUT,
    CREATED,
    DAY,
    DELETED,
    UPDATED,
    a_checkout,
    a_subscription,
    an_invoice,
    somebody,
    standing,
    subscribe,
    told,
)
from tests.cloud_broker.broker_stage import BrokerStage, Person
from tests.cloud_broker.push.push_listener import listening

FREE, PRO, TEAM = ("FREE", "active", 120), ("PRO", "active", 240), ("TEAM", "active", 480)


async def test_who_buys_has_the_tier_and_its_limits(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    assert await standing(stage, token) == FREE
    await told(stage, CREATED, a_subscription())
    assert await standing(stage, token) == FREE  # nobody knows yet whose it is
    await told(stage, CHECKOUT, a_checkout(user_id))
    assert await standing(stage, token) == PRO
    me = await (await stage.get("/api/user/me", token)).json()
    assert me["limits"]["routes"]["POST /search"] == 60


async def test_the_checkout_may_come_before_the_subscription(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    await told(stage, CHECKOUT, a_checkout(user_id))
    assert await standing(stage, token) == FREE
    await told(stage, CREATED, a_subscription())
    assert await standing(stage, token) == PRO


async def test_a_subscription_may_name_its_account_itself(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    await told(stage, CREATED, a_subscription(metadata={"user_id": user_id}))
    assert await standing(stage, token) == PRO


async def test_each_status_of_stripes_is_stored_and_decides(stage: BrokerStage) -> None:
    worth = {"trialing": ("PRO", 240), "active": ("PRO", 240), "past_due": ("PRO", 240)}
    for status in STATUSES:
        stage.notion.person, stage.notion.workspace_id = Person(id=status), status
        user_id, token = await somebody(stage)
        await subscribe(stage, user_id, id=f"sub_{status}", customer=f"cus_{status}", status=status)
        tier, limit = worth.get(status, ("FREE", 120))
        assert await standing(stage, token) == (tier, status, limit)


async def test_a_failed_payment_keeps_the_tier_for_the_grace(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    await subscribe(stage, user_id)
    stage.clock.advance(20)
    await told(stage, "invoice.payment_failed", an_invoice())
    assert await standing(stage, token) == ("PRO", "past_due", 240)
    for _ in range(14):  # a refresh token keeps the person signed in
        stage.clock.advance(DAY)
    _, token = await somebody(stage)
    assert await standing(stage, token) == ("FREE", "past_due", 120)
    await told(stage, UPDATED, a_subscription())
    assert await standing(stage, token) == PRO


async def test_a_changed_price_changes_the_tier(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    await subscribe(stage, user_id)
    stage.clock.advance(10)
    await told(stage, UPDATED, a_subscription(prices=[("price_x", "prod_team")]))
    assert await standing(stage, token) == TEAM
    stage.clock.advance(10)
    await told(stage, UPDATED, a_subscription(prices=[("price_unknown", "prod_unknown")]))
    assert await standing(stage, token) == FREE


async def test_pausing_resuming_and_deleting(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    await subscribe(stage, user_id)
    seen = []
    for kind, status in (("paused", "paused"), ("resumed", "active"), ("deleted", "canceled")):
        stage.clock.advance(10)
        await told(stage, f"customer.subscription.{kind}", a_subscription(status=status))
        seen.append((await standing(stage, token))[:2])
    assert seen == [("FREE", "paused"), ("PRO", "active"), ("FREE", "canceled")]


async def test_an_older_event_does_not_undo_a_newer_one(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    now = stage.clock.now()
    await subscribe(stage, user_id)
    await told(stage, UPDATED, a_subscription(status="unpaid"), at=now + 20)
    await told(stage, UPDATED, a_subscription(status="past_due"), at=now + 10)
    assert (await standing(stage, token))[:2] == ("FREE", "unpaid")
    await told(stage, DELETED, a_subscription(), at=now + 30)
    await told(stage, UPDATED, a_subscription(), at=now + 40)
    assert (await standing(stage, token))[:2] == ("FREE", "canceled")


async def test_the_end_of_a_former_subscription_takes_nothing_from_the_next(
    stage: BrokerStage,
) -> None:
    user_id, token = await somebody(stage)
    await subscribe(stage, user_id)
    await subscribe(stage, user_id, id="sub_2", customer="cus_again", prices=[("p", "prod_team")])
    assert await standing(stage, token) == TEAM
    stage.clock.advance(10)
    await told(stage, DELETED, a_subscription())
    assert await standing(stage, token) == TEAM


async def test_nobody_lowers_a_tier_by_paying_for_less_in_anothers_name(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    await subscribe(stage, user_id, prices=[("p", "prod_team")])
    stage.clock.advance(10)
    for number, status in enumerate(["active", "unpaid", "canceled"]):
        await subscribe(stage, user_id, id=f"sub_{number}", customer=f"cus_{number}", status=status)
    assert await standing(stage, token) == TEAM


async def test_another_product_on_the_same_stripe_account_is_none_of_ours(
    stage: BrokerStage,
) -> None:
    user_id, token = await somebody(stage)
    other = {"id": "sub_mug", "prices": [("price_mug", "prod_mug")]}
    await subscribe(stage, user_id, **other)
    assert await standing(stage, token) == FREE
    await subscribe(stage, user_id)
    stage.clock.advance(10)
    await told(stage, DELETED, a_subscription(**other))
    assert await standing(stage, token) == PRO


async def test_a_tier_that_was_given_by_hand_stays(stage: BrokerStage) -> None:
    user_id, token = await somebody(stage)
    async with stage.database.transaction() as tx:
        await tx.execute("UPDATE subscriptions SET tier = 'TEAM'")
    await told(stage, CHECKOUT, a_checkout(user_id))
    await stage.app[BILLING].run_once()
    stage.clock.advance(5)
    assert await standing(stage, token) == TEAM


async def test_a_tier_that_was_bought_reaches_the_streams_of_the_account_within_seconds(
    stage: BrokerStage,
) -> None:
    user_id, token = await somebody(stage)
    async with listening(stage, token) as stream:
        assert (await stream.next())[0] == "ready"
        # Written as another broker does: only the database tells this one.
        async with stage.database.transaction() as tx:
            await tx.execute(
                "UPDATE subscriptions SET tier = 'PRO' WHERE user_id = :user", user=user_id
            )
        stage.clock.advance(CHECK_S)
        assert await stream.next() == ("subscription", {})
        assert await standing(stage, token) == PRO
