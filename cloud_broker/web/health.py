"""Serves ``/healthz`` (the process answers) and ``/readyz`` (it can take traffic)."""

from __future__ import annotations

from aiohttp import web

from cloud_broker.errors import DatabaseFailed
from cloud_broker.web.bodies import answer
from cloud_broker.web.keys import CLUSTER, DATABASE, DRAIN

ROUTES = web.RouteTableDef()


@ROUTES.get("/healthz")
async def healthz(_: web.Request) -> web.StreamResponse:
    """Answer without asking any dependency."""
    return answer({"ok": True})


@ROUTES.get("/readyz")
async def readyz(request: web.Request) -> web.StreamResponse:
    """Answer 200 while the database answers and no stop has begun, else 503."""
    checks = {"database": await _answers(request), "accepting": not request.app[DRAIN].has_begun}
    ready = all(checks.values())
    # A broker without Redis stays ready: each broker takes its share of the limits.
    limits = "shared" if request.app[CLUSTER].is_shared() else "divided"
    body = {"ok": ready, "checks": checks, "limits": limits}
    return answer(body, status=200 if ready else 503)


async def _answers(request: web.Request) -> bool:
    try:
        async with request.app[DATABASE].reading() as tx:
            await tx.one("SELECT 1 AS one")
    except DatabaseFailed:
        return False
    return True
