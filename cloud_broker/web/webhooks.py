"""Receives Notion's events about changed pages: ``POST /api/notion/webhook``."""

from __future__ import annotations

from aiohttp import web

from cloud_broker.push.inbox import Inbox
from cloud_broker.push.webhook import SIGNATURE
from cloud_broker.web.bodies import answer, read_raw

EVENT_MAX_BYTES = 256 * 1024  # an event holds ids of one page; the largest known is a tenth
INBOX: web.AppKey[Inbox] = web.AppKey("webhooks")
ROUTES = web.RouteTableDef()


@ROUTES.post("/api/notion/webhook")
async def webhook(request: web.Request) -> web.StreamResponse:
    """Acknowledge a stored event; ``outcome`` says whether it was taken or ignored."""
    body = await read_raw(request, EVENT_MAX_BYTES)
    outcome = await request.app[INBOX].take(body, request.headers.get(SIGNATURE))
    return answer({"outcome": outcome})
