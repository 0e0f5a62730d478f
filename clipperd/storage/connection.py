"""Opens connections to a SQLite file: durable, in WAL mode, without automatic checkpoints."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from clipperd.storage.disk import unfit_file_system

_CACHE_KIB = 250  # SQLite page cache per connection, of four; the OS caches the rest


def connect(
    path: Path, synchronous: str, busy_timeout_s: float, *, query_only: bool
) -> sqlite3.Connection:
    """Open or create ``path``. ``busy_timeout_s``: how long to wait for another program's lock.

    Raises sqlite3.Error when the file is damaged, or on a disk error.
    """
    connection = sqlite3.connect(
        path,
        timeout=busy_timeout_s,
        isolation_level=None,
        cached_statements=256,
        check_same_thread=False,  # the writer reopens the reader's: see _WriterConnection
    )
    try:
        _configure(connection, synchronous, query_only=query_only)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, synchronous: str, *, query_only: bool) -> None:
    connection.row_factory = sqlite3.Row
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise unfit_file_system()
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")  # overwrites deleted rows
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    connection.execute("PRAGMA fullfsync=ON")  # macOS: a plain fsync leaves the drive's cache
    connection.execute("PRAGMA checkpoint_fullfsync=ON")
    if query_only:
        connection.execute("PRAGMA query_only=ON")
    else:
        # Keep savepoint journals in memory: a temporary file costs 30 us a write.
        connection.execute("PRAGMA temp_store=MEMORY")
