"""Runs the daemon's background tasks: queue, index, purge, backups, push, signed-in user."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

from clipperd.broker.connectivity import ConnectivityStatus
from clipperd.clock import Clock
from clipperd.delivery.dispatch import Dispatcher
from clipperd.errors import ClipperdError, StorageFull
from clipperd.keychain.errors import SecretsUnusable
from clipperd.machine.watch import Watch
from clipperd.model import Scope
from clipperd.outbox.purge import Purge
from clipperd.pages.pages import Pages
from clipperd.push.listener import Listener
from clipperd.session.session import Session
from clipperd.storage.backup import EVERY_S, Backups

_log = logging.getLogger(__name__)

VITAL = "queue"
"""The daemon ends when this task fails. The other tasks can wait for the next start."""

# Seconds after the start, which has enough to do. The purge runs before the backup, so that the
# backup does not hold what the purge erases.
_PURGE_AFTER_S = 110.0
_BACKUP_AFTER_S = 120.0
_PURGE_EVERY_S = 6 * 3600.0  # delivered content is kept for days: hours of delay do not matter
_PURGE_RETRY_S = 600.0  # after a full disk, or while a backup was being made


class ActiveAccount:
    """The user whose clips are being delivered; None while no user is signed in."""

    def __init__(self) -> None:
        """Start signed out."""
        self.user_id: str | None = None

    def get(self) -> str | None:
        """Return the user's id."""
        return self.user_id


class Background:
    """Owns the daemon's long-lived tasks. ``on_death`` is called with each one that fails."""

    def __init__(
        self,
        *,
        session: Session,
        dispatcher: Dispatcher,
        pages: Pages,
        listener: Listener,
        clock: Clock,
        active: ActiveAccount,
        backups: Backups,
        purge: Purge,
        watch: Watch,
        drop_connections: Callable[[], Awaitable[None]],
        refresh_s: float,
    ) -> None:
        """Keep ``active`` up to date. ``refresh_s``: seconds between updates of the page index."""
        self._session = session
        self._dispatcher = dispatcher
        self._pages = pages
        self._listener = listener
        self._clock = clock
        self._active = active
        self._backups = backups
        self._purge = purge
        self._watch = watch
        self._drop_connections = drop_connections
        self._refresh_s = refresh_s
        self.on_death: Callable[[str, BaseException], None] = lambda _name, _error: None
        self._indexing: list[asyncio.Task[None]] = []
        self._indexed: Scope | None = None
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._changed = asyncio.Event()

    def session_changed(self) -> None:
        """Read the session again; called at every ``session`` event."""
        self._changed.set()

    def link_changed(self, link: ConnectivityStatus) -> None:
        """Resume when the network is back; called at every change of the connectivity."""
        if link.state == "offline":
            self._reachable.clear()
        elif link.state in ("online", "degraded") and not self._reachable.is_set():
            self._reachable.set()
            self._hurry()
            self.refresh_index()

    def refresh_index(self) -> None:
        """Update the page index; called when the cache was recreated."""
        if self._indexed is not None:
            self._pages.poke(self._indexed)

    def _hurry(self) -> None:
        self._dispatcher.hurry()
        self._listener.retry_now()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the tasks until the block ends, then cancel and await them."""
        tasks = [
            self._start(self._dispatcher.run(), VITAL),
            self._start(self._follow_session(), "session"),
            self._start(self._check_secrets(), "secrets"),
            self._start(self._erase_expired(), "purge"),
            self._start(self._listener.run(), "push"),
            self._start(self._back_up(), "backups"),
            self._start(self._follow_machine(), "machine"),
        ]
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
            _log.critical("the task %s failed", task.get_name(), exc_info=error)
            self.on_death(task.get_name(), error)

    async def _check_secrets(self) -> None:
        try:
            await self._session.check()
        except SecretsUnusable as error:
            _log.error("the stored session cannot be read", extra={"code": error.code})

    async def _follow_session(self) -> None:
        """Deliver the clips of the signed-in user and keep that user's page index."""
        while True:
            self._changed.clear()
            view = await self._session.view()
            signed_in = view.state == "signed_in" and view.user is not None
            active = view.user.id if signed_in and view.user is not None else None
            if active != self._active.user_id:
                self._active.user_id = active
                self._dispatcher.hurry()
                self._listener.account_changed()
            await self._index(active)
            await self._changed.wait()

    async def _follow_machine(self) -> None:
        """Reconnect and reset backoff after a sleep or a change of the network."""
        async with aclosing(self._watch.changes()) as changes:
            async for change in changes:
                if change.breaks_connections:
                    await self._drop_connections()
                if change.breaks_connections or not self._reachable.is_set():
                    slept_s = round(change.slept_s)
                    _log.info(
                        "the machine woke up or the network changed", extra={"slept_s": slept_s}
                    )
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
        """Update the index every ``refresh_s`` seconds; no timer runs while offline.

        Skips the update while the push stream is up and has reported no edit.
        """
        while True:
            await self._reachable.wait()
            await self._clock.sleep(self._refresh_s)
            is_current = self._listener.is_index_current(scope)
            if self._reachable.is_set() and not is_current:
                self._pages.poke(scope)
            elif is_current:
                with contextlib.suppress(ClipperdError):  # the next round tries again
                    await self._pages.find_lost(scope)  # no event reports a page shared again

    async def _stop_indexing(self) -> None:
        tasks, self._indexing = self._indexing, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _erase_expired(self) -> None:
        await self._clock.sleep(_PURGE_AFTER_S)
        while True:
            is_done = await self._purge.once()
            await self._clock.sleep(_PURGE_EVERY_S if is_done else _PURGE_RETRY_S)

    async def _back_up(self) -> None:
        """Copy outbox.db once a day on which it changed."""
        await self._clock.sleep(_BACKUP_AFTER_S)
        while True:
            wait_s = await asyncio.to_thread(self._backups.wait_s, self._clock.now())
            if wait_s <= 0:
                wait_s = EVERY_S
                try:
                    await asyncio.to_thread(self._backups.make, self._clock.now())
                except (StorageFull, OSError, sqlite3.Error) as error:
                    _log.warning("the backup of outbox.db failed", exc_info=error)
            await self._clock.sleep(wait_s)
