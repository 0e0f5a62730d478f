"""Creates the session's tables in outbox.db: accounts, workspaces, pending sign-ins."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

_TABLES = (
    # These tables hold no secret: tokens are in the keychain. The verifier of a pending sign-in
    # is useless without the hand-off token, and is erased when the sign-in ends.
    """
    CREATE TABLE account (
        user_id TEXT PRIMARY KEY,
        email TEXT NOT NULL,
        name TEXT NOT NULL,
        avatar_url TEXT,
        tier TEXT,
        subscription_status TEXT,
        limits TEXT,
        state TEXT NOT NULL CHECK (state IN ('signed_in', 'signed_out', 'reauth_required')),
        why TEXT,
        current_workspace_id TEXT,
        is_current INTEGER NOT NULL CHECK (is_current IN (0, 1)),
        signed_in_at REAL NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX account_current ON account (is_current) WHERE is_current = 1",
    """
    CREATE TABLE workspace (
        user_id TEXT NOT NULL REFERENCES account (user_id),
        workspace_id TEXT NOT NULL,
        name TEXT NOT NULL,
        icon TEXT,
        bot_id TEXT,
        place INTEGER NOT NULL,
        connected INTEGER NOT NULL CHECK (connected IN (0, 1)),
        PRIMARY KEY (user_id, workspace_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE pending_login (
        login_id TEXT PRIMARY KEY,
        state_hash BLOB NOT NULL UNIQUE,
        verifier TEXT,
        return_to TEXT NOT NULL CHECK (return_to IN ('app', 'loopback')),
        purpose TEXT NOT NULL CHECK (purpose IN ('sign_in', 'add_workspace', 'change_access')),
        expires_at REAL NOT NULL,
        completed INTEGER NOT NULL DEFAULT 0 CHECK (completed IN (0, 1))
    ) STRICT
    """,
)


def m001_session(connection: sqlite3.Connection) -> None:
    """Create account, workspace and pending_login."""
    for statement in _TABLES:
        connection.execute(statement)


def m002_login_outcome(connection: sqlite3.Connection) -> None:
    """Keep how a sign-in ended: outcome failed or canceled, error as JSON {code,title,…}."""
    for column in ("outcome", "error"):
        connection.execute(f"ALTER TABLE pending_login ADD COLUMN {column} TEXT")


SESSION_STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (m001_session, m002_login_outcome)
