"""``audit verify``, ``keys status`` and ``webhook-token``: what the database says of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloud_broker.clock import SystemClock
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.errors import AuditBroken, KeysRefused, NotFound
from cloud_broker.push.intake import Intake
from cloud_broker.push.notices import LocalNotices
from cloud_broker.settings.config import Settings
from cloud_broker.settings.parsers import key_bytes
from cloud_broker.storage import audit, keycheck
from cloud_broker.storage.database import Database
from cloud_broker.storage.migrations import check
from cloud_broker.storage.opening import open_database


async def verify_audit(settings: Settings) -> str:
    """Walk the audit chain; return a sentence. Raises AuditBroken or DatabaseFailed."""
    async with _database(settings) as database:
        checked, misfit = await audit.verify(database)
    if misfit is not None:
        raise AuditBroken(
            f"Row {misfit} does not follow from the {checked} rows before it: it was changed, or"
            " rows are missing there."
        )
    return f"{checked} rows, each sealed to the one before it."


async def key_status(settings: Settings) -> str:
    """Say how many rows each encryption key seals. Raises KeysRefused when one is missing."""
    async with _database(settings) as database, database.reading() as tx:
        used = await keycheck.rows_by_key(tx)
    ring = [kid for kid, _ in settings.encryption_keys]
    missing = sorted(used.keys() - set(ring))
    if missing:
        raise KeysRefused(
            f"Rows are sealed with keys that BROKER_ENCRYPTION_KEYS does not hold: "
            f"{', '.join(f'{kid} ({used[kid]} rows)' for kid in missing)}.",
            hint="Add them again, behind the first one.",
        )
    roles = ["seals and opens", *["opens only"] * (len(ring) - 1)]
    return "\n".join(
        f"{kid}  {role}  {used.get(kid, 0)} rows" for kid, role in zip(ring, roles, strict=True)
    )


async def webhook_token(settings: Settings) -> str:
    """The token that Notion's portal asks for. Raises NotFound before a handshake came."""
    ring = KeyRing([(kid, key_bytes(key)) for kid, key in settings.encryption_keys])
    async with _database(settings) as database:
        intake = Intake(
            database,
            ring,
            LocalNotices(),
            SystemClock(),
            token=settings.webhook_token,
            is_pending=False,
        )
        token = await intake.token()
    if token is None:
        raise NotFound(
            "No handshake has come yet.",
            hint="Set BROKER_WEBHOOK_PENDING=1 and subscribe in Notion's portal.",
        )
    return token.reveal()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    """The database as it is: neither made nor migrated."""
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
