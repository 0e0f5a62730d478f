"""Liveness and readiness: ``/healthz`` without dependencies, ``/readyz`` with them."""

from __future__ import annotations

from aiohttp import web

from cloud_broker.errors import DatabaseFailed
from cloud_broker.web.bodies import answer
from cloud_broker.web.keys import CLUSTER, DATABASE, DRAIN

ROUTES = web.RouteTableDef()


@ROUTES.get("/healthz")
async def healthz(_: web.Request) -> web.StreamResponse:
    """The process answers."""
    return answer({"ok": True})


@ROUTES.get("/readyz")
async def readyz(request: web.Request) -> web.StreamResponse:
    """Ready for traffic: the database answers and no stop has begun."""
    checks = {"database": await _answers(request), "accepting": not request.app[DRAIN].has_begun}
    ready = all(checks.values())
    # Without Redis a broker serves on: limits are divided among the brokers meanwhile.
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
