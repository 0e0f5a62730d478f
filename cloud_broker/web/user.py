"""The account itself: ``/api/user/…`` and ``/api/workspaces/…``."""

from __future__ import annotations

from aiohttp import web

from cloud_broker.identity.sessions import Claims
from cloud_broker.web.bodies import answer, signed_in
from cloud_broker.web.keys import ACCOUNTS, FLOOD, LIMITS

EXPORTS = 6  # a minute and account; each reads every row about it
ROUTES = web.RouteTableDef()


@ROUTES.get("/api/user/me")
@signed_in
async def me(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Profile, workspaces, subscription, limits."""
    summary = await request.app[ACCOUNTS].summary(claims.user_id)
    return answer({**summary, "limits": request.app[LIMITS](summary["subscription"]["tier"])})


@ROUTES.get("/api/user/export")
@signed_in
async def export(request: web.Request, claims: Claims) -> web.StreamResponse:
    """Everything that is kept about the account."""
    await request.app[FLOOD].by_account(claims.user_id, "export", EXPORTS)
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
