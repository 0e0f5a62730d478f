"""Erase expired content from every file: the queue, its log, its copies, damaged files.

A deleted row leaves its bytes in the file, in the log and in every earlier copy. SQLite overwrites
the file (``PRAGMA secure_delete``); this module does the rest.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from clipperd.clock import Clock
from clipperd.errors import StorageFull
from clipperd.outbox import retention
from clipperd.outbox.outbox import Outbox
from clipperd.storage.backup import Backups
from clipperd.storage.recovery import discard

_log = logging.getLogger(__name__)


class Purge:
    """Erases expired content from every file of the home that holds clips."""

    def __init__(
        self,
        outbox: Outbox,
        backups: Backups,
        quarantine: Path,
        clock: Clock,
        *,
        keep_content_s: float,
    ) -> None:
        """``keep_content_s``: how long the content of a finished clip is kept."""
        self._outbox = outbox
        self._backups = backups
        self._quarantine = quarantine
        self._clock = clock
        self._keep_content_s = keep_content_s

    async def once(self) -> bool:
        """Erase expired content. Returns False if a file was in use: try again soon."""
        now = self._clock.now()
        erase = partial(retention.erase_expired, now=now, keep_content_s=self._keep_content_s)
        try:
            await self._outbox.write(erase)
            is_done = await self._outbox.db.erase_deleted()
            # A copy made from here on holds newer rows than ``live``.
            copies = await asyncio.to_thread(self._backups.all)
            live = await self._outbox.read(retention.live)
            await asyncio.to_thread(self._elsewhere, copies, live, now)
        except (StorageFull, OSError, sqlite3.Error) as error:
            _log.warning("could not erase expired content from every file", exc_info=error)
            return False
        return is_done

    def _elsewhere(self, copies: Sequence[Path], live: retention.Live, now: float) -> None:
        self._backups.amend(copies, lambda copy: retention.keep_only(copy, live))
        discard(self._quarantine, now, self._keep_content_s)
