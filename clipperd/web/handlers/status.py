"""``GET /v1/status``: what every part of the daemon says about itself, put together."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from clipperd.clock import rfc3339
from clipperd.web.keys import ABOUT, CLOCK, STATUS_PARTS
from clipperd.web.routes import Route, answer


async def status(app: web.Application) -> dict[str, Any]:
    """Assemble the answer; ``status`` events and the snapshot carry the same."""
    about = app[ABOUT]
    whole: dict[str, Any] = {
        "version": about.version,
        "api": 1,
        "instance_id": about.instance_id,
        "started_at": rfc3339(about.started_at),
        "uptime_s": round(app[CLOCK].boot() - about.started_boot, 3),
    }
    for name, provider in app[STATUS_PARTS].items():
        whole[name] = await provider()
    return whole


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
