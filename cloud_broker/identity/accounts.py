"""Connects, shows, exports and erases the accounts of users."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from cloud_broker.audit import Audit, Opening, opening
from cloud_broker.clock import Clock, rfc3339
from cloud_broker.crypto.pepper import Pepper
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.errors import KeysRefused, NotFound, SealBroken, SessionExpired, WorkspaceTaken
from cloud_broker.identity.connections import (
    Tokens,
    canonical_id,
    open_access,
    open_refresh,
    place_of,
    seal_pair,
)
from cloud_broker.identity.oauth import Grant, NotionUser
from cloud_broker.identity.revocations import Revocations
from cloud_broker.identity.sessions import Sessions
from cloud_broker.randomness import Randomness
from cloud_broker.storage import accounts as rows
from cloud_broker.storage import connections as connection_rows
from cloud_broker.storage import idempotency, outboxes
from cloud_broker.storage import push as push_rows
from cloud_broker.storage.audit import Fact
from cloud_broker.storage.database import Database, Row, Tx, to_ms
from cloud_broker.tariff import DEFAULT_TIER, Tariff

log = logging.getLogger(__name__)

Exporter = Callable[[Tx, str], Awaitable[Sequence[Mapping[str, Any]]]]
Eraser = Callable[[Tx, str], Awaitable[int]]


class Accounts:
    """The accounts of this broker, one for each Notion user."""

    def __init__(
        self,
        database: Database,
        ring: KeyRing,
        sessions: Sessions,
        tokens: Tokens,
        revocations: Revocations,
        *,
        pepper: Pepper,
        clock: Clock,
        randomness: Randomness,
        audit: Audit,
        tariff: Tariff,
        exports: Mapping[str, Exporter],
        erasers: Sequence[Eraser],
    ) -> None:
        """``exports`` and ``erasers`` read and delete rows about a user that other rooms store."""
        self._database = database
        self._ring = ring
        self._sessions = sessions
        self._tokens = tokens
        self._revocations = revocations
        self._pepper = pepper
        self._clock = clock
        self._random = randomness
        self._audit = audit
        self._tariff = tariff
        self._exports = dict(exports)
        self._erasers = tuple(erasers)

    # --- connecting ------------------------------------------------------------------------

    async def connect(self, tx: Tx, grant: Grant, owner: NotionUser) -> str:
        """Store a grant under its owner's account, created if missing; return the account's id.

        Raises WorkspaceTaken when the workspace belongs to another account or is blocked; the
        caller must then roll back.
        """
        now = to_ms(self._clock.now())
        user_id = await rows.upsert_profile(
            tx,
            new_id=self._random.new_id(),
            notion_user_id=owner.id,
            email=owner.email,
            full_name=owner.name,
            avatar_url=owner.avatar_url,
            now=now,
        )
        await rows.ensure_subscription(tx, new_id=self._random.new_id(), user_id=user_id, now=now)
        fresh_id = self._random.new_id()
        connection_id = await connection_rows.connection_id_for(
            tx, user_id, grant.workspace_id, new_id=fresh_id
        )
        is_theirs = await self._claim(tx, grant.workspace_id, user_id, owner.id, now)
        if not is_theirs and connection_id == fresh_id:  # an existing connection stays
            raise WorkspaceTaken(
                "Another account has connected this Notion workspace; each workspace belongs to"
                " one account.",
                hint="Sign in with the account that connected it first, or choose another"
                " workspace. If it is your team's, write to support.",
            )
        place = place_of(
            {"id": connection_id, "user_id": user_id, "workspace_id": grant.workspace_id}
        )
        sealed = seal_pair(self._ring, place, grant.tokens)
        await connection_rows.save_connection(
            tx,
            connection_id=connection_id,
            user_id=user_id,
            workspace_id=grant.workspace_id,
            workspace_name=grant.workspace_name,
            workspace_icon=grant.workspace_icon,
            bot_id=grant.bot_id,
            notion_owner_id=owner.id,
            kid=sealed.kid,
            wrapped_key=sealed.wrapped_key,
            access=sealed.columns["access_token_sealed"],
            refresh=sealed.columns.get("refresh_token_sealed"),
            now=now,
        )
        await self._audit.write(
            tx,
            "workspace_connected",
            user_id,
            facts={},
            subject={"connection": connection_id, "workspace": grant.workspace_id},
        )
        return user_id

    async def _claim(
        self, tx: Tx, workspace_id: str, user_id: str, notion_user_id: str, now: int
    ) -> bool:
        """Claim the workspace; False if another account owns it. Raises WorkspaceTaken."""
        user_hash = self._pepper.hash("user", canonical_id(notion_user_id))
        claim = await rows.claim_workspace(
            tx,
            workspace_hash=self._hash(workspace_id),
            user_id=user_id,
            user_hash=user_hash,
            now=now,
        )
        if claim["is_blocked"]:
            raise WorkspaceTaken("This workspace is blocked.", hint="Write to support.")
        return bool(claim["first_user_hash"] == user_hash)

    def _hash(self, workspace_id: str) -> str:
        return self._pepper.hash("workspace", canonical_id(workspace_id))

    async def release_workspace(self, workspace_id: str) -> bool:
        """Delete the claim of a workspace, with its block; False if there was none.

        The next account that connects the workspace owns it; existing connections stay. For
        support, when one member of a team has locked out another.
        """
        workspace_hash = self._hash(workspace_id)
        async with self._database.transaction() as tx:
            claim = await rows.release_workspace(tx, workspace_hash)
            if claim is not None:
                facts: dict[str, Fact] = {"was_blocked": claim["is_blocked"]}
                subject: dict[str, Fact] = {"workspace_hash": workspace_hash}
                await self._audit.write(tx, "workspace_released", "", facts=facts, subject=subject)
        return claim is not None

    # --- disconnecting and erasing ---------------------------------------------------------

    async def disconnect(self, user_id: str, workspace_id: str) -> None:
        """Delete a workspace's sealed tokens and queue their revocation. Raises NotFound."""
        wanted = canonical_id(workspace_id)
        async with self._database.transaction() as tx:
            found = await connection_rows.connections_of(tx, user_id)
            dropped = await self._drop(
                tx, [row for row in found if canonical_id(row["workspace_id"]) == wanted]
            )
            await self._audit.write_openings(tx, dropped)
        if not dropped:
            raise NotFound("This workspace is not connected to your account.")
        self._tokens.forget(user_id)
        self._revocations.wake()

    async def revoke_everything(self, user_id: str, *, why: str) -> tuple[int, int]:
        """End an account's sessions and connections; return the number of each."""
        async with self._database.transaction() as tx:
            dropped = await self._drop(tx, await connection_rows.connections_of(tx, user_id))
            ended = await self._sessions.revoke_all(tx, user_id, why=why)
            await self._audit.write_openings(tx, dropped)
        self.forget(user_id)
        self._revocations.wake()
        return ended, len(dropped)

    async def erase(self, user_id: str) -> None:
        """Delete the account and all its rows, and queue the revocation of its tokens.

        Only keyed hashes in ``workspace_history`` and audit rows without a subject remain.
        """
        async with self._database.transaction() as tx:
            profile = await rows.profile(tx, user_id)
            connections = await connection_rows.connections_of(tx, user_id)
            dropped = await self._drop(tx, connections)
            for connection in connections:
                owner = profile["notion_user_id"] if profile else ""
                await self._remove_from_events(tx, connection, owner)
            for erase in self._erasers:
                await erase(tx, user_id)
            await rows.delete_profile(tx, user_id)
            await self._audit.write_openings(tx, dropped)  # ``erase`` below removes their subject
            await self._audit.write(tx, "account_erased", "", facts={}, subject={})
            await self._audit.erase(tx, user_id)
        self.forget(user_id)
        self._revocations.wake()
        await self._database.tidy()

    async def _remove_from_events(self, tx: Tx, connection: Row, owner: str) -> None:
        """Remove this account's ids from events that other accounts of the workspace still read."""
        parties = [owner]
        if not await connection_rows.is_bot_connected(tx, connection["bot_id"]):
            parties.append(connection["bot_id"])
        for party in filter(None, parties):
            await push_rows.forget_party(tx, connection["workspace_id"], party)

    def forget(self, user_id: str) -> None:
        """Drop the account from the caches after a change."""
        self._sessions.forget(user_id)
        self._tokens.forget(user_id)

    async def sweep(self) -> None:
        """Delete rows written about accounts while they were being erased."""
        async with self._database.transaction() as tx:
            await idempotency.delete_orphans(tx)
            await outboxes.delete_orphans(tx)
        await self._database.tidy()

    async def _drop(self, tx: Tx, connections: Sequence[Row]) -> list[Opening]:
        """Delete connections and queue their tokens, sealed again, for revocation.

        Uses the rows as they were deleted: a refresh may just have replaced their tokens.
        """
        openings = []
        for connection in connections:
            row = await connection_rows.take_connection(tx, connection["id"])
            if row is None:
                continue
            openings.append(opening(row, "revoke"))
            try:
                tokens = (open_access(self._ring, row), open_refresh(self._ring, row))
            except (SealBroken, KeysRefused):
                log.warning("Connection %s cannot be opened, so it is not revoked.", row["id"])
            else:
                await self._revocations.add(tx, *tokens)
        return openings

    # --- reading ---------------------------------------------------------------------------

    async def summary(self, user_id: str) -> dict[str, Any]:
        """Return ``user``, ``workspaces`` and ``subscription`` for clients.

        Raises SessionExpired when the account no longer exists.
        """
        async with self._database.reading() as tx:
            profile = await rows.profile(tx, user_id)
            bought = await rows.subscription(tx, user_id)
            workspaces = await connection_rows.workspaces_of(tx, user_id)
        if profile is None:
            raise SessionExpired("This account no longer exists.")
        return {
            "user": {
                "id": profile["id"],
                "email": profile["email"] or "",  # absent without the capability to read it
                "name": profile["full_name"],
                "avatar_url": profile["avatar_url"],
            },
            "workspaces": [
                {
                    "id": row["id"],
                    "name": row["name"],
                    "icon": row["icon"],
                    "bot_id": row["bot_id"],
                    "reauth_required": bool(row["reauth_required"]),
                }
                for row in workspaces
            ],
            "subscription": self._in_force(bought),
        }

    def _in_force(self, bought: Row | None) -> dict[str, str]:
        """Return the tier in force now; every account has one."""
        if bought is None:
            return {"tier": DEFAULT_TIER, "status": "active"}
        now = to_ms(self._clock.now())
        tier = self._tariff.in_force(
            bought["tier"], bought["status"], bought["past_due_since"], now
        )
        return {"tier": tier, "status": bought["status"]}

    async def export(self, user_id: str) -> dict[str, Any]:
        """Return all data stored about the account, without secrets. Raises SessionExpired."""
        now = self._clock.now()
        await self._audit.flush()
        async with self._database.reading() as tx:
            profile = await rows.profile(tx, user_id)
            bought = await rows.subscription(tx, user_id)
            parts = {name: await part(tx, user_id) for name, part in self._exports.items()}
        if profile is None:
            raise SessionExpired("This account no longer exists.")
        period = bought or {}
        return {
            "exported_at": rfc3339(now),
            "profile": _with_times(profile),
            "subscription": {
                **self._in_force(bought),
                "bought": period.get("tier"),
                "period_starts_at": _time(period.get("current_period_start")),
                "period_ends_at": _time(period.get("current_period_end")),
                "past_due_since": _time(period.get("past_due_since")),
            },
            **{name: [_with_times(row) for row in part] for name, part in parts.items()},
        }


def _with_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """Render the times of a row (``at`` and ``…_at``, in ms) as RFC 3339."""
    return {
        name: _time(value) if name == "at" or name.endswith("_at") else value
        for name, value in row.items()
    }


def _time(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms / 1000)
