"""docs/storage-schema.md against real databases: it names every table and column."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.storage.database import Database
from clipperd.storage.disposable import open_cache
from cloud_broker.clock import SystemClock
from cloud_broker.storage.migrations import migrate
from cloud_broker.storage.sqlite import open_sqlite

PAGE = (Path(__file__).parent.parent / "docs" / "storage-schema.md").read_text("utf-8")
PARTS = {
    "outbox": "## outbox.db",
    "cache": "## cache.db",
    "broker": "## The broker's database",
}
SQLITES_OWN = re.compile(r"sqlite_\w+|page_(words|grams)_(data|idx|content|docsize|config)")


def tables(file: Path) -> dict[str, set[str]]:
    """The tables of ``file``, each with its columns."""
    connection = sqlite3.connect(file)
    try:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        names = [name for (name,) in rows if not SQLITES_OWN.fullmatch(name)]
        return {
            name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
            for name in names
        }
    finally:
        connection.close()


async def database(kind: str, folder: Path) -> Path:
    """A new database of the kind, closed again."""
    file = folder / f"{kind}.db"
    if kind == "outbox":
        Database.open(file, name="outbox", steps=STEPS, synchronous="FULL").close()
    elif kind == "cache":
        open_cache(file, CACHE_STEPS).close()
    else:
        broker = await open_sqlite(file)
        await migrate(broker, SystemClock())
        await broker.close()
    return file


def sections(kind: str) -> dict[str, str]:
    """The text of the page about each table: what stands under a heading that names it."""
    part = PAGE.split(PARTS[kind] + "\n")[1].split("\n## ")[0]
    _preamble, *rest = re.split(r"\n### ", part)
    found = {"_sqlite_migrations": PAGE}
    for section in rest:
        heading, _, text = section.partition("\n")
        found |= dict.fromkeys(heading.split(", "), text)
    return found


@pytest.mark.parametrize("kind", PARTS)
async def test_every_table_has_a_section_and_every_section_a_table(
    kind: str, tmp_path: Path
) -> None:
    real = tables(await database(kind, tmp_path))
    assert set(sections(kind)) | {"_sqlite_migrations"} == set(real) | {"_sqlite_migrations"}


@pytest.mark.parametrize("kind", PARTS)
async def test_every_column_is_explained_in_its_tables_section(kind: str, tmp_path: Path) -> None:
    written = sections(kind)
    missing = [
        f"{table}.{column}"
        for table, columns in tables(await database(kind, tmp_path)).items()
        for column in columns
        if f"`{column}`" not in written[table]
    ]
    assert missing == []
