"""Binds the parts of the daemon to the routes of the local API."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from clipperd.broker.connectivity import ConnectivityView
from clipperd.daemon.assembly import Daemon
from clipperd.errors import ClipperdError
from clipperd.pages.entries import IndexStatus
from clipperd.push.listener import PushView
from clipperd.web import keys
from clipperd.web.handlers.status import SecretsView, StreamStart, status
from clipperd.web.keys import ShutdownTime


class Api:
    """The local API of one daemon; owns the tasks that requests and events start."""

    def __init__(self, daemon: Daemon, app: web.Application) -> None:
        """Bind ``daemon`` to ``app``. ``stop`` is set when the daemon must stop."""
        self.stop = asyncio.Event()
        self._daemon = daemon
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()
        self._bind()

    def _bind(self) -> None:
        daemon, app = self._daemon, self._app
        app[keys.EVENTS] = daemon.events
        app[keys.SNAPSHOT] = self._snapshot
        app[keys.SESSION] = daemon.session
        app[keys.ACCOUNTS] = daemon.session.accounts
        app[keys.PAGES] = daemon.pages
        app[keys.OUTLINES] = daemon.outlines
        app[keys.CLIPS] = daemon.clips
        app[keys.SUBMISSION] = daemon.submission
        app[keys.PASS_THROUGH] = daemon.passthrough
        app[keys.SETTINGS] = daemon.settings
        app[keys.HEALTH] = daemon.health
        app[keys.SHUTDOWN] = self._shutdown
        app[keys.STATUS_PARTS] = {
            "connectivity": self._link,
            "queue": daemon.clips.status,
            "index": self._index,
            "push": self._push,
            "secrets": self._secrets,
        }
        daemon.connectivity.observe(self._link_changed)

    async def close(self) -> None:
        """Stop the tasks that the API started."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _link_changed(self, _link: object) -> None:
        if self._daemon.events.attached:
            self._start(self._publish_status())

    async def _publish_status(self) -> None:
        self._daemon.events.publish("status", await status(self._app))

    def _shutdown(self, when: ShutdownTime) -> None:
        if when == "now":
            self.stop.set()
        else:
            self._start(self._stop_when_idle())

    async def _stop_when_idle(self) -> None:
        await self._daemon.dispatcher.at_rest()
        self.stop.set()

    async def _snapshot(self) -> StreamStart:
        """Return the first event of a stream."""
        return {"status": await status(self._app), "session": await self._daemon.session.view()}

    async def _link(self) -> ConnectivityView:
        return self._daemon.connectivity.status.view()

    async def _index(self) -> IndexStatus:
        try:
            scope = await self._daemon.session.accounts.scope(None)
        except ClipperdError:
            return IndexStatus("never", complete=False, count=0, refreshed_at=None)
        return await self._daemon.pages.index_status(scope)

    async def _push(self) -> PushView:
        return self._daemon.listener.view()

    async def _secrets(self) -> SecretsView:
        secrets = self._daemon.session.secrets
        return {"mode": secrets.mode, "why": secrets.why}
