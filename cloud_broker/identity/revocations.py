"""Revokes tokens at Notion; keeps them sealed until Notion confirms."""

from __future__ import annotations

import asyncio
import logging

from cloud_broker.audit import Audit, Opening
from cloud_broker.clock import Clock, within
from cloud_broker.crypto.sealing import KeyRing, Place, Sealed
from cloud_broker.errors import BrokerError
from cloud_broker.identity.oauth import DEADLINE_S, NotionOAuth
from cloud_broker.randomness import Randomness
from cloud_broker.secret import Secret
from cloud_broker.storage import connections as rows
from cloud_broker.storage.database import Database, Row, Tx, to_ms

log = logging.getLogger(__name__)

TABLE = "pending_revocations"
COLUMN = "token_sealed"
FIRST_RETRY_S = 30.0  # seconds, doubled for each further retry
LONGEST_RETRY_S = 6 * 3600.0  # seconds
GIVE_UP_S = 30 * 86_400.0  # seconds
BATCH = 10
IDLE_S = 60.0  # seconds between checks: another process may add rows; ours calls ``wake``


class Revocations:
    """The outbox of revocations; a loop calls ``run_once``."""

    def __init__(
        self,
        database: Database,
        ring: KeyRing,
        oauth: NotionOAuth,
        *,
        clock: Clock,
        randomness: Randomness,
        audit: Audit,
    ) -> None:
        self._database = database
        self._ring = ring
        self._oauth = oauth
        self._clock = clock
        self._random = randomness
        self._audit = audit
        self._more = asyncio.Event()

    async def add(self, tx: Tx, *tokens: Secret | None) -> None:
        """Queue tokens for revocation, in the transaction that deletes the connection."""
        for token in tokens:
            if token is None:
                continue
            revocation_id = self._random.new_id()
            sealed = self._ring.seal(Place(TABLE, revocation_id), {COLUMN: token})
            await rows.add_revocation(
                tx,
                revocation_id=revocation_id,
                kid=sealed.kid,
                wrapped_key=sealed.wrapped_key,
                token=sealed.columns[COLUMN],
                now=to_ms(self._clock.now()),
            )

    def wake(self) -> None:
        """Signal that new tokens were committed."""
        self._more.set()

    async def run_once(self) -> float:
        """Revoke the due tokens, then wait for the next; return 0 so that the loop calls again."""
        self._more.clear()
        await within(self._clock, await self.step(), self._more.wait())
        return 0.0

    async def step(self) -> float:
        """Try the due tokens once; return the seconds until the next attempt is due.

        The transaction that claims a row also audits the opening of its token.
        """
        now = self._clock.now()
        async with self._database.transaction() as tx:
            due = await rows.claim_revocations(
                tx, now=to_ms(now), again_at=to_ms(now + 2 * BATCH * DEADLINE_S), limit=BATCH
            )
            await self._audit.write_openings(tx, [opening(row, "revoke") for row in due])
        ended = await asyncio.gather(*map(self._attempt, due), return_exceptions=True)
        for failure in filter(None, ended):
            raise failure
        async with self._database.reading() as tx:
            next_at = await rows.next_revocation_at(tx)
        if next_at is None:
            return IDLE_S
        return min(IDLE_S, max(0.0, next_at / 1000 - self._clock.now()))

    async def _attempt(self, row: Row) -> None:
        try:
            sealed = Sealed(row["kid"], row["wrapped_key"], {COLUMN: row["token_sealed"]})
            await self._oauth.revoke(self._ring.open(Place(TABLE, row["id"]), sealed, COLUMN))
        except BrokerError as error:
            now = self._clock.now()
            if now - row["created_at"] / 1000 < GIVE_UP_S:
                delay = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** (row["attempts"] - 1))
                async with self._database.transaction() as tx:
                    await rows.postpone_revocation(tx, row["id"], until=to_ms(now + delay))
                return
            log.warning(
                "Revocation %s failed for 30 days and was dropped: %s.", row["id"], error.code
            )
            async with self._database.transaction() as tx:
                await rows.delete_revocation(tx, row["id"])
                facts, subject = {"why": error.code}, {"revocation": row["id"]}
                await self._audit.write(tx, "revocation_given_up", "", facts=facts, subject=subject)
            return
        async with self._database.transaction() as tx:
            await rows.delete_revocation(tx, row["id"])


def opening(row: Row, purpose: str) -> Opening:
    """Return the audit entry for opening a pending token, which belongs to no user."""
    return Opening("", {"purpose": purpose}, {"revocation": row["id"]})
