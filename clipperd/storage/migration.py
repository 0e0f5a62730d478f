"""Bringing a SQLite file's schema up to date: each step once, in order, whole or not at all."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clipperd.errors import SchemaTooNew

Step = Callable[[sqlite3.Connection], None]


def refuse_newer(path: Path, name: str, steps: Sequence[Step]) -> None:
    """Raise SchemaTooNew for a file that knows more steps, without a byte of it or its log changed.

    A connection that may write would fold a log that was left back into the file.
    """
    if not path.is_file():
        return
    with (
        contextlib.suppress(sqlite3.Error),  # whoever opens it to write will tell
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as looking,
    ):
        _check(looking, name, steps)


def migrated(
    connection: sqlite3.Connection, name: str, steps: Sequence[Step]
) -> sqlite3.Connection:
    """Apply what is missing; close the connection where that fails. Raises SchemaTooNew."""
    try:
        _migrate(connection, name, steps)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, name: str, steps: Sequence[Step]) -> None:
    """Apply the steps that this file has not seen; user_version counts them."""
    if _check(connection, name, steps) == len(steps):
        return
    import sqlite_utils  # costs 60 ms, so only when there is something to do
    from sqlite_utils.migrations import Migrations

    migrations = Migrations(name)
    for step in steps:
        migrations(name=step.__name__)(_as_migration(step))
    migrations.apply(sqlite_utils.Database(connection))
    connection.execute(f"PRAGMA user_version={len(steps)}")


def _check(connection: sqlite3.Connection, name: str, steps: Sequence[Step]) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(steps):
        raise SchemaTooNew(
            f"{name} has schema {version}; this clipperd knows {len(steps)}.",
            hint="Install the newer clipperd again.",
        )
    return version


def _as_migration(step: Step) -> Any:
    def apply(db: Any) -> None:
        step(db.conn)

    return apply
