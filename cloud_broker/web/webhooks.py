"""``POST /api/notion/webhook``: Notion tells what changed."""

from __future__ import annotations

from aiohttp import web

from cloud_broker.push.inbox import Inbox
from cloud_broker.push.webhook import SIGNATURE
from cloud_broker.web.bodies import answer, read_raw

EVENT_MAX_BYTES = 256 * 1024  # ids of one page's changes; the largest known are a tenth of it
INBOX: web.AppKey[Inbox] = web.AppKey("webhooks")
ROUTES = web.RouteTableDef()


@ROUTES.post("/api/notion/webhook")
async def webhook(request: web.Request) -> web.StreamResponse:
    """Acknowledge once the event is stored; what became of it is in ``outcome``."""
    body = await read_raw(request, EVENT_MAX_BYTES)
    outcome = await request.app[INBOX].take(body, request.headers.get(SIGNATURE))
    return answer({"outcome": outcome})
