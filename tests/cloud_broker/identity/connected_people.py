"""Many connected users without a browser, and brokers' parts over one database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from aiohttp.test_utils import TestServer

from cloud_broker.app import Identity, build_identity
from cloud_broker.clock import Clock, SystemClock
from cloud_broker.identity.connections import open_access
from cloud_broker.identity.oauth import Grant, NotionUser, TokenPair
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.randomness import SystemRandomness
from cloud_broker.secret import Secret
from cloud_broker.settings.config import Settings
from cloud_broker.storage import connections
from cloud_broker.storage.database import Database
from cloud_broker.storage.migrations import migrate
from cloud_broker.transport import AiohttpTransport
from tests.cloud_broker.broker_stage import KEY, SEED, FakeNotion, an_environment
from tests.servers.broker_database import database_url, open_kept

OLD, NEW = f"old:{KEY}", f"new:{SEED}"


@dataclass
class Broker:
    """A broker's parts over a database of its own handle; nothing of it runs by itself."""

    database: Database
    identity: Identity

    async def token_of(self, user_id: str) -> str:
        """What is stored, opened; no broker notices."""
        async with self.database.reading() as tx:
            (row,) = await connections.connections_of(tx, user_id)
        return open_access(self.identity.ring, row).reveal()

    async def kids(self) -> set[str]:
        """The keys that seal anything."""
        tables = ("notion_connections", "pending_revocations", "broker_state")
        async with self.database.reading() as tx:
            rows = [await tx.all(f"SELECT DISTINCT kid FROM {table}") for table in tables]
        return {row["kid"] for found in rows for row in found}


class Place:
    """A Notion and a folder whose database any number of brokers open."""

    def __init__(self, folder: Path, notion: FakeNotion, origin: str) -> None:
        self.folder = folder
        self.notion = notion
        self._origin = origin

    def environment(self, keys: str) -> dict[str, str]:
        return an_environment(
            BROKER_NOTION_API_URL=self._origin,
            BROKER_DATABASE_URL=database_url(self.folder),
            BROKER_ENCRYPTION_KEYS=keys,
        )

    @asynccontextmanager
    async def broker(self, *keys: str, clock: Clock | None = None) -> AsyncIterator[Broker]:
        settings = Settings.from_env(self.environment(",".join(keys)))
        database = await open_kept(self.folder)
        try:
            await migrate(database, SystemClock())
            async with AiohttpTransport() as transport:
                time, random = clock or SystemClock(), SystemRandomness()
                identity = build_identity(settings, database, transport, time, random, Metrics())
                await identity.open(database, time, random)
                yield Broker(database, identity)
                await identity.tokens.close()
        finally:
            await database.close()

    async def connect(self, broker: Broker, number: int) -> str:
        """Connect person ``number`` to a workspace of their own; return the account's id."""
        issued = self.notion.grant()
        grant = Grant(
            tokens=TokenPair(Secret(issued["access_token"]), Secret(issued["refresh_token"])),
            bot_id=str(UUID(int=number + 1_000_000)),
            workspace_id=str(UUID(int=number + 2_000_000)),
            workspace_name=f"Workspace {number}",
            workspace_icon=None,
            owner=None,
        )
        owner = NotionUser(str(UUID(int=number + 1)), f"Person {number}", None, None)
        async with broker.database.transaction() as tx:
            return await broker.identity.accounts.connect(tx, grant, owner)


@asynccontextmanager
async def a_place(folder: Path) -> AsyncIterator[Place]:
    notion = FakeNotion()
    async with TestServer(notion.app()) as server:
        yield Place(folder, notion, f"http://{server.host}:{server.port}")
