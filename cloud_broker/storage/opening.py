"""Opens the database that a URL names."""

from __future__ import annotations

from pathlib import Path

from cloud_broker.errors import DatabaseFailed
from cloud_broker.storage.database import Database
from cloud_broker.storage.sqlite import open_sqlite

SQLITE = "sqlite:///"


async def open_database(url: str, *, connections: int, must_exist: bool = False) -> Database:
    """Open ``sqlite:///PATH``, or ``postgresql://…`` with at most ``connections`` connections.

    ``must_exist``: do not create a SQLite file. Raises DatabaseFailed.
    """
    if url.startswith(SQLITE):
        path = Path(url.removeprefix(SQLITE))
        if must_exist and not path.exists():  # noqa: ASYNC240 (command line only)
            raise DatabaseFailed(f"There is no database at {path}.")
        return await open_sqlite(path)
    try:
        from cloud_broker.storage.postgres import open_postgres
    except ImportError as error:
        raise DatabaseFailed(
            "PostgreSQL needs a driver that is not installed.",
            hint="Run: pip install '.[broker-scale]'",
        ) from error
    return await open_postgres(url, connections=connections)
