"""The keys of the web application, one for each object that handlers and middleware read.

``daemon/api.py`` sets the daemon's parts, ``app.create_app`` the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec
from aiohttp import web
from aiohttp.web_urldispatcher import AbstractRoute

from clipperd.clips.clips import Clips
from clipperd.clips.passthrough import LanePassThrough
from clipperd.clips.submit import ClipSubmission
from clipperd.clock import Clock
from clipperd.health import Health
from clipperd.outline.outlines import Outlines
from clipperd.pages.pages import Pages
from clipperd.session.accounts import Accounts
from clipperd.session.session import Session
from clipperd.settings.stored import StoredSettings
from clipperd.web.access import Access
from clipperd.web.hub import EventHub, Snapshot
from clipperd.web.routes import Route

ShutdownTime = Literal["now", "idle"]


class About(msgspec.Struct, frozen=True):
    """The daemon's version and start. ``started_at`` (epoch) and ``started_boot`` in seconds."""

    version: str
    instance_id: str
    started_at: float
    started_boot: float


class Limits(msgspec.Struct, frozen=True):
    """Limits on the requests of local clients. Times in seconds, sizes in bytes."""

    connections: int = 64
    streams: int = 16
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    body_bytes: int = 10 << 20


# Set by create_app.
ABOUT: web.AppKey[About] = web.AppKey("about")
ACCESS: web.AppKey[Access] = web.AppKey("access")
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
LIMITS: web.AppKey[Limits] = web.AppKey("limits")
NEW_ID: web.AppKey[Callable[[], str]] = web.AppKey("new_id")
TABLE: web.AppKey[Mapping[AbstractRoute, Route]] = web.AppKey("table")

# Set by the daemon.
ACCOUNTS: web.AppKey[Accounts] = web.AppKey("accounts")
CLIPS: web.AppKey[Clips] = web.AppKey("clips")
EVENTS: web.AppKey[EventHub] = web.AppKey("events")
HEALTH: web.AppKey[Health] = web.AppKey("health")
OUTLINES: web.AppKey[Outlines] = web.AppKey("outlines")
PAGES: web.AppKey[Pages] = web.AppKey("pages")
PASS_THROUGH: web.AppKey[LanePassThrough] = web.AppKey("pass_through")
SESSION: web.AppKey[Session] = web.AppKey("session")
SETTINGS: web.AppKey[StoredSettings] = web.AppKey("settings")
SHUTDOWN: web.AppKey[Callable[[ShutdownTime], None]] = web.AppKey("shutdown")
SNAPSHOT: web.AppKey[Snapshot] = web.AppKey("snapshot")
STATUS_PARTS: web.AppKey[Mapping[str, Callable[[], Awaitable[Any]]]] = web.AppKey("status_parts")
SUBMISSION: web.AppKey[ClipSubmission] = web.AppKey("submission")
