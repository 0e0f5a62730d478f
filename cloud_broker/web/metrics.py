"""Serves ``GET /metrics`` in Prometheus' text format."""

from __future__ import annotations

from aiohttp import web

from cloud_broker.monitoring.metrics import CONTENT_TYPE, Metrics
from cloud_broker.web.health import READINESS

METRICS: web.AppKey[Metrics] = web.AppKey("metrics")
ROUTES = web.RouteTableDef()


@ROUTES.get("/metrics")
async def metrics(request: web.Request) -> web.StreamResponse:
    """Render all metrics; no label holds an id."""
    await request.app[READINESS].try_database()
    text = request.app[METRICS].render()
    return web.Response(
        body=text.encode(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    )
