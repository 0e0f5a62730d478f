"""Serves a daemon's event stream: ``GET /api/events``; events hold ids, never content."""

from __future__ import annotations

import asyncio

from aiohttp import web

from cloud_broker.identity.sessions import Claims
from cloud_broker.push.fanout import Fanout
from cloud_broker.web.bodies import signed_in
from cloud_broker.web.completion import READS
from cloud_broker.web.keys import RATE_LIMIT

OPENINGS = 60  # per minute and account
WRITE_WITHIN_S = 30.0  # a client that reads nothing for this long is gone
FANOUT: web.AppKey[Fanout] = web.AppKey("fanout")
ROUTES = web.RouteTableDef()


@ROUTES.get("/api/events", allow_head=False)
@signed_in
async def events(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Stream until the token expires, the session is revoked, or the client leaves."""
    await request.app[RATE_LIMIT].by_account(claims.user_id, "events", OPENINGS)
    request[READS] = True
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    last_id = request.headers.get("Last-Event-ID")
    async with request.app[FANOUT].attach(claims, last_id) as stream:
        await response.prepare(request)
        while (chunk := await stream.next()) is not None:
            try:
                async with asyncio.timeout(WRITE_WITHIN_S):
                    await response.write(chunk)
            except (TimeoutError, ConnectionError):
                break
    response.force_close()
    return response
