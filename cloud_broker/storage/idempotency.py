"""Stores the outcome of each write under its idempotency key; holds all SQL of that table.

A row is committed before the write is sent, so a crashed broker leaves a record; the end of its
lease tells others when to stop waiting. The outcome holds the status and the ids of created
objects, never text. ``send_by`` is the latest time at which the owner may begin to send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from cloud_broker.storage import outboxes
from cloud_broker.storage.database import Database, Row, Tx
from cloud_broker.storage.outboxes import OutboxMark

State = Literal["sending", "done", "unknown"]

STEPS = [
    """
    CREATE TABLE idempotency (
        user_id TEXT NOT NULL,
        workspace_id TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('sending', 'done', 'unknown')),
        owner TEXT NOT NULL,
        send_by BIGINT NOT NULL,
        lease_until BIGINT NOT NULL,
        status BIGINT,
        created TEXT,
        answered BIGINT NOT NULL DEFAULT 0,
        latest_sent_at BIGINT,
        expires_at BIGINT NOT NULL,
        PRIMARY KEY (user_id, workspace_id, key)
    )
    """,
    "CREATE INDEX idempotency_expires ON idempotency (expires_at)",
    "ALTER TABLE idempotency ADD COLUMN outbox TEXT",
    "ALTER TABLE idempotency ADD COLUMN outbox_counter BIGINT",
    """
    CREATE UNIQUE INDEX idempotency_outbox ON idempotency (user_id, outbox, outbox_counter)
    WHERE outbox IS NOT NULL
    """,
]


SPENT = 0  # in place of Notion's status: the key was spent by a refusal


@dataclass(frozen=True, slots=True)
class KeyId:
    """An idempotency key with its user and workspace."""

    user_id: str
    workspace_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send; times in milliseconds since the epoch."""

    owner: str
    send_by: int
    until: int


@dataclass(frozen=True, slots=True)
class Record:
    """A stored write. ``status`` is Notion's; ``created`` the new ids; times in milliseconds.

    ``done`` with the status ``SPENT``: the write under a single-use key was refused.
    """

    fingerprint: str
    state: State
    lease_until: int
    send_by: int
    status: int | None
    created: tuple[str, ...]
    answered: bool
    latest_sent_at: int | None


@dataclass(frozen=True, slots=True)
class Write:
    """A write that can have been sent; ``created`` is None while its outcome is unknown.

    ``send_by`` is the latest time of sending, milliseconds since the epoch.
    """

    key: str
    fingerprint: str
    created: tuple[str, ...] | None
    send_by: int


class Idempotency:
    """The table of writes. All methods raise DatabaseFailed."""

    def __init__(self, database: Database) -> None:
        """Store rows in ``database``."""
        self._database = database

    async def find(self, key_id: KeyId) -> Record | None:
        """Return the record of the key, if any."""
        async with self._database.reading() as tx:
            return await _find(tx, key_id)

    async def claim(
        self,
        key_id: KeyId,
        fingerprint: str,
        lease: Lease,
        expires_at: int,
        mark: OutboxMark | None = None,
    ) -> Record | None:
        """Write the intent to send. None: the caller owns the key; else the existing record.

        ``mark``: the write's place in its outbox. Raises outboxes.Behind, and stores nothing then.
        """
        while True:
            async with self._database.transaction() as tx:
                if await _insert(tx, key_id, fingerprint, lease, expires_at, mark):
                    if mark is not None:
                        await outboxes.advance(tx, key_id.user_id, mark)
                    return None
                found = await _find(tx, key_id)
                if found is None and mark is not None:
                    await _refuse_taken(tx, key_id, mark)
            if found is not None:
                return found  # None: the owner has just released the key

    async def renew(self, key_id: KeyId, lease: Lease, now: int) -> bool:
        """Extend the lease and ``send_by``. False: the lease has ended or another owner has it.

        Neither value moves back: a late heartbeat with an older ``send_by`` must not replace the
        newer one, or clients would get too early a time of sending.
        """
        async with self._database.transaction() as tx:
            renewed = await tx.execute(
                """
                UPDATE idempotency SET
                  send_by = CASE WHEN send_by < :send_by THEN :send_by ELSE send_by END,
                  lease_until = CASE WHEN lease_until < :until THEN :until ELSE lease_until END
                WHERE user_id = :user AND workspace_id = :workspace AND key = :key
                  AND owner = :owner AND state = 'sending' AND lease_until > :now
                """,
                **_params(key_id),
                owner=lease.owner,
                send_by=lease.send_by,
                until=lease.until,
                now=now,
            )
            return renewed > 0

    async def done(self, key_id: KeyId, owner: str, status: int, created: Sequence[str]) -> None:
        """Store a success, also over an ``unknown`` that a duplicate request has written."""
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                UPDATE idempotency SET state = 'done', status = :status, created = :created,
                                       answered = 1
                WHERE user_id = :user AND workspace_id = :workspace AND key = :key
                  AND owner = :owner AND state IN ('sending', 'unknown')
                """,
                **_params(key_id),
                owner=owner,
                status=status,
                created=msgspec.json.encode(list(created)).decode(),
            )

    async def unknown(
        self, key_id: KeyId, owner: str, *, status: int | None, answered: bool, latest_sent_at: int
    ) -> None:
        """Store that the outcome is unknown."""
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                UPDATE idempotency SET state = 'unknown', status = :status,
                                       answered = :answered, latest_sent_at = :latest
                WHERE user_id = :user AND workspace_id = :workspace AND key = :key
                  AND owner = :owner AND state = 'sending'
                """,
                **_params(key_id),
                owner=owner,
                status=status,
                answered=int(answered),
                latest=latest_sent_at,
            )

    async def release(self, key_id: KeyId, owner: str) -> None:
        """Delete an intent whose write was not applied, so that the key can be used again."""
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                DELETE FROM idempotency
                WHERE user_id = :user AND workspace_id = :workspace AND key = :key
                  AND owner = :owner AND state = 'sending'
                """,
                **_params(key_id),
                owner=owner,
            )

    async def spend(self, key_id: KeyId, fingerprint: str, lease: Lease, expires_at: int) -> bool:
        """Spend the key: nothing was or will be applied. False: another owner has the key."""
        async with self._database.transaction() as tx:
            await _insert(
                tx, key_id, fingerprint, lease, expires_at
            )  # unless it is claimed already
            kept = await tx.execute(
                """
                UPDATE idempotency SET state = 'done', status = :status, created = '[]',
                                       answered = 1
                WHERE user_id = :user AND workspace_id = :workspace AND key = :key
                  AND owner = :owner AND state = 'sending'
                """,
                **_params(key_id),
                owner=lease.owner,
                status=SPENT,
            )
            return kept > 0

    async def abandon(self, key_id: KeyId, now: int) -> Record | None:
        """Mark a row with an expired lease as ``unknown``; return the current record."""
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                UPDATE idempotency SET state = 'unknown', latest_sent_at = send_by
                WHERE user_id = :user AND workspace_id = :workspace AND key = :key
                  AND state = 'sending' AND lease_until <= :now
                """,
                **_params(key_id),
                now=now,
            )
            return await _find(tx, key_id)

    async def since(
        self, user_id: str, workspace_id: str, since: int, most: int, first_key: str = ""
    ) -> list[Write]:
        """Return the newest ``most`` writes that can have been sent after ``since``.

        Skips refused writes and keys below ``first_key``. For an unknown outcome ``created`` is
        the value that :meth:`settle` stored.
        """
        async with self._database.reading() as tx:
            rows = await tx.all(
                """
                SELECT key, fingerprint, created, send_by FROM idempotency
                WHERE user_id = :user AND workspace_id = :workspace AND key >= :first
                  AND send_by >= :since AND (status IS NULL OR status <> :spent)
                ORDER BY send_by DESC, key DESC LIMIT :most
                """,
                user=user_id,
                workspace=workspace_id,
                first=first_key,
                since=since,
                spent=SPENT,
                most=most,
            )
        return [
            Write(row["key"], row["fingerprint"], _ids(row["created"]), row["send_by"])
            for row in rows
        ]

    async def settle(self, key_id: KeyId, created: Sequence[str], now: int) -> None:
        """Store the ids that the client found for a write of unknown outcome.

        The key stays ``unknown``, so a late copy of the request is not executed. A write with a
        known outcome does not change.
        """
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                UPDATE idempotency SET created = :created
                WHERE user_id = :user AND workspace_id = :workspace AND key = :key
                  AND created IS NULL
                  AND (state = 'unknown' OR (state = 'sending' AND lease_until <= :now))
                """,
                **_params(key_id),
                created=msgspec.json.encode(list(created)).decode(),
                now=now,
            )

    async def purge(self, now: int) -> int:
        """Delete expired rows; return their number."""
        async with self._database.transaction() as tx:
            return await tx.execute(
                "DELETE FROM idempotency WHERE expires_at <= :now AND lease_until <= :now", now=now
            )


async def erase(tx: Tx, user_id: str) -> int:
    """Delete the rows of one user, in the caller's transaction."""
    return await tx.execute("DELETE FROM idempotency WHERE user_id = :user", user=user_id)


async def of_user(tx: Tx, user_id: str) -> list[Row]:
    """Return the user's stored writes, for an export."""
    return await tx.all(
        """
        SELECT workspace_id, key, state, status, created, latest_sent_at, expires_at,
               outbox, outbox_counter
        FROM idempotency WHERE user_id = :user ORDER BY key
        """,
        user=user_id,
    )


async def delete_orphans(tx: Tx) -> int:
    """Delete the rows of deleted accounts: a call may end after its account is erased."""
    return await tx.execute(
        "DELETE FROM idempotency WHERE user_id NOT IN (SELECT id FROM user_profiles)"
    )


async def _refuse_taken(tx: Tx, key_id: KeyId, mark: OutboxMark) -> None:
    """Raise Behind if a write under another key has this counter: a machine was set back."""
    taken = await tx.one(
        """
        SELECT 1 AS one FROM idempotency
        WHERE user_id = :user AND outbox = :outbox AND outbox_counter = :counter
          AND NOT (workspace_id = :workspace AND key = :key)
        """,
        **_params(key_id),
        outbox=mark.outbox,
        counter=mark.counter,
    )
    line = await outboxes.remembered(tx, key_id.user_id, mark.outbox) if taken else None
    if line is not None:
        raise line


async def _insert(
    tx: Tx,
    key_id: KeyId,
    fingerprint: str,
    lease: Lease,
    expires_at: int,
    mark: OutboxMark | None = None,
) -> bool:
    claimed = await tx.execute(
        """
        INSERT INTO idempotency (user_id, workspace_id, key, fingerprint, state, owner,
                                 send_by, lease_until, expires_at, outbox, outbox_counter)
        VALUES (:user, :workspace, :key, :fingerprint, 'sending', :owner,
                :send_by, :until, :expires_at, :outbox, :outbox_counter)
        ON CONFLICT DO NOTHING
        """,
        **_params(key_id),
        fingerprint=fingerprint,
        owner=lease.owner,
        send_by=lease.send_by,
        until=lease.until,
        expires_at=expires_at,
        outbox=None if mark is None else mark.outbox,
        outbox_counter=None if mark is None else mark.counter,
    )
    return bool(claimed)


async def _find(tx: Tx, key_id: KeyId) -> Record | None:
    row = await tx.one(
        """
        SELECT fingerprint, state, lease_until, send_by, status, created, answered, latest_sent_at
        FROM idempotency WHERE user_id = :user AND workspace_id = :workspace AND key = :key
        """,
        **_params(key_id),
    )
    return None if row is None else _record(row)


def _params(key_id: KeyId) -> dict[str, str]:
    return {"user": key_id.user_id, "workspace": key_id.workspace_id, "key": key_id.key}


def _record(row: Row) -> Record:
    return Record(
        fingerprint=row["fingerprint"],
        state=row["state"],
        lease_until=row["lease_until"],
        send_by=row["send_by"],
        status=row["status"],
        created=_ids(row["created"]) or (),
        answered=bool(row["answered"]),
        latest_sent_at=row["latest_sent_at"],
    )


def _ids(stored: str | None) -> tuple[str, ...] | None:
    return None if stored is None else tuple(msgspec.json.decode(stored, type=list[str]))
