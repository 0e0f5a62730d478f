"""``GET /v1/status``: the state of every part of the daemon."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, cast

from aiohttp import web

from clipperd.broker.connectivity import ConnectivityView
from clipperd.clips.clips import QueueStatus
from clipperd.clock import rfc3339
from clipperd.keychain.secrets import Mode
from clipperd.pages.entries import IndexStatus
from clipperd.push.listener import PushView
from clipperd.session.view import SessionView
from clipperd.web.keys import ABOUT, CLOCK, STATUS_PARTS
from clipperd.web.routes import Route, answer


class SecretsView(TypedDict):
    """Where the session is kept, and why not in the keyring."""

    mode: Mode
    why: str | None


class Status(TypedDict):
    """The state of every part of the daemon."""

    version: str
    api: Literal[1]
    instance_id: str
    started_at: str
    uptime_s: float
    connectivity: ConnectivityView
    queue: QueueStatus
    index: IndexStatus
    push: PushView
    secrets: SecretsView


class StreamStart(TypedDict):
    """The first event of a stream."""

    status: Status
    session: SessionView


async def status(app: web.Application) -> Status:
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
    return cast(Status, found)


async def _get_status(request: web.Request) -> web.Response:
    return answer(await status(request.app))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/status",
        _get_status,
        "read",
        "Version, uptime, connectivity, queue, index, push, secret storage",
        answers={200: Status},
    ),
)
