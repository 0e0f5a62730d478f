"""Stores the audit log: append-only rows, each chained to the previous one by a hash.

The hash covers the facts of an event and a *digest* of its subject (user, workspace, connection,
session, object). The subject itself is stored beside the digest, with a salt. Both can be erased
on request without breaking the chain: without the salt the digest reveals nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from cloud_broker.storage.database import Database, Row, Tx

STEPS = [
    """
    CREATE TABLE audit_log (
        seq BIGINT PRIMARY KEY,
        at BIGINT NOT NULL,
        event TEXT NOT NULL,
        facts TEXT NOT NULL,
        user_id TEXT,
        subject TEXT,
        salt TEXT,
        subject_digest TEXT NOT NULL,
        hash TEXT NOT NULL
    )
    """,
    "CREATE INDEX audit_log_user ON audit_log (user_id, seq)",
]
GENESIS = "0" * 64
LOCK = "audit_log"
PAGE = 500

Fact = str | int | None


class AuditEvent(Struct, frozen=True):
    """One event: names, numbers and ids only, never a body, title or token.

    ``at`` is in milliseconds. ``facts`` may be kept forever; ``subject`` identifies the user.
    """

    at: int
    event: str
    user_id: str
    facts: Mapping[str, Fact] = {}
    subject: Mapping[str, Fact] = {}
    salt: str = ""


async def append(tx: Tx, events: Sequence[AuditEvent]) -> None:
    """Add ``events`` at the end of the chain, in the caller's transaction."""
    await tx.lock(LOCK)
    last = await tx.one("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1")
    before, head = (last["seq"], last["hash"]) if last else (0, GENESIS)
    rows: list[Row] = []
    for seq, event in enumerate(events, before + 1):
        facts, subject = _text(event.facts), _text(event.subject)
        digest = _digest(event.salt, event.user_id, subject)
        head = _link(head, seq, event.at, event.event, facts, digest)
        rows.append(
            {
                "seq": seq,
                "at": event.at,
                "event": event.event,
                "facts": facts,
                "user": event.user_id,
                "subject": subject,
                "salt": event.salt,
                "digest": digest,
                "hash": head,
            }
        )
    await tx.execute_many(
        """
        INSERT INTO audit_log (seq, at, event, facts, user_id, subject, salt,
                               subject_digest, hash)
        VALUES (:seq, :at, :event, :facts, :user, :subject, :salt, :digest, :hash)
        """,
        rows,
    )


async def verify(database: Database) -> tuple[int, int | None]:
    """Check the chain. Return the number of valid rows and the first broken seq (or None)."""
    head, seq = GENESIS, 0
    while True:
        async with database.reading() as tx:
            rows = await tx.all(
                """
                SELECT seq, at, event, facts, user_id, subject, salt, subject_digest, hash
                FROM audit_log WHERE seq > :seq ORDER BY seq LIMIT :page
                """,
                seq=seq,
                page=PAGE,
            )
        for row in rows:
            if not _fits(row, seq + 1, head):
                return seq, seq + 1
            seq, head = row["seq"], row["hash"]
        if len(rows) < PAGE:
            return seq, None


async def of_user(tx: Tx, user_id: str) -> list[Row]:
    """Return the rows about one user, oldest first, for an export."""
    rows = await tx.all(
        "SELECT seq, at, event, facts, subject FROM audit_log WHERE user_id = :user ORDER BY seq",
        user=user_id,
    )
    return [
        {
            **row,
            "facts": msgspec.json.decode(row["facts"]),
            "subject": msgspec.json.decode(row["subject"]),
        }
        for row in rows
    ]


async def erase(tx: Tx, user_id: str) -> int:
    """Erase the subject of one user's rows; the chain stays intact."""
    return await tx.execute(
        """
        UPDATE audit_log SET user_id = NULL, subject = NULL, salt = NULL WHERE user_id = :user
        """,
        user=user_id,
    )


def _fits(row: Row, seq: int, head: str) -> bool:
    if row["seq"] != seq:
        return False
    if row["salt"] is not None:
        digest = _digest(row["salt"], row["user_id"] or "", row["subject"] or "")
        if digest != row["subject_digest"]:
            return False
    expected = _link(head, seq, row["at"], row["event"], row["facts"], row["subject_digest"])
    return bool(expected == row["hash"])


def _digest(salt: str, user_id: str, subject: str) -> str:
    return hashlib.sha256(_text([salt, user_id, subject]).encode()).hexdigest()


def _link(head: str, seq: int, at: int, event: str, facts: str, digest: str) -> str:
    return hashlib.sha256(_text([head, seq, at, event, facts, digest]).encode()).hexdigest()


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
