"""Opens the database for a command, without creating or migrating it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import Database
from cloud_broker.storage.migrations import check
from cloud_broker.storage.opening import open_database


@asynccontextmanager
async def existing_database(settings: Settings) -> AsyncIterator[Database]:
    """Open it for a block. Raises DatabaseFailed when it is missing or needs a migration."""
    database = await open_database(
        settings.database_url.reveal(),
        connections=settings.database_connections,
        must_exist=True,
    )
    try:
        await check(database)
        yield database
    finally:
        await database.close()
