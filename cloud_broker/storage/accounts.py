"""Holds the SQL of accounts: profiles, subscriptions, and the account that owns a workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloud_broker.storage.database import Row, Tx

STEPS = [
    """
    CREATE TABLE user_profiles (
      id TEXT PRIMARY KEY,
      notion_user_id TEXT NOT NULL UNIQUE,
      email TEXT,
      full_name TEXT,
      avatar_url TEXT,
      auth_provider TEXT NOT NULL DEFAULT 'notion'
        CHECK (auth_provider IN ('google', 'notion', 'email')),
      created_at BIGINT NOT NULL,
      updated_at BIGINT NOT NULL
    )
    """,
    """
    CREATE TABLE subscriptions (
      id TEXT PRIMARY KEY,
      user_id TEXT NOT NULL UNIQUE REFERENCES user_profiles (id) ON DELETE CASCADE,
      tier TEXT NOT NULL DEFAULT 'FREE' CHECK (tier IN ('FREE', 'PRO', 'TEAM')),
      status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'trialing', 'past_due',
        'incomplete', 'incomplete_expired', 'unpaid', 'paused', 'canceled')),
      stripe_customer_id TEXT UNIQUE,
      stripe_subscription_id TEXT UNIQUE,
      current_period_start BIGINT,
      current_period_end BIGINT,
      created_at BIGINT NOT NULL,
      updated_at BIGINT NOT NULL
    )
    """,
    # Keyed hashes only: the row outlives the account, the user's identity must not.
    """
    CREATE TABLE workspace_history (
      workspace_hash TEXT PRIMARY KEY,
      first_user_id TEXT REFERENCES user_profiles (id) ON DELETE SET NULL,
      first_user_hash TEXT NOT NULL,
      is_blocked BIGINT NOT NULL DEFAULT 0 CHECK (is_blocked IN (0, 1)),
      block_reason TEXT,
      created_at BIGINT NOT NULL
    )
    """,
    "CREATE INDEX workspace_history_first_user ON workspace_history (first_user_id)",
    "ALTER TABLE subscriptions ADD COLUMN past_due_since BIGINT",
]


async def upsert_profile(
    tx: Tx,
    *,
    new_id: str,
    notion_user_id: str,
    email: str | None,
    full_name: str | None,
    avatar_url: str | None,
    now: int,
) -> str:
    """Create or refresh the profile of a Notion user; return the account's id."""
    row = await tx.one(
        """
        INSERT INTO user_profiles
          (id, notion_user_id, email, full_name, avatar_url, created_at, updated_at)
        VALUES (:new_id, :notion_user_id, :email, :full_name, :avatar_url, :now, :now)
        ON CONFLICT (notion_user_id) DO UPDATE SET
          email = COALESCE(excluded.email, user_profiles.email),
          full_name = COALESCE(excluded.full_name, user_profiles.full_name),
          avatar_url = excluded.avatar_url,
          updated_at = excluded.updated_at
        RETURNING id
        """,
        new_id=new_id,
        notion_user_id=notion_user_id,
        email=email,
        full_name=full_name,
        avatar_url=avatar_url,
        now=now,
    )
    assert row is not None
    return str(row["id"])


async def ensure_subscription(tx: Tx, *, new_id: str, user_id: str, now: int) -> None:
    """Give the account the free tier unless it has a subscription."""
    await tx.execute(
        """
        INSERT INTO subscriptions (id, user_id, created_at, updated_at)
        VALUES (:new_id, :user_id, :now, :now)
        ON CONFLICT (user_id) DO NOTHING
        """,
        new_id=new_id,
        user_id=user_id,
        now=now,
    )


async def claim_workspace(
    tx: Tx, *, workspace_hash: str, user_id: str, user_hash: str, now: int
) -> Row:
    """Bind the workspace to its first account; return its owner (``first_user_hash``, …).

    A user who erased the account and signs in again gets the workspace back.
    """
    row = await tx.one(
        """
        INSERT INTO workspace_history
          (workspace_hash, first_user_id, first_user_hash, created_at)
        VALUES (:workspace_hash, :user_id, :user_hash, :now)
        ON CONFLICT (workspace_hash) DO UPDATE SET
          first_user_id = CASE WHEN workspace_history.first_user_hash = excluded.first_user_hash
            THEN excluded.first_user_id ELSE workspace_history.first_user_id END
        RETURNING first_user_hash, is_blocked, block_reason
        """,
        workspace_hash=workspace_hash,
        user_id=user_id,
        user_hash=user_hash,
        now=now,
    )
    assert row is not None
    return row


async def release_workspace(tx: Tx, workspace_hash: str) -> Row | None:
    """Let any account connect the workspace; return the deleted claim, None if there was none."""
    return await tx.one(
        "DELETE FROM workspace_history WHERE workspace_hash = :hash RETURNING is_blocked",
        hash=workspace_hash,
    )


async def claims_of(tx: Tx, user_id: str) -> list[Row]:
    """Return the user's claims of workspaces, for an export."""
    return await tx.all(
        """
        SELECT created_at, is_blocked, block_reason FROM workspace_history
        WHERE first_user_id = :user_id ORDER BY created_at
        """,
        user_id=user_id,
    )


async def find_user(tx: Tx, name: str) -> list[str]:
    """Return the ids of the accounts with this id or e-mail address."""
    rows = await tx.all(
        "SELECT id FROM user_profiles WHERE id = :name OR email = :name ORDER BY id", name=name
    )
    return [row["id"] for row in rows]


async def existing(tx: Tx, user_ids: Sequence[str]) -> set[str]:
    """Return those of the ids that belong to an account."""
    # Padded to a power of two with the last id, so that few different statements are prepared.
    asked = [*user_ids, *[user_ids[-1]] * ((1 << (len(user_ids) - 1).bit_length()) - len(user_ids))]
    marks = ", ".join(f":u{number}" for number in range(len(asked)))
    rows = await tx.all(
        f"SELECT id FROM user_profiles WHERE id IN ({marks})",  # noqa: S608 (placeholders)
        **{f"u{number}": user_id for number, user_id in enumerate(asked)},
    )
    return {row["id"] for row in rows}


async def user_ids(tx: Tx) -> list[str]:
    """Return the ids of all accounts."""
    return [row["id"] for row in await tx.all("SELECT id FROM user_profiles ORDER BY id")]


async def profile(tx: Tx, user_id: str) -> Row | None:
    """Return the account's profile."""
    return await tx.one(
        """
        SELECT id, notion_user_id, email, full_name, avatar_url, auth_provider, created_at,
               updated_at
        FROM user_profiles WHERE id = :user_id
        """,
        user_id=user_id,
    )


async def subscription(tx: Tx, user_id: str) -> Row | None:
    """Return the account's tier, status, Stripe ids and period (times in ms)."""
    return await tx.one(
        """
        SELECT tier, status, stripe_customer_id, stripe_subscription_id, current_period_start,
               current_period_end, past_due_since
        FROM subscriptions WHERE user_id = :user_id
        """,
        user_id=user_id,
    )


async def replace_subscription(
    tx: Tx, user_id: str, bought: Mapping[str, Any], *, new_id: str, now: int
) -> None:
    """Replace the row that ``subscription`` reads; does nothing for a deleted account."""
    await tx.execute(
        """
        INSERT INTO subscriptions (id, user_id, tier, status, stripe_customer_id,
          stripe_subscription_id, current_period_start, current_period_end, past_due_since,
          created_at, updated_at)
        SELECT :new_id, p.id, :tier, :status, :stripe_customer_id, :stripe_subscription_id,
          CAST(:current_period_start AS BIGINT), CAST(:current_period_end AS BIGINT),
          CAST(:past_due_since AS BIGINT), CAST(:now AS BIGINT), CAST(:now AS BIGINT)
        FROM user_profiles p WHERE p.id = :user_id
        ON CONFLICT (user_id) DO UPDATE SET
          tier = excluded.tier, status = excluded.status,
          stripe_customer_id = excluded.stripe_customer_id,
          stripe_subscription_id = excluded.stripe_subscription_id,
          current_period_start = excluded.current_period_start,
          current_period_end = excluded.current_period_end,
          past_due_since = excluded.past_due_since, updated_at = excluded.updated_at
        """,
        new_id=new_id,
        user_id=user_id,
        now=now,
        **bought,
    )


async def delete_profile(tx: Tx, user_id: str) -> bool:
    """Delete the account with its dependent rows; return whether it existed."""
    return bool(await tx.execute("DELETE FROM user_profiles WHERE id = :id", id=user_id))
