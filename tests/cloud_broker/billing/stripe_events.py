"""Events as Stripe sends them (API version 2025-03-31 and the form before it), signed."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.cloud_broker.broker_stage import BrokerStage, a_broker

SECRET = "whsec_of_the_billing_endpoint"
OLD_SECRET = "whsec_that_is_being_replaced"
SETTINGS = {
    "BROKER_BILLING_SECRETS": f"{SECRET},{OLD_SECRET}",
    "BROKER_BILLING_TIERS": "price_pro:PRO,prod_team:TEAM",
    "BROKER_NOTION_RATE": "1000",  # so that no bucket is waited for
    "BROKER_NOTION_BURST": "1000",
}
CUSTOMER, SUBSCRIPTION = "cus_Ada", "sub_Ada1"
CREATED, UPDATED = "customer.subscription.created", "customer.subscription.updated"
DELETED, CHECKOUT = "customer.subscription.deleted", "checkout.session.completed"
TAKEN = (200, {"received": True})
DAY = 86_400
_numbers = itertools.count(1)


@asynccontextmanager
async def a_billed_broker(folder: Path, **changes: str) -> AsyncIterator[BrokerStage]:
    async with a_broker(folder, **{**SETTINGS, **changes}) as stage:
        yield stage


def an_event(
    kind: str, told: dict[str, Any], *, at: float, previous: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The envelope: https://docs.stripe.com/api/events/object."""
    data: dict[str, Any] = {"object": told}
    if previous is not None:
        data["previous_attributes"] = previous
    return {
        "id": f"evt_{next(_numbers):08d}",
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": int(at),
        "data": data,
        "livemode": True,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }


def a_subscription(**changes: Any) -> dict[str, Any]:
    """https://docs.stripe.com/api/subscriptions/object, in part; ``prices`` as (price, product)."""
    prices = changes.pop("prices", [("price_pro", "prod_pro")])
    period = {"current_period_start": 1_800_000_000, "current_period_end": 1_802_592_000}
    return {
        "id": SUBSCRIPTION,
        "object": "subscription",
        "customer": CUSTOMER,
        "status": "active",
        "cancel_at_period_end": False,
        "items": an_items(*prices, **period),
        "metadata": {},
        **changes,
    }


def an_items(*prices: tuple[str, str], **period: int) -> dict[str, Any]:
    items = [
        {
            "id": f"si_{number}",
            "object": "subscription_item",
            "price": {"id": price, "object": "price", "product": product, "type": "recurring"},
            "quantity": 1,
            **period,
        }
        for number, (price, product) in enumerate(prices)
    ]
    return {"object": "list", "data": items, "has_more": False, "total_count": len(items)}


def a_checkout(user_id: str | None, customer: str | None = CUSTOMER, **more: Any) -> dict[str, Any]:
    """https://docs.stripe.com/api/checkout/sessions/object, in part."""
    return {
        "id": "cs_live_1",
        "object": "checkout.session",
        "client_reference_id": user_id,
        "customer": customer,
        "mode": "subscription",
        "payment_status": "paid",
        "status": "complete",
        "subscription": SUBSCRIPTION,
        "metadata": {},
        **more,
    }


def an_invoice(reason: str = "subscription_cycle", **changes: Any) -> dict[str, Any]:
    """https://docs.stripe.com/api/invoices/object, in part."""
    return {
        "id": "in_1",
        "object": "invoice",
        "billing_reason": reason,
        "customer": CUSTOMER,
        "parent": {
            "type": "subscription_details",
            "subscription_details": {"subscription": SUBSCRIPTION, "metadata": {}},
        },
        "status": "open",
        **changes,
    }


def signature(raw: bytes, at: float, secret: str = SECRET) -> str:
    """https://docs.stripe.com/webhooks#verify-manually, made as its libraries make it."""
    signed = f"{int(at)}.".encode() + raw
    return f"t={int(at)},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


async def deliver(
    stage: BrokerStage, event: dict[str, Any], sign: str | None = None
) -> tuple[int, Any]:
    """Send an event, signed now unless ``sign`` says otherwise (empty: not at all)."""
    raw = json.dumps(event, indent=2).encode()  # as Stripe formats it: the raw body is signed
    return await deliver_raw(
        stage, raw, signature(raw, stage.clock.now()) if sign is None else sign
    )


async def deliver_raw(stage: BrokerStage, raw: bytes, sign: str) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if sign:
        headers["Stripe-Signature"] = sign
    answer = await stage.browser.post("/api/billing/webhook", data=raw, headers=headers)
    return answer.status, await answer.json()


async def told(stage: BrokerStage, kind: str, thing: dict[str, Any], **more: Any) -> None:
    """Deliver an event of this second, which must be taken."""
    event = an_event(kind, thing, at=more.pop("at", stage.clock.now()), **more)
    assert await deliver(stage, event) == TAKEN


async def subscribe(stage: BrokerStage, user_id: str, **changes: Any) -> None:
    """A person buys: Stripe tells of the subscription and of the checkout."""
    await told(stage, CREATED, a_subscription(**changes))
    customer = changes.get("customer", CUSTOMER)
    await told(stage, CHECKOUT, a_checkout(user_id, customer))


async def somebody(stage: BrokerStage) -> tuple[str, str]:
    """Sign a person in; their account's id and an access token."""
    answer = await stage.sign_in()
    return answer["user"]["id"], answer["access_token"]


async def standing(stage: BrokerStage, token: str) -> tuple[str, str, int]:
    """The tier, the status and the limit over all, as the account is told."""
    me = await (await stage.get("/api/user/me", token)).json()
    return me["subscription"]["tier"], me["subscription"]["status"], me["limits"]["all"]


async def everything(stage: BrokerStage) -> dict[str, list[dict[str, Any]]]:
    """The rows that billing keeps."""
    tables = ("stripe_events", "stripe_customers", "stripe_subscriptions", "subscriptions")
    async with stage.database.reading() as tx:
        return {name: await tx.all(f"SELECT * FROM {name}") for name in tables}
