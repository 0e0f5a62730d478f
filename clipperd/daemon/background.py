"""Work that goes on behind the API: the queue, the page index, erasing, the account in force."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

from clipperd.broker.connectivity import Link
from clipperd.clock import Clock
from clipperd.delivery.dispatch import Dispatcher
from clipperd.errors import ClipperdError, StorageFull
from clipperd.keychain.errors import SecretsUnusable
from clipperd.machine.watch import Watch
from clipperd.model import Scope
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.purge import Purge
from clipperd.pages.pages import Pages
from clipperd.push.listener import Listener
from clipperd.session.session import Session
from clipperd.storage.backup import EVERY_S, Backups

_log = logging.getLogger(__name__)

_COPY_AFTER = 120.0  # seconds after the start, which is busy enough
VITAL = "queue"
"""Without this task the daemon is none; the others can wait for the next start."""

_ERASE_EVERY = 6 * 3600.0  # delivered content is kept for days, so hours of delay do not matter
_ERASE_AFTER = 110.0  # the start is busy enough; and before the copy, which is of what is left then
_ERASE_AGAIN = 600.0  # a full disk, or a copy being made, was in the way


class ActiveAccount:
    """The account whose clips may leave now; None while nobody is signed in."""

    def __init__(self) -> None:
        """Nobody yet."""
        self.user_id: str | None = None

    def get(self) -> str | None:
        """The user's id."""
        return self.user_id


class Background:
    """Owns the daemon's long-lived tasks; each is canceled and awaited at the end."""

    def __init__(
        self,
        session: Session,
        dispatcher: Dispatcher,
        pages: Pages,
        outbox: Outbox,
        clock: Clock,
        active: ActiveAccount,
        *,
        listener: Listener | None = None,
        backups: Backups | None = None,
        watch: Watch | None = None,
        drop: Callable[[], Awaitable[None]] | None = None,
        erasure: Purge,
        refresh_s: float,
    ) -> None:
        """All parts are given; :meth:`running` starts them. ``active`` is kept up to date.

        ``on_death`` may be set: it is told of a task that ended by an error, by its name.

        ``listener``: the event stream, where there is one. ``backups``: of the queue's file.
        ``watch``: over the machine; ``drop`` then abandons every connection.

        ``erasure``: of what has had its time. ``refresh_s``: how often the page index is brought
        up to date.
        """
        self._session = session
        self._dispatcher = dispatcher
        self._pages = pages
        self._outbox = outbox
        self._clock = clock
        self._active = active
        self._listener = listener
        self._backups = backups
        self._watch = watch
        self._drop = drop
        self._erasure = erasure
        self._refresh_s = refresh_s
        self.on_death: Callable[[str, BaseException], None] = lambda _name, _error: None
        self._indexing: list[asyncio.Task[None]] = []
        self._indexed: Scope | None = None
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._changed = asyncio.Event()

    def session_changed(self) -> None:
        """Look at the session again; called at every ``session`` event."""
        self._changed.set()

    def link_changed(self, link: Link) -> None:
        """Go on at once when the network is back; called at every change of the connectivity."""
        if link.state == "offline":
            self._reachable.clear()
        elif link.state in ("online", "degraded") and not self._reachable.is_set():
            self._reachable.set()
            self._hurry()
            self.refresh_index()

    def refresh_index(self) -> None:
        """Bring the page index up to date, behind; called when the cache was made anew."""
        if self._indexed is not None:
            self._pages.poke(self._indexed)

    def _hurry(self) -> None:
        self._dispatcher.hurry()
        if self._listener is not None:
            self._listener.hurry()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run everything until the block ends."""
        tasks = [
            self._start(self._dispatcher.run(), VITAL),
            self._start(self._follow_session(), "session"),
            self._start(self._check_secrets(), "secrets"),
            self._start(self._erase(), "erase"),
        ]
        if self._listener is not None:
            tasks.append(self._start(self._listener.run(), "push"))
        if self._backups is not None:
            tasks.append(self._start(self._copy(self._backups), "copies"))
        if self._watch is not None:
            tasks.append(self._start(self._follow_machine(self._watch), "machine"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_indexing()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._report)
        return task

    def _report(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.critical("the task %s ended", task.get_name(), exc_info=error)
            self.on_death(task.get_name(), error)

    async def _check_secrets(self) -> None:
        try:
            await self._session.check()
        except SecretsUnusable as error:
            _log.error("the session's secrets cannot be used", extra={"code": error.code})

    async def _follow_session(self) -> None:
        """Let the signed-in account's clips leave, and keep its page index."""
        while True:
            self._changed.clear()
            view = await self._session.view()
            signed_in = view.state == "signed_in" and view.user is not None
            active = view.user.id if signed_in and view.user is not None else None
            if active != self._active.user_id:
                self._active.user_id = active
                self._dispatcher.hurry()
                if self._listener is not None:
                    self._listener.account_changed()
            await self._index(active)
            await self._changed.wait()

    async def _follow_machine(self, watch: Watch) -> None:
        """After a sleep or on another network: no pause is waited out, no dead line believed."""
        async with aclosing(watch.changes()) as changes:
            async for change in changes:
                if change.ends_connections and self._drop is not None:
                    await self._drop()
                if change.ends_connections or not self._reachable.is_set():
                    slept_s = round(change.slept_s)
                    _log.info("the network or the machine is back", extra={"slept_s": slept_s})
                    self._hurry()

    async def _index(self, user: str | None) -> None:
        scope: Scope | None = None
        if user is not None:
            with contextlib.suppress(ClipperdError):  # signed in without a workspace
                scope = await self._session.accounts.scope(None)
        if scope == self._indexed:
            return
        await self._stop_indexing()
        self._indexed = scope
        if scope is not None:
            self._indexing = [
                self._start(self._pages.run(scope), "index"),
                self._start(self._keep_fresh(scope), "refresh"),
            ]

    async def _keep_fresh(self, scope: Scope) -> None:
        """Bring the index up to date now and then: one timer, and none while offline.

        Not while changes are told and nothing was edited: what is new was asked for already.
        """
        while True:
            await self._reachable.wait()
            await self._clock.sleep(self._refresh_s)
            is_current = self._listener is not None and self._listener.vouches_for_index(scope)
            if self._reachable.is_set() and not is_current:
                self._pages.poke(scope)

    async def _stop_indexing(self) -> None:
        tasks, self._indexing = self._indexing, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _erase(self) -> None:
        await self._clock.sleep(_ERASE_AFTER)
        while True:
            is_done = await self._erasure.once()
            await self._clock.sleep(_ERASE_EVERY if is_done else _ERASE_AGAIN)

    async def _copy(self, backups: Backups) -> None:
        """Copy the queue's file once a day on which it changed."""
        await self._clock.sleep(_COPY_AFTER)
        while True:
            wait = await asyncio.to_thread(backups.wait_s, self._clock.now())
            if wait <= 0:
                wait = EVERY_S
                try:
                    await asyncio.to_thread(backups.make, self._clock.now())
                except (StorageFull, OSError, sqlite3.Error) as error:
                    _log.warning("the queue's file was not copied", exc_info=error)
            await self._clock.sleep(wait)
