"""``GET /v1/status``: the state of every part of the daemon."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from clipperd.clock import rfc3339
from clipperd.web.keys import ABOUT, CLOCK, STATUS_PARTS
from clipperd.web.routes import Route, answer


async def status(app: web.Application) -> dict[str, Any]:
    """Return the status, which ``status`` events and snapshots also carry."""
    about = app[ABOUT]
    found: dict[str, Any] = {
        "version": about.version,
        "api": 1,
        "instance_id": about.instance_id,
        "started_at": rfc3339(about.started_at),
        "uptime_s": round(app[CLOCK].boot() - about.started_boot, 3),
    }
    for name, provider in app[STATUS_PARTS].items():
        found[name] = await provider()
    return found


async def _status(request: web.Request) -> web.Response:
    return answer(await status(request.app))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/status",
        _status,
        "read",
        "Version, uptime, connectivity, queue, index, push, secret storage",
        answers={200: dict[str, Any]},
    ),
)
