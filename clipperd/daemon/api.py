"""What the routes of the local API read, and what the API can do to the daemon as a whole."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from clipperd.clock import rfc3339
from clipperd.daemon.assembly import Parts
from clipperd.errors import ClipperdError
from clipperd.web.handlers import clips as web_clips
from clipperd.web.handlers import events as web_events
from clipperd.web.handlers import health as web_health
from clipperd.web.handlers import notion as web_notion
from clipperd.web.handlers import outlines as web_outlines
from clipperd.web.handlers import pages as web_pages
from clipperd.web.handlers import session as web_session
from clipperd.web.handlers import settings as web_settings
from clipperd.web.handlers import shutdown as web_shutdown
from clipperd.web.handlers import status as web_status


class Surface:
    """Connects the parts to the application; owns the few tasks that the API itself starts."""

    def __init__(self, parts: Parts, app: web.Application) -> None:
        """``app`` has its routes but not yet what they read."""
        self.stop = asyncio.Event()
        self._parts = parts
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()

    def furnish(self) -> None:
        """Give the routes what they read."""
        parts, app = self._parts, self._app
        app[web_events.EVENTS] = parts.events
        app[web_events.ACCOUNT] = parts.accounts.current_user
        app[web_events.SNAPSHOT] = self._snapshot
        app[web_clips.CLIPS] = parts.clips
        app[web_clips.INTAKE] = parts.intake
        app[web_session.SESSION] = parts.session
        app[web_session.UNSENT] = parts.clips.unsent
        app[web_pages.PAGES] = parts.pages
        app[web_outlines.OUTLINES] = parts.outlines
        scopes: web_outlines.Scopes = parts.accounts
        app[web_outlines.ACCOUNTS] = scopes
        app[web_settings.SETTINGS] = parts.settings
        app[web_shutdown.SHUTDOWN] = self._shutdown
        app[web_notion.PASS_THROUGH] = parts.passthrough
        app[web_notion.SCOPE_FOR] = parts.accounts.scope
        app[web_health.HEALTH] = parts.health
        app[web_status.STATUS_PARTS] = {
            "connectivity": self._link,
            "queue": parts.clips.status,
            "index": self._index,
            "push": self._push,
            "secrets": self._secrets,
        }
        parts.connectivity.listen(self._link_changed)

    async def close(self) -> None:
        """Stop what the API started."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _own(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _link_changed(self, _link: object) -> None:
        if self._parts.events.attached:
            self._own(asyncio.get_running_loop().create_task(self._tell_status()))

    async def _tell_status(self) -> None:
        self._parts.events.publish("status", await web_status.status(self._app))

    def _shutdown(self, when: web_shutdown.When) -> None:
        if when == "now":
            self.stop.set()
        else:
            self._own(asyncio.get_running_loop().create_task(self._stop_at_rest()))

    async def _stop_at_rest(self) -> None:
        await self._parts.dispatcher.at_rest()
        self.stop.set()

    async def _snapshot(self) -> dict[str, Any]:
        """What an event stream starts with."""
        return {
            "status": await web_status.status(self._app),
            "session": await self._parts.session.view(),
        }

    async def _link(self) -> dict[str, Any]:
        link = self._parts.connectivity.link
        return {"state": link.state, "since": rfc3339(link.since), "why": link.why}

    async def _index(self) -> Any:
        try:
            scope = await self._parts.accounts.scope(None)
        except ClipperdError:
            return {"state": "never", "complete": False, "count": 0}
        return await self._parts.pages.index_status(scope)

    async def _push(self) -> dict[str, Any]:
        return self._parts.listener.view()

    async def _secrets(self) -> dict[str, Any]:
        return {"mode": self._parts.secrets.mode, "why": self._parts.secrets.why}
