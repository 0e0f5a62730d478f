"""Gives a test's broker its database: a SQLite file in its folder, or PostgreSQL.

A folder with a ``postgres.url`` uses PostgreSQL; so two brokers over one folder share one database
of either kind.
"""

from __future__ import annotations

from pathlib import Path

from cloud_broker.storage.database import Database
from cloud_broker.storage.opening import open_database

_NOTE = "postgres.url"


def keep_in_postgres(folder: Path, url: str) -> None:
    """From now on the broker of ``folder`` keeps its rows at ``url``."""
    (folder / _NOTE).write_text(url)


def database_url(folder: Path) -> str:
    """The address of the database of ``folder``."""
    note = folder / _NOTE
    return note.read_text() if note.exists() else f"sqlite:///{folder / 'broker.db'}"


async def open_kept(folder: Path) -> Database:
    """Open the database of ``folder``."""
    return await open_database(database_url(folder), connections=5)


async def tables(database: Database) -> list[str]:
    """The names of every table, whichever database it is."""
    sql = {
        "BLOB": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "BYTEA": "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'",
    }[database.blob_type]
    async with database.reading() as tx:
        return [row["name"] for row in await tx.all(sql)]


async def columns(database: Database, table: str) -> list[str]:
    """The names of a table's columns."""
    sql = {
        "BLOB": "SELECT name FROM pragma_table_info(:table)",
        "BYTEA": "SELECT column_name AS name FROM information_schema.columns"
        " WHERE table_name = :table",
    }[database.blob_type]
    async with database.reading() as tx:
        return [row["name"] for row in await tx.all(sql, table=table)]


async def shape(database: Database) -> list[tuple[object, ...]]:
    """Every table, column, constraint and index, in a form that can be compared."""
    sql = {
        "BLOB": ["SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"],
        "BYTEA": [
            "SELECT table_name, ordinal_position, column_name, data_type, is_nullable,"
            " column_default FROM information_schema.columns WHERE table_schema = 'public'",
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace",
            "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        ],
    }[database.blob_type]
    async with database.reading() as tx:
        rows = [tuple(row.values()) for query in sql for row in await tx.all(query)]
    return sorted(rows, key=repr)
