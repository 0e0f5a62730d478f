"""Keeps the daemon's files under their names while it runs: lock, endpoint.json, databases."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from clipperd.errors import ClipperdError
from clipperd.machine.os_events import OsEvents
from clipperd.process import endpoint
from clipperd.process.lock import InstanceLock
from clipperd.storage.database import STORE_ERRORS, Store

_log = logging.getLogger(__name__)


class HomeGuard:
    """Restores what another program deletes or replaces; every write of a database does too."""

    def __init__(
        self,
        instance_lock: InstanceLock,
        endpoint_file: Path,
        published: endpoint.Endpoint,
        databases: Sequence[Store],
    ) -> None:
        """``published``: the content of ``endpoint_file``."""
        self._lock = instance_lock
        self._endpoint_file = endpoint_file
        self._published = published
        self._databases = databases

    async def check(self) -> None:
        """Lock and write again what is missing. Logs what it cannot restore; raises nothing."""
        try:
            self._lock.renew()
            if endpoint.read(self._endpoint_file) != self._published:
                endpoint.write(self._endpoint_file, self._published)
        except OSError as error:
            _log.error("the lock or endpoint.json cannot be restored", exc_info=error)
        for database in self._databases:
            with contextlib.suppress(ClipperdError, *STORE_ERRORS):  # the database has logged it
                await database.write(lambda _: None)  # a write checks the file's name

    @contextlib.asynccontextmanager
    async def watching(self, events: OsEvents) -> AsyncIterator[None]:
        """Check whenever a file of the folder is deleted, moved or replaced."""
        changed = asyncio.Event()
        task = asyncio.create_task(self._follow(changed))
        events.open(changed.set)
        try:
            yield
        finally:
            events.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, changed: asyncio.Event) -> None:
        while True:
            await changed.wait()
            changed.clear()
            await self.check()
