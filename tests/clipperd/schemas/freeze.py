"""``python -m tests.clipperd.schemas.freeze``: stores today's schemas with rows, for ever.

Run it once after you add a step: test_schemas.py migrates each frozen file. It never overwrites a
frozen file, so a later change to a released step fails the test.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.storage.database import Database
from clipperd.storage.migration import Step

FOLDER = Path(__file__).parent
FILES: dict[str, Sequence[Step]] = {"outbox": STEPS, "cache": CACHE_STEPS}
"""Each file's steps today."""

ADDED: dict[str, Sequence[str]] = {
    "outbox": (
        *("m001_clips", "m001_session", "p001_marks", "m_api_client"),
        "m002_due_times",
        "m002_login_outcome",
        "m003_identity",
    ),
    "cache": tuple(step.__name__ for step in CACHE_STEPS),
}
"""The names of the steps in the order in which they came; the first four of the queue together."""

FIRST = {"outbox": 4, "cache": 1}
"""How many steps the first version had."""


JSON = {
    **dict.fromkeys(("chunk_ids", "block_ids", "members", "expected"), "[]"),
    **dict.fromkeys(("body", "source", "limits", "parent"), "{}"),
    "position": '{"type":"end"}',
    "icon": '"x"',
    "new_page": None,
    "undo": None,
    "position_changed": None,
}
"""Columns that hold JSON, or nothing."""


def early(name: str, count: int) -> Sequence[Step]:
    """Return the steps of the version with ``count`` steps."""
    names = ADDED[name][:count]
    return [step for step in FILES[name] if step.__name__ in names]


def make(name: str, count: int, file: Path) -> None:
    """Create a file of that version, with a row in each table."""
    Database.open(file, name=name, steps=early(name, count), synchronous="NORMAL").close()
    connection = sqlite3.connect(file)
    try:
        connection.execute("PRAGMA foreign_keys=OFF")
        with connection:
            for table in tables(connection):
                _fill(connection, table)
    finally:
        connection.close()


def tables(connection: sqlite3.Connection) -> list[str]:
    """Return our tables, without the hidden tables of a virtual one."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    virtual = [name for name, sql in rows if "VIRTUAL" in sql]
    return [
        name
        for name, _ in rows
        if not name.startswith(("sqlite_", "_sqlite_"))
        and not any(name.startswith(f"{each}_") for each in virtual)
    ]


def _fill(connection: sqlite3.Connection, table: str) -> None:
    """One row; words that the table allows where it names them, else values of the right type."""
    sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    values: dict[str, object] = {}
    for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({table})"):
        _, _, rule = sql.partition(f"CHECK ({column} IN (")
        if rule.startswith("'"):
            values[column] = rule.split("'")[1]
        elif kind == "TEXT" and column in JSON:
            values[column] = JSON[column]
        else:
            values[column] = {"INTEGER": 1, "REAL": 2.5, "BLOB": b"[1]"}.get(kind, f"a {column}")
    marks = ", ".join("?" * len(values))
    connection.execute(
        f"INSERT OR REPLACE INTO {table} ({', '.join(values)}) VALUES ({marks})",
        [*values.values()],
    )


def _dump(connection: sqlite3.Connection) -> Iterator[str]:
    """Statements that make the file again; what is behind a virtual table comes with it."""
    ours = [*tables(connection), "_sqlite_migrations"]
    for kind, name, sql in connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'trigger'"
    ).fetchall():
        if kind == "table" and name not in ours:
            continue
        yield sql
    for table in ours:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        values = " || ', ' || ".join(f"quote({column})" for column in columns)
        for (row,) in connection.execute(f"SELECT {values} FROM {table}"):
            yield f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({row})"
    for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'"):
        yield sql


def main() -> None:
    """Freeze every version that is not frozen yet."""
    for name, steps in FILES.items():
        for count in range(FIRST[name], len(steps) + 1):
            frozen = FOLDER / f"{name}-{count}.sql"
            if frozen.exists():
                continue
            with tempfile.TemporaryDirectory() as folder:
                made = Path(folder) / f"{name}.db"
                make(name, count, made)
                connection = sqlite3.connect(made)
                lines = [*_dump(connection), f"PRAGMA user_version={count}"]
                connection.close()
            frozen.write_text(";\n".join(lines) + ";\n", "utf-8")


if __name__ == "__main__":
    main()
