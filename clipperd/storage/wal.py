"""The write-ahead log of a SQLite file: when it is folded back, and for whom that waits.

Nobody else checkpoints: the file's one writer does, between its transactions.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_LARGE_BYTES = 4 << 20  # fold the log back once it has grown by this and nobody writes
_MANY_ROWS = 300  # ... or holds so many changes, 4 MB of small clips: begun anew it does not grow
_HUGE_BYTES = 64 << 20  # ... or at this, whoever waits; its file stays no larger, unless it is read
_FOLD_WAIT_MS = 100  # so long does folding back wait for who reads in the log
REWRITTEN_BYTES = 16 << 20
"""A larger file is not written anew: that would take too long for who comes meanwhile."""
QUIET_S = 0.1
"""Nobody has written for so long: who posts clip after clip waits for no folding."""


class WriteAheadLog:
    """What its file is like since it was folded back last.

    The file keeps its size when the log is begun anew (which spares its growth the next time), so
    its size alone does not tell what it holds.
    """

    def __init__(self, path: Path, quiet_s: float) -> None:
        """``path`` is the file's; :meth:`rest` asks for ``quiet_s`` seconds."""
        self._file = path
        self._path = path.with_name(path.name + "-wal")
        self._quiet_s = quiet_s
        self._emptied = -1  # rows changed so far, when nothing was left of what was deleted
        self._folded = (0, 0)  # its size, and the rows changed so far, at the last folding

    def rest(self, connection: sqlite3.Connection, *, waited_for: bool) -> float | None:
        """Fold the log back if it is worth it now; ``waited_for``: the next write may be here.

        Returns the seconds of quiet after which to call again without, None for never.
        """
        with contextlib.suppress(OSError, sqlite3.Error):
            size, rows = self._path.stat().st_size, connection.total_changes
            grown, changed = size - self._folded[0], rows - self._folded[1]
            is_full = grown > _LARGE_BYTES or changed > _MANY_ROWS
            is_huge = size > _HUGE_BYTES
            is_wanted = is_huge or (size > _LARGE_BYTES and is_full)
            if not is_wanted or (waited_for and not (is_huge and grown > 0)):
                return self._quiet_s if is_wanted else None
            mode = "TRUNCATE" if is_huge and not waited_for else "RESTART"
            self._folded = (_fold(connection, size, mode), rows)
        return None

    def empty(self, connection: sqlite3.Connection) -> bool:
        """Leave nothing of what was deleted in file or log; say if that went.

        Where a page is split or joined SQLite leaves bytes of rows that moved, which only writing
        the file anew removes.
        """
        if connection.total_changes == self._emptied:
            return True
        try:
            if self._file.stat().st_size <= REWRITTEN_BYTES:
                connection.execute("VACUUM")
            if _fold(connection, 0, "TRUNCATE"):
                return False
        except (OSError, sqlite3.Error):
            return False
        self._emptied = connection.total_changes
        self._folded = (0, self._emptied)
        return True

    def end(self, connection: sqlite3.Connection) -> None:
        """Leave one file behind, if nobody reads in the log for long."""
        with contextlib.suppress(sqlite3.Error):
            connection.execute(f"PRAGMA busy_timeout={_FOLD_WAIT_MS}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _fold(connection: sqlite3.Connection, size: int, mode: str) -> int:
    """Fold the log of ``size`` back; return the size from which it has grown then.

    Whoever reads in it for long, perhaps another program, keeps it from beginning anew; that must
    not hold up the next write. It is tried again once the log is 4 MB longer, or in quiet.
    """
    patience_ms = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout={_FOLD_WAIT_MS}")
    try:
        busy = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0]
    finally:
        connection.execute(f"PRAGMA busy_timeout={patience_ms}")
    if busy:
        return size + _LARGE_BYTES
    return size if mode == "RESTART" else 0
