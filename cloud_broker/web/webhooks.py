"""``POST /api/notion/webhook``: Notion tells what changed."""

from __future__ import annotations

import asyncio

from aiohttp import web

from cloud_broker.errors import BodyTooSlow, InvalidInput
from cloud_broker.push.intake import Intake
from cloud_broker.push.webhook import SIGNATURE
from cloud_broker.web.bodies import BODY_WITHIN_S, answer

EVENT_MAX_BYTES = 256 * 1024  # ids of one page's changes; the largest known are a tenth of it
INTAKE: web.AppKey[Intake] = web.AppKey("webhooks")
ROUTES = web.RouteTableDef()


@ROUTES.post("/api/notion/webhook")
async def webhook(request: web.Request) -> web.StreamResponse:
    """Acknowledge once the event is stored; what became of it is in ``outcome``."""
    body = await _raw(request)
    outcome = await request.app[INTAKE].take(body, request.headers.get(SIGNATURE))
    return answer({"outcome": outcome})


async def _raw(request: web.Request) -> bytes:
    """The body as it was signed. Raises BodyTooSlow, InvalidInput, or aiohttp's 413."""
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for chunk in request.content.iter_any():
                raw += chunk
                if len(raw) > EVENT_MAX_BYTES:
                    raise web.HTTPRequestEntityTooLarge(EVENT_MAX_BYTES, len(raw))
    except TimeoutError as error:
        raise BodyTooSlow("The body did not arrive within 30 seconds.") from error
    except web.RequestPayloadError:
        raise InvalidInput("The body cannot be decoded.") from None
    return bytes(raw)
