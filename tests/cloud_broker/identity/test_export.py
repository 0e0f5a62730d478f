"""The export: everything stored about an account, and no secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloud_broker.app import EXPORTS
from cloud_broker.storage import billing
from cloud_broker.storage.database import Database
from tests.cloud_broker.broker_stage import BrokerStage, a_broker
from tests.cloud_broker.push.push_listener import TOKEN
from tests.cloud_broker.storage.freeze import live
from tests.servers.broker_database import columns, tables

HELD_UNDER_ANOTHER_NAME = {
    ("notion_connections", "workspace_id"): "id",
    ("notion_connections", "workspace_name"): "name",
    ("notion_connections", "workspace_icon"): "icon",
    ("notion_connections", "id"): "connection_id",
    ("subscriptions", "tier"): "bought",
    ("subscriptions", "current_period_start"): "period_starts_at",
    ("subscriptions", "current_period_end"): "period_ends_at",
    ("stripe_customers", "id"): "customer",
    ("stripe_subscriptions", "id"): "subscription",
    ("stripe_subscriptions", "customer_id"): "customer",
    ("stripe_subscriptions", "period_start"): "period_starts_at",
    ("stripe_subscriptions", "period_end"): "period_ends_at",
    ("stripe_subscriptions", "event_at"): "changed_at",
    ("stripe_subscriptions", "failed_at"): "payment_failed_at",
}
WITHHELD = {
    "user_profiles": set(),
    "subscriptions": {
        *("id", "user_id", "created_at", "updated_at"),
        *("stripe_customer_id", "stripe_subscription_id"),  # both stand in the part "billing"
    },
    "stripe_customers": {"user_id"},
    "stripe_subscriptions": {"came_from", "seen_at", "past_due_since"},
    "workspace_history": {"workspace_hash", "first_user_id", "first_user_hash"},
    "notion_connections": {
        *("user_id", "kid", "wrapped_key", "access_token_sealed", "refresh_token_sealed"),
        *("version", "lease_owner", "lease_until"),
    },
    "sessions": {"user_id"},
    "refresh_tokens": {"token_hash", "predecessor_hash"},
    "handoffs": {"id", "user_id", "code_challenge"},
    "outboxes": {"user_id"},
    "idempotency": {"user_id", "fingerprint", "owner", "send_by", "lease_until", "answered"},
    "audit_log": {"user_id", "salt", "subject_digest", "hash"},
}
"""Per table that knows an account: columns that are secret, the broker's own work, or obvious."""
PART = {
    "user_profiles": "profile",
    "subscriptions": "subscription",
    "workspace_history": "claims",
    "notion_connections": "workspaces",
    "sessions": "sessions",
    "refresh_tokens": "refresh_tokens",
    "handoffs": "sign_ins",
    "idempotency": "writes",
    "outboxes": "outboxes",
    "audit_log": "audit",
    "stripe_customers": "billing",
    "stripe_subscriptions": "billing",
}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[BrokerStage]:
    async with a_broker(tmp_path, BROKER_WEBHOOK_TOKEN=TOKEN) as running:
        yield running


async def of_accounts(database: Database) -> set[str]:
    """The tables whose rows belong to an account: by a column, or through a session or customer."""
    found = set()
    through = {"session_id", "customer_id"}
    for table in await tables(database):
        names = await columns(database, table)
        if table == "user_profiles" or any("user_id" in n or n in through for n in names):
            found.add(table)
    return found


async def a_customer(stage: BrokerStage, user_id: str) -> None:
    bought = {
        "id": "sub_1",
        "customer_id": "cus_1",
        "status": "active",
        "event_at": 1,
        "prices": "[]",
        "came_from": "event",
        "failed_at": None,
        "past_due_since": None,
        "period_start": None,
        "period_end": None,
    }
    async with stage.database.transaction() as tx:
        await billing.link_customer(tx, "cus_1", user_id, now=0)
        await billing.replace(tx, bought, now=0)


async def exported(stage: BrokerStage) -> dict[str, Any]:
    token = (await stage.sign_in())["access_token"]
    answer = await stage.get("/api/user/export", token)
    assert answer.status == 200
    return dict(await answer.json())


async def test_every_table_that_knows_an_account_is_exported(stage: BrokerStage) -> None:
    assert await of_accounts(stage.database) == set(PART) == set(WITHHELD)
    assert set(EXPORTS) <= set(PART.values())


async def test_every_row_and_column_of_the_account_is_in_its_export(stage: BrokerStage) -> None:
    known = await live(stage)
    await a_customer(stage, known["user"])
    export = await exported(stage)
    assert export["profile"]["id"] == known["user"]
    for table, part in PART.items():
        rows = export[part] if isinstance(export[part], list) else [export[part]]
        assert rows, part
        async with stage.database.reading() as tx:
            count = await tx.one(f"SELECT COUNT(*) AS n FROM {table}")
        assert count is not None
        # The audit log's rows of nobody are not the account's; rows are written by the export too.
        assert len(rows) == count["n"] or table == "audit_log", part
        shown = set(rows[0])
        for name in set(await columns(stage.database, table)) - WITHHELD[table]:
            assert HELD_UNDER_ANOTHER_NAME.get((table, name), name) in shown, (table, name)


async def test_an_export_holds_no_secret_and_tells_moments_as_dates(stage: BrokerStage) -> None:
    await live(stage)
    export = await exported(stage)
    text = str(export)
    for secret in ("canary", "sealed", "token_hash", "wrapped", "kid", "salt", "challenge"):
        assert secret not in text, secret
    assert export["sessions"][0]["last_used_at"].endswith("Z")
    assert export["refresh_tokens"][0]["issued_at"].endswith("Z")
