"""Holds the SQL of billing: Stripe's events, customers and subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud_broker.storage.database import Row, Tx

STEPS = [
    # The ids of processed events, to detect duplicates.
    """
    CREATE TABLE stripe_events (
      id TEXT PRIMARY KEY,
      received_at BIGINT NOT NULL
    )
    """,
    "CREATE INDEX stripe_events_received ON stripe_events (received_at)",
    """
    CREATE TABLE stripe_customers (
      id TEXT PRIMARY KEY,
      user_id TEXT NOT NULL REFERENCES user_profiles (id) ON DELETE CASCADE,
      created_at BIGINT NOT NULL
    )
    """,
    "CREATE INDEX stripe_customers_user ON stripe_customers (user_id)",
    # The newest snapshot of each subscription, also of customers without an account yet.
    """
    CREATE TABLE stripe_subscriptions (
      id TEXT PRIMARY KEY,
      customer_id TEXT NOT NULL,
      status TEXT NOT NULL CHECK (status IN ('active', 'trialing', 'past_due', 'incomplete',
        'incomplete_expired', 'unpaid', 'paused', 'canceled')),
      prices TEXT NOT NULL,
      period_start BIGINT,
      period_end BIGINT,
      event_at BIGINT NOT NULL,
      came_from TEXT NOT NULL,
      failed_at BIGINT,
      past_due_since BIGINT,
      seen_at BIGINT NOT NULL
    )
    """,
    "CREATE INDEX stripe_subscriptions_customer ON stripe_subscriptions (customer_id)",
    "CREATE INDEX stripe_subscriptions_seen ON stripe_subscriptions (seen_at)",
]


async def lock(tx: Tx) -> None:
    """Lock billing until the transaction ends: a tier is computed from several rows."""
    await tx.lock("billing")


async def remember(tx: Tx, event_id: str, *, now: int) -> bool:
    """Store an event's id; False for a duplicate."""
    return bool(
        await tx.execute(
            """
            INSERT INTO stripe_events (id, received_at) VALUES (:id, :now)
            ON CONFLICT (id) DO NOTHING
            """,
            id=event_id,
            now=now,
        )
    )


async def link_customer(tx: Tx, customer_id: str, user_id: str, *, now: int) -> str | None:
    """Link a customer to an account; return the linked account.

    The first account keeps the customer. None when there is no such account.
    """
    await tx.execute(
        """
        INSERT INTO stripe_customers (id, user_id, created_at)
        SELECT :id, p.id, CAST(:now AS BIGINT) FROM user_profiles p WHERE p.id = :user_id
        ON CONFLICT (id) DO NOTHING
        """,
        id=customer_id,
        user_id=user_id,
        now=now,
    )
    return await owner_of(tx, customer_id)


async def owner_of(tx: Tx, customer_id: str) -> str | None:
    """Return the account of a customer."""
    row = await tx.one("SELECT user_id FROM stripe_customers WHERE id = :id", id=customer_id)
    return None if row is None else str(row["user_id"])


async def subscription(tx: Tx, subscription_id: str) -> Row | None:
    """Return one subscription."""
    return await tx.one(
        """
        SELECT id, customer_id, status, prices, period_start, period_end, event_at, came_from,
               failed_at, past_due_since
        FROM stripe_subscriptions WHERE id = :id
        """,
        id=subscription_id,
    )


async def replace(tx: Tx, row: Mapping[str, Any], *, now: int) -> None:
    """Write a subscription. The caller must hold the lock since it read the row."""
    await tx.execute(
        """
        INSERT INTO stripe_subscriptions (id, customer_id, status, prices, period_start, period_end,
          event_at, came_from, failed_at, past_due_since, seen_at)
        VALUES (:id, :customer_id, :status, :prices, :period_start, :period_end, :event_at,
          :came_from, :failed_at, :past_due_since, :now)
        ON CONFLICT (id) DO UPDATE SET
          status = excluded.status, prices = excluded.prices,
          period_start = excluded.period_start, period_end = excluded.period_end,
          event_at = excluded.event_at, came_from = excluded.came_from,
          failed_at = excluded.failed_at, past_due_since = excluded.past_due_since,
          seen_at = excluded.seen_at
        """,
        now=now,
        **row,
    )


async def subscriptions_of(tx: Tx, user_id: str) -> list[Row]:
    """Return all subscriptions of the account's customers."""
    return await tx.all(
        """
        SELECT s.id, s.customer_id, s.status, s.prices, s.period_start, s.period_end, s.event_at,
               s.came_from, s.failed_at, s.past_due_since
        FROM stripe_subscriptions s JOIN stripe_customers c ON c.id = s.customer_id
        WHERE c.user_id = :user_id ORDER BY s.event_at, s.id
        """,
        user_id=user_id,
    )


async def payers(tx: Tx, after: str, limit: int) -> list[str]:
    """Return the accounts with a Stripe customer, by id, after the id ``after``."""
    rows = await tx.all(
        """
        SELECT DISTINCT user_id FROM stripe_customers WHERE user_id > :after
        ORDER BY user_id LIMIT :limit
        """,
        after=after,
        limit=limit,
    )
    return [row["user_id"] for row in rows]


async def of_user(tx: Tx, user_id: str) -> list[Row]:
    """Return the rows about one account, for an export."""
    return await tx.all(
        """
        SELECT c.id AS customer, c.created_at, s.id AS subscription, s.status, s.prices,
               s.period_start AS period_starts_at, s.period_end AS period_ends_at,
               s.event_at AS changed_at, s.failed_at AS payment_failed_at
        FROM stripe_customers c LEFT JOIN stripe_subscriptions s ON s.customer_id = c.id
        WHERE c.user_id = :user_id ORDER BY c.created_at, c.id, s.id
        """,
        user_id=user_id,
    )


async def erase(tx: Tx, user_id: str) -> int:
    """Delete an account's customers and their subscriptions, under the lock."""
    await lock(tx)
    gone = await tx.execute(
        """
        DELETE FROM stripe_subscriptions WHERE customer_id IN
          (SELECT id FROM stripe_customers WHERE user_id = :user_id)
        """,
        user_id=user_id,
    )
    return gone + await tx.execute(
        "DELETE FROM stripe_customers WHERE user_id = :user_id", user_id=user_id
    )


async def sweep(tx: Tx, *, before: int) -> None:
    """Delete old event ids, and subscriptions of customers that no account claimed."""
    await tx.execute("DELETE FROM stripe_events WHERE received_at < :before", before=before)
    await tx.execute(
        """
        DELETE FROM stripe_subscriptions WHERE seen_at < :before
          AND customer_id NOT IN (SELECT id FROM stripe_customers)
        """,
        before=before,
    )
