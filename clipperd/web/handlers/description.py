"""``GET /v1/openapi.json``: serves the stored OpenAPI document."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from aiohttp import web

from clipperd.web.routes import Route


@cache
def stored() -> bytes:
    """Return the document that ``python -m clipperd.web.openapi`` wrote."""
    return resources.files("clipperd.web").joinpath("openapi.json").read_bytes()


async def _get_openapi(_request: web.Request) -> web.Response:
    return web.Response(body=stored(), content_type="application/json")


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/openapi.json",
        _get_openapi,
        "read",
        "This OpenAPI document",
        answers={200: dict[str, Any]},
    ),
)
