"""Decides when to checkpoint the write-ahead log without delaying foreground writers.

Only the file's one writer checkpoints, between its transactions.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_LARGE_BYTES = 4 << 20  # checkpoint when idle once the log has grown by this
_MANY_ROWS = 300  # ... or holds this many changes (4 MB of small clips): a reused log does not grow
_HUGE_BYTES = 64 << 20  # checkpoint even between writes; bounds the log's file unless it is read
_BUSY_TIMEOUT_MS = 100  # how long a checkpoint waits for readers of the log
VACUUM_MAX_BYTES = 16 << 20
"""Skip VACUUM above this size: it would block callers too long."""
CHECKPOINT_IDLE_S = 0.1
"""Checkpoint only after this many seconds without a write, so that posting in a row never waits."""


class WriteAheadLog:
    """The log's growth since the last checkpoint.

    After a checkpoint SQLite reuses the log's file at its full size, so the size alone does not
    show how much the log holds.
    """

    def __init__(self, path: Path, idle_s: float) -> None:
        """``path``: the database; ``idle_s``: seconds without a write before a checkpoint."""
        self._file = path
        self._path = path.with_name(path.name + "-wal")
        self._idle_s = idle_s
        self._erased_at = -1  # total_changes when file and log last held nothing deleted
        self._checkpointed_at = (0, 0)  # the log's size and total_changes at the last checkpoint

    def checkpoint_if_due(self, connection: sqlite3.Connection, *, is_busy: bool) -> float | None:
        """Checkpoint a log that is large enough; with ``is_busy`` the next write may be waiting.

        Returns the seconds without a write after which to call again with False; None for never.
        """
        with contextlib.suppress(OSError, sqlite3.Error):
            size, rows = self._path.stat().st_size, connection.total_changes
            grown = size - self._checkpointed_at[0]
            changed = rows - self._checkpointed_at[1]
            is_full = grown > _LARGE_BYTES or changed > _MANY_ROWS
            is_huge = size > _HUGE_BYTES
            is_due = is_huge or (size > _LARGE_BYTES and is_full)
            if not is_due or (is_busy and not (is_huge and grown > 0)):
                return self._idle_s if is_due else None
            mode = "TRUNCATE" if is_huge and not is_busy else "RESTART"
            self._checkpointed_at = (_checkpoint(connection, size, mode), rows)
        return None

    def erase_deleted(self, connection: sqlite3.Connection) -> bool:
        """Remove every trace of deleted rows from file and log; return whether it worked.

        Needs VACUUM: splitting or merging a page leaves bytes of moved rows behind.
        """
        if connection.total_changes == self._erased_at:
            return True
        try:
            if self._file.stat().st_size <= VACUUM_MAX_BYTES:
                connection.execute("VACUUM")
            if _checkpoint(connection, 0, "TRUNCATE"):
                return False
        except (OSError, sqlite3.Error):
            return False
        self._erased_at = connection.total_changes
        self._checkpointed_at = (0, self._erased_at)
        return True

    def close(self, connection: sqlite3.Connection) -> None:
        """Checkpoint into a single file, unless a reader holds the log for long."""
        with contextlib.suppress(sqlite3.Error):
            connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _checkpoint(connection: sqlite3.Connection, size: int, mode: str) -> int:
    """Checkpoint a log of ``size`` bytes; return the size from which its growth counts.

    A long reader, perhaps another program, keeps the log from restarting and must not hold up the
    next write, so the wait is short. The next try comes 4 MB later, or at the next idle moment.
    """
    busy_timeout_ms = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    try:
        busy = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0]
    finally:
        connection.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
    if busy:
        return size + _LARGE_BYTES
    return size if mode == "RESTART" else 0
