"""A connection to a SQLite file: durable, in WAL mode, folded back by nobody but its writer."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_PAGES_KIB = 250  # what each of the four connections keeps of its file; the system keeps the rest


def connect(
    path: Path, synchronous: str, patience_s: float, *, query_only: bool
) -> sqlite3.Connection:
    """Open or create ``path``. ``patience_s``: how long it waits for another program's lock.

    Raises sqlite3.Error when the file is damaged or the disk refuses.
    """
    connection = sqlite3.connect(
        path, timeout=patience_s, isolation_level=None, cached_statements=256
    )
    try:
        _configure(connection, synchronous, query_only=query_only)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, synchronous: str, *, query_only: bool) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
    connection.execute(f"PRAGMA cache_size=-{_PAGES_KIB}")
    connection.execute("PRAGMA fullfsync=ON")  # macOS: a plain fsync leaves the drive's cache
    connection.execute("PRAGMA checkpoint_fullfsync=ON")
    if query_only:
        connection.execute("PRAGMA query_only=ON")
    else:
        # Savepoints keep what they would undo in memory: a file of its own costs 30 us a write.
        connection.execute("PRAGMA temp_store=MEMORY")
