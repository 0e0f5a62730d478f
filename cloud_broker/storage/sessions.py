"""Holds the SQL of daemon sessions: hand-offs, sessions, refresh tokens (as hashes only)."""

from __future__ import annotations

from cloud_broker.storage.database import Row, Tx

STEPS = [
    """
    CREATE TABLE sessions (
      id TEXT PRIMARY KEY,
      user_id TEXT NOT NULL REFERENCES user_profiles (id) ON DELETE CASCADE,
      device TEXT NOT NULL,
      created_at BIGINT NOT NULL,
      last_used_at BIGINT NOT NULL,
      expires_at BIGINT NOT NULL,
      revoked_at BIGINT,
      revoked_why TEXT
    )
    """,
    "CREATE INDEX sessions_user ON sessions (user_id)",
    """
    CREATE TABLE refresh_tokens (
      token_hash TEXT PRIMARY KEY,
      session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
      predecessor_hash TEXT,
      issued_at BIGINT NOT NULL,
      expires_at BIGINT NOT NULL,
      first_used_at BIGINT,
      retired_at BIGINT
    )
    """,
    "CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id)",
    """
    CREATE TABLE handoffs (
      id TEXT PRIMARY KEY,
      user_id TEXT NOT NULL REFERENCES user_profiles (id) ON DELETE CASCADE,
      code_challenge TEXT NOT NULL,
      device TEXT NOT NULL,
      expires_at BIGINT NOT NULL,
      used_at BIGINT,
      session_id TEXT
    )
    """,
]


async def add_handoff(
    tx: Tx, *, handoff_id: str, user_id: str, code_challenge: str, device: str, expires_at: int
) -> None:
    """Store a hand-off that was given to a browser."""
    await tx.execute(
        """
        INSERT INTO handoffs (id, user_id, code_challenge, device, expires_at)
        VALUES (:id, :user_id, :code_challenge, :device, :expires_at)
        """,
        id=handoff_id,
        user_id=user_id,
        code_challenge=code_challenge,
        device=device,
        expires_at=expires_at,
    )


async def use_handoff(tx: Tx, handoff_id: str, *, now: int) -> Row | None:
    """Consume a hand-off; None when it is unknown, used or expired."""
    return await tx.one(
        """
        UPDATE handoffs SET used_at = :now
        WHERE id = :id AND used_at IS NULL AND expires_at > :now
        RETURNING user_id, code_challenge, device
        """,
        id=handoff_id,
        now=now,
    )


async def bind_handoff(tx: Tx, handoff_id: str, session_id: str) -> None:
    """Store the session that a hand-off opened, so that a second use can end it."""
    await tx.execute(
        "UPDATE handoffs SET session_id = :session_id WHERE id = :id",
        id=handoff_id,
        session_id=session_id,
    )


async def session_of_handoff(tx: Tx, handoff_id: str) -> str | None:
    """Return the session that a used hand-off opened."""
    row = await tx.one("SELECT session_id FROM handoffs WHERE id = :id", id=handoff_id)
    return None if row is None or row["session_id"] is None else str(row["session_id"])


async def add_session(
    tx: Tx, *, session_id: str, user_id: str, device: str, now: int, expires_at: int
) -> None:
    """Insert a session."""
    await tx.execute(
        """
        INSERT INTO sessions (id, user_id, device, created_at, last_used_at, expires_at)
        VALUES (:id, :user_id, :device, :now, :now, :expires_at)
        """,
        id=session_id,
        user_id=user_id,
        device=device,
        now=now,
        expires_at=expires_at,
    )


async def live_session(tx: Tx, session_id: str, *, now: int) -> Row | None:
    """Return a session that is neither revoked nor expired, with its email and subscription."""
    return await tx.one(
        """
        SELECT s.id, s.user_id, s.device, COALESCE(p.email, '') AS email,
               sub.tier, sub.status, sub.past_due_since
        FROM sessions s JOIN user_profiles p ON p.id = s.user_id
        LEFT JOIN subscriptions sub ON sub.user_id = s.user_id
        WHERE s.id = :id AND s.revoked_at IS NULL AND s.expires_at > :now
        """,
        id=session_id,
        now=now,
    )


async def prolong_session(tx: Tx, session_id: str, *, now: int, expires_at: int) -> None:
    """Record a use of the session and extend its life."""
    await tx.execute(
        "UPDATE sessions SET last_used_at = :now, expires_at = :expires_at WHERE id = :id",
        id=session_id,
        now=now,
        expires_at=expires_at,
    )


async def sessions_of(tx: Tx, user_id: str, *, now: int) -> list[Row]:
    """Return the user's live sessions, the last used first."""
    return await tx.all(
        """
        SELECT id, device, created_at, last_used_at, expires_at FROM sessions
        WHERE user_id = :user_id AND revoked_at IS NULL AND expires_at > :now
        ORDER BY last_used_at DESC, id
        """,
        user_id=user_id,
        now=now,
    )


async def revoke_session(
    tx: Tx, session_id: str, *, now: int, why: str, user_id: str | None = None
) -> str | None:
    """End a live session (of ``user_id`` when given); return its user, None if none ended."""
    ended = await tx.one(
        """
        UPDATE sessions SET revoked_at = :now, revoked_why = :why
        WHERE id = :id AND revoked_at IS NULL
          AND (CAST(:user_id AS TEXT) IS NULL OR user_id = :user_id)
        RETURNING user_id
        """,
        id=session_id,
        now=now,
        why=why,
        user_id=user_id,
    )
    if ended is None:
        return None
    await tx.execute("DELETE FROM refresh_tokens WHERE session_id = :id", id=session_id)
    return str(ended["user_id"])


async def revoke_sessions_of(tx: Tx, user_id: str, *, now: int, why: str) -> list[str]:
    """End the user's live sessions and hand-offs; return the ids of the sessions.

    Tokens first, in the lock order of a refresh, to avoid a deadlock.
    """
    await tx.execute(
        """
        DELETE FROM refresh_tokens
        WHERE session_id IN (SELECT id FROM sessions WHERE user_id = :user_id)
        """,
        user_id=user_id,
    )
    await tx.execute("DELETE FROM handoffs WHERE user_id = :user_id", user_id=user_id)
    ended = await tx.all(
        """
        UPDATE sessions SET revoked_at = :now, revoked_why = :why
        WHERE user_id = :user_id AND revoked_at IS NULL AND expires_at > :now RETURNING id
        """,
        user_id=user_id,
        now=now,
        why=why,
    )
    return sorted(row["id"] for row in ended)


async def add_refresh_token(
    tx: Tx,
    *,
    token_hash: str,
    session_id: str,
    predecessor_hash: str | None,
    now: int,
    expires_at: int,
) -> None:
    """Insert a refresh token of a session."""
    await tx.execute(
        """
        INSERT INTO refresh_tokens
          (token_hash, session_id, predecessor_hash, issued_at, expires_at)
        VALUES (:token_hash, :session_id, :predecessor_hash, :now, :expires_at)
        """,
        token_hash=token_hash,
        session_id=session_id,
        predecessor_hash=predecessor_hash,
        now=now,
        expires_at=expires_at,
    )


async def session_of_refresh_token(tx: Tx, token_hash: str) -> str | None:
    """Return the session of a refresh token, None when there is no such token."""
    row = await tx.one(
        "SELECT session_id FROM refresh_tokens WHERE token_hash = :token_hash",
        token_hash=token_hash,
    )
    return None if row is None else str(row["session_id"])


async def use_refresh_token(tx: Tx, token_hash: str, *, now: int) -> Row | None:
    """Record a use; the returned row says if it was the first and if the token is retired."""
    first = await tx.execute(
        """
        UPDATE refresh_tokens SET first_used_at = :now
        WHERE token_hash = :token_hash AND first_used_at IS NULL
        """,
        token_hash=token_hash,
        now=now,
    )
    row = await tx.one(
        """
        SELECT session_id, predecessor_hash, expires_at, retired_at
        FROM refresh_tokens WHERE token_hash = :token_hash
        """,
        token_hash=token_hash,
    )
    return None if row is None else {**row, "is_first_use": bool(first)}


async def retire_rivals(
    tx: Tx, *, token_hash: str, session_id: str, predecessor_hash: str | None, now: int
) -> None:
    """Retire the predecessor of the used ``token_hash``, and its other successors."""
    await tx.execute(
        """
        UPDATE refresh_tokens SET retired_at = :now
        WHERE session_id = :session_id AND token_hash <> :token_hash AND retired_at IS NULL
          AND (token_hash = :predecessor_hash OR predecessor_hash = :predecessor_hash)
        """,
        token_hash=token_hash,
        session_id=session_id,
        predecessor_hash=predecessor_hash,
        now=now,
    )


async def of_user(tx: Tx, user_id: str) -> list[Row]:
    """Return all stored sessions, also ended ones, for an export."""
    return await tx.all(
        """
        SELECT id, device, created_at, last_used_at, expires_at, revoked_at, revoked_why
        FROM sessions WHERE user_id = :user_id ORDER BY created_at, id
        """,
        user_id=user_id,
    )


async def refresh_tokens_of(tx: Tx, user_id: str) -> list[Row]:
    """Return the times of the user's refresh tokens, for an export."""
    return await tx.all(
        """
        SELECT t.session_id, t.issued_at, t.expires_at, t.first_used_at, t.retired_at
        FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
        WHERE s.user_id = :user_id ORDER BY t.issued_at
        """,
        user_id=user_id,
    )


async def handoffs_of(tx: Tx, user_id: str) -> list[Row]:
    """Return the user's recent sign-ins, for an export."""
    return await tx.all(
        """
        SELECT device, expires_at, used_at, session_id FROM handoffs
        WHERE user_id = :user_id ORDER BY expires_at
        """,
        user_id=user_id,
    )


async def sweep_sessions(tx: Tx, *, now: int, ended_before: int) -> None:
    """Delete expired tokens, and hand-offs and sessions that ended before ``ended_before``."""
    await tx.execute("DELETE FROM handoffs WHERE expires_at < :before", before=ended_before)
    await tx.execute(
        "DELETE FROM refresh_tokens WHERE expires_at < :now OR retired_at < :before",
        now=now,
        before=ended_before,
    )
    await tx.execute(
        "DELETE FROM sessions WHERE expires_at < :before OR revoked_at < :before",
        before=ended_before,
    )
