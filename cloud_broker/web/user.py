"""Serves the account: ``/api/user/…`` and ``/api/workspaces/…``."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from cloud_broker.identity.sessions import Claims
from cloud_broker.proxy.admission import Budgets
from cloud_broker.proxy.routes import ROUTES as PROXY_ROUTES
from cloud_broker.web.bodies import answer, signed_in
from cloud_broker.web.keys import ACCOUNTS, BUDGETS, RATE_LIMIT

EXPORTS = 6  # per minute and account; each reads every row about it
ROUTES = web.RouteTableDef()


@ROUTES.get("/api/user/me")
@signed_in
async def me(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Return profile, workspaces, subscription and limits."""
    summary = await request.app[ACCOUNTS].summary(claims.user_id)
    limits = _limits(request.app[BUDGETS], summary["subscription"]["tier"])
    return answer({**summary, "limits": limits})


@ROUTES.get("/api/user/export")
@signed_in
async def export(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Return every stored row about the account."""
    await request.app[RATE_LIMIT].by_account(claims.user_id, "export", EXPORTS)
    return answer(
        await request.app[ACCOUNTS].export(claims.user_id),
        headers={"Content-Disposition": 'attachment; filename="account.json"'},
    )


@ROUTES.delete("/api/user")
@signed_in
async def erase(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Erase the account."""
    await request.app[ACCOUNTS].erase(claims.user_id)
    return web.Response(status=204)


@ROUTES.delete("/api/workspaces/{workspace_id}")
@signed_in
async def disconnect(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Disconnect a workspace."""
    await request.app[ACCOUNTS].disconnect(claims.user_id, request.match_info["workspace_id"])
    return web.Response(status=204)


def _limits(budgets: Budgets, tier: str) -> dict[str, Any]:
    """Return the limits that the proxy enforces for a tier."""
    return {
        "window_s": 60,
        "all": budgets.window(budgets.per_minute, tier).limit,
        "routes": {
            f"{route.method} /{'/'.join(route.words)}": budgets.window(route.per_minute, tier).limit
            for route in PROXY_ROUTES
        },
        "notion": {"rate_per_s": budgets.notion_rate, "burst": budgets.notion_burst},
    }
