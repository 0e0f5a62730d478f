"""Read the outbox from its file while no daemon runs. Never writes, never waits.

Shows the current account's clips by default, like every list.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clipperd.model import FINISHED
from clipperd.outbox.records import OPEN_SQL
from clipperd.storage.text import readable

_MINE = "WHERE user_id = (SELECT user_id FROM account WHERE is_current = 1)"


def waiting(file: Path) -> int | None:
    """Count the unfinished clips; None if the file cannot be read."""
    with opened(file) as connection:
        if connection is None:
            return None
        rows = connection.execute(f"SELECT clip_seq, state FROM delivery {_MINE}").fetchall()
        return len({row["clip_seq"] for row in rows if row["state"] not in FINISHED})


def accounts(file: Path) -> list[dict[str, Any]]:
    """Return the accounts with unfinished clips: user_id, email, state, is_current, waiting, …"""
    with opened(file) as connection:
        if connection is None:
            return []
        rows = connection.execute(
            "SELECT user_id, max(email) AS email, max(account.state) AS state,"
            " max(is_current) AS is_current,"
            " count(DISTINCT iif(d.state = 'needs_attention', NULL, clip_seq)) AS waiting,"
            " count(DISTINCT iif(d.state = 'needs_attention', clip_seq, NULL)) AS needs_attention"
            f" FROM delivery d LEFT JOIN account USING (user_id) WHERE d.state IN {OPEN_SQL}"
            " GROUP BY user_id"
        )
        return [dict(row) for row in rows]


_PROBE = "SELECT 1 FROM delivery JOIN account USING (user_id) LIMIT 1"


@contextmanager
def opened(file: Path, probe: str = _PROBE) -> Iterator[sqlite3.Connection | None]:
    """Open the file read-only; yield None if it is absent or ``probe`` fails on it.

    On a full or read-only disk SQLite cannot create its ``-shm`` file and reads the database only
    as immutable. It is immutable while no daemon runs; a log that a crash left is read too where
    the disk permits.
    """
    log = file.with_name(file.name + "-wal")
    is_folded = not log.exists() or log.stat().st_size == 0
    for mode in ("mode=ro", "immutable=1") if is_folded else ("mode=ro",):
        if not file.is_file():
            break
        connection = sqlite3.connect(f"file:{quote(str(file))}?{mode}", uri=True, timeout=1)
        with closing(connection):
            connection.row_factory = sqlite3.Row
            connection.text_factory = readable
            try:
                connection.execute(probe)
            except sqlite3.Error:
                continue
            yield connection
            return
    yield None
