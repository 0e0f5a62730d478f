"""Receives Stripe's events about subscriptions: ``POST /api/billing/webhook``."""

from __future__ import annotations

from aiohttp import web

from cloud_broker.billing.inbox import Billing
from cloud_broker.billing.signature import HEADER
from cloud_broker.errors import WebhookStale, WebhookUnsigned
from cloud_broker.web.bodies import answer, read_raw
from cloud_broker.web.metrics import METRICS

EVENT_MAX_BYTES = 256 * 1024  # Stripe's own are some ten KB; lists in them hold ten entries
BILLING: web.AppKey[Billing] = web.AppKey("billing")
ROUTES = web.RouteTableDef()


@ROUTES.post("/api/billing/webhook")
async def webhook(request: web.Request) -> web.StreamResponse:
    """Acknowledge a stored event; every genuine event gets the same answer."""
    body = await read_raw(request, EVENT_MAX_BYTES)
    counter = request.app[METRICS].billing
    try:
        outcome = await request.app[BILLING].take(body, request.headers.get(HEADER))
    except (WebhookUnsigned, WebhookStale) as error:
        counter.add("stale" if isinstance(error, WebhookStale) else "unsigned")
        raise
    counter.add(outcome)
    return answer({"received": True})
