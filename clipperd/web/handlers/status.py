"""``GET /v1/status``: what every part of the daemon says about itself, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from clipperd.clock import Clock, rfc3339
from clipperd.web.middleware.chain import CLOCK
from clipperd.web.routes import Route, answer

Provider = Callable[[], Awaitable[Any]]

STATUS_PARTS: web.AppKey[Mapping[str, Provider]] = web.AppKey("status_parts")
"""Sections by name: ``connectivity``, ``queue``, ``index``, ``push``, ``secrets``, ..."""


class About(msgspec.Struct, frozen=True):
    """What the daemon knows of itself. ``started_boot`` and ``started_at`` in seconds."""

    version: str
    instance_id: str
    started_at: float
    started_boot: float

    @classmethod
    def now(cls, version: str, instance_id: str, clock: Clock) -> About:
        """A daemon that starts at this moment."""
        return cls(version, instance_id, clock.now(), clock.boot())


ABOUT: web.AppKey[About] = web.AppKey("about")


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
