"""Opens the database and builds the identity parts for an operator's command.

These commands work while brokers run: the brokers read the changes from the database.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cloud_broker.app import Identity, build_identity
from cloud_broker.cli.database import existing_database
from cloud_broker.clock import SystemClock
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.randomness import SystemRandomness
from cloud_broker.settings.config import Settings
from cloud_broker.storage import connections
from cloud_broker.storage.database import Database
from cloud_broker.transport import AiohttpTransport

BATCHES = 10_000  # of ten tokens each; running brokers revoke the rest


@dataclass(frozen=True, slots=True)
class OperatorContext:
    """An open database and the identity parts over it."""

    database: Database
    identity: Identity

    async def revoke_at_notion(self) -> int:
        """Revoke the due tokens at Notion; return how many still wait."""
        for _ in range(BATCHES):
            if await self.identity.revocations.step() > 0:
                break
        async with self.database.reading() as tx:
            return await connections.count_revocations(tx)


@asynccontextmanager
async def operator_context(settings: Settings) -> AsyncIterator[OperatorContext]:
    """Open both for a block. Raises DatabaseFailed or KeysRefused."""
    clock, random = SystemClock(), SystemRandomness()
    async with existing_database(settings) as database, AiohttpTransport() as transport:
        identity = build_identity(settings, database, transport, clock, random, Metrics())
        await identity.open(database, clock, random)
        yield OperatorContext(database, identity)
        await identity.audit.flush()


def progress(what: str) -> Callable[[int], None]:
    """Return a function that shows a count on the terminal's error stream, if there is one."""

    def show(count: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{count} {what} ", end="", file=sys.stderr, flush=True)

    return show
