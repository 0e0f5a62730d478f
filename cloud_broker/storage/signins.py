"""Holds the SQL of sign-ins under way: one row per state, read and deleted in one statement."""

from __future__ import annotations

from cloud_broker.storage.database import Row, Tx

STEPS = [
    """
    CREATE TABLE oauth_states (
      state_hash TEXT PRIMARY KEY,
      browser_hash TEXT NOT NULL,
      client_state TEXT NOT NULL,
      code_challenge TEXT NOT NULL,
      device TEXT NOT NULL,
      return_to TEXT NOT NULL,
      expires_at BIGINT NOT NULL
    )
    """,
    "CREATE INDEX oauth_states_expires ON oauth_states (expires_at)",  # swept at each sign-in
]


_KEPT_MS = 3_600_000  # an expired sign-in still names the address to return to


async def add_state(
    tx: Tx,
    *,
    state_hash: str,
    browser_hash: str,
    client_state: str,
    code_challenge: str,
    device: str,
    return_to: str,
    expires_at: int,
) -> None:
    """Store a sign-in that was sent to Notion."""
    await tx.execute(
        """
        INSERT INTO oauth_states (state_hash, browser_hash, client_state, code_challenge,
          device, return_to, expires_at)
        VALUES (:state_hash, :browser_hash, :client_state, :code_challenge, :device,
          :return_to, :expires_at)
        """,
        state_hash=state_hash,
        browser_hash=browser_hash,
        client_state=client_state,
        code_challenge=code_challenge,
        device=device,
        return_to=return_to,
        expires_at=expires_at,
    )


async def take_state(tx: Tx, state_hash: str) -> Row | None:
    """Delete the sign-in and return it: only one of two callbacks gets it."""
    return await tx.one(
        """
        DELETE FROM oauth_states WHERE state_hash = :state_hash
        RETURNING browser_hash, client_state, code_challenge, device, return_to, expires_at
        """,
        state_hash=state_hash,
    )


async def sweep_states(tx: Tx, *, now: int) -> None:
    """Delete the sign-ins that expired an hour ago; until then a late browser is sent back."""
    await tx.execute("DELETE FROM oauth_states WHERE expires_at < :before", before=now - _KEPT_MS)
