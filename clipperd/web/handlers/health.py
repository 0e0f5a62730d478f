"""``GET /v1/health``: the checks of the daemon with their causes and remedies."""

from __future__ import annotations

from aiohttp import web

from clipperd.health import HealthView
from clipperd.web.keys import CLOCK, HEALTH
from clipperd.web.routes import Route, answer


async def _get_health(request: web.Request) -> web.Response:
    return answer(await request.app[HEALTH].report(request.app[CLOCK].now()))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/health",
        _get_health,
        "read",
        "Checks with severity, since, depends_on and remedy",
        answers={200: HealthView},
    ),
)
