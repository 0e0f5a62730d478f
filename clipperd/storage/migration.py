"""Migrates a SQLite file's schema: each step once, in order, in a transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clipperd.errors import SchemaTooNew

Step = Callable[[sqlite3.Connection], None]


def refuse_newer(path: Path, name: str, steps: Sequence[Step]) -> None:
    """Raise SchemaTooNew for a file with more steps, without changing the file or its log.

    Opens it read-only: closing a connection that may write would checkpoint a leftover log.
    """
    if not path.is_file():
        return
    with (
        contextlib.suppress(sqlite3.Error),  # opening it to write reports the error
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
    ):
        _check(connection, name, steps)


def migrated(
    connection: sqlite3.Connection, name: str, steps: Sequence[Step]
) -> sqlite3.Connection:
    """Apply the missing steps; close the connection on failure. Raises SchemaTooNew."""
    try:
        _migrate(connection, name, steps)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, name: str, steps: Sequence[Step]) -> None:
    """Apply the steps whose names the file lacks; user_version counts them.

    Names decide, because a program may add a step between two others. The count lets an older
    program refuse the file, and spares the import when nothing is missing.
    """
    if _check(connection, name, steps) == len(steps):
        return
    import sqlite_utils  # takes 60 ms
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
