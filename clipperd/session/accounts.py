"""Stores the accounts that have signed in here and their workspaces; holds all SQL about both.

The last account stays current after a sign-out, so that its clips keep their owner.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from clipperd.broker.auth import GrantedWorkspace, Subscription, User
from clipperd.clock import Clock
from clipperd.errors import NotSignedIn, WorkspaceMismatch
from clipperd.model import Scope, notion_id
from clipperd.storage.database import Database, Work

T = TypeVar("T")
AccountState = Literal["signed_in", "signed_out", "reauth_required"]


class Workspace(msgspec.Struct, frozen=True):
    """A connected workspace of an account."""

    id: str
    name: str
    icon: str | None
    bot_id: str | None
    current: bool


class Account(msgspec.Struct, frozen=True):
    """A user as the broker described them last, and the state of their session."""

    user_id: str
    email: str
    name: str
    avatar_url: str | None
    tier: str | None
    subscription_status: str | None
    limits: dict[str, Any] | None
    state: AccountState
    why: str | None
    signed_in_at: float
    workspaces: tuple[Workspace, ...]

    @property
    def current_workspace(self) -> Workspace | None:
        """The workspace of requests that name none."""
        return next((w for w in self.workspaces if w.current), None)


class Accounts:
    """The tables ``account`` and ``workspace`` in outbox.db."""

    def __init__(self, db: Database, clock: Clock) -> None:
        """``db`` is outbox.db with SESSION_STEPS applied."""
        self._db = db
        self._clock = clock
        self._cached: tuple[Account | None] | None = None
        self._version = 0  # of the cached account; each write raises it

    async def current(self) -> Account | None:
        """Return the account that is signed in, or was last; None before the first sign-in.

        Nearly every request needs it, so it is cached until the next write.
        """
        if self._cached is None:
            version = self._version
            found = await self._db.read(_current)
            if version != self._version:
                return found
            self._cached = (found,)
        return self._cached[0]

    async def current_user(self) -> str | None:
        """Return the user id of :meth:`current`."""
        account = await self.current()
        return None if account is None else account.user_id

    async def emails(self) -> dict[str, str]:
        """Return the address of every account that has signed in here, by user id."""
        return await self._db.read(
            lambda connection: dict(connection.execute("SELECT user_id, email FROM account"))
        )

    async def scope(self, workspace_id: str | None = None) -> Scope:
        """Return the current account with ``workspace_id``, by default its current workspace.

        Raises NotSignedIn before the first sign-in, WorkspaceMismatch when the workspace (or any)
        is not connected.
        """
        account = await self._known()
        if workspace_id is None:
            chosen = account.current_workspace
            if chosen is None:
                raise WorkspaceMismatch("No workspace is connected to this account.")
            return Scope(account.user_id, chosen.id)
        return Scope(account.user_id, _find(account, workspace_id).id)

    async def bot_id(self, scope: Scope) -> str | None:
        """Return our bot's Notion user id in that workspace, or None if unknown."""

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(
                "SELECT bot_id FROM workspace WHERE user_id = ? AND workspace_id = ?",
                (scope.user_id, scope.workspace_id),
            ).fetchone()
            return None if row is None else row["bot_id"]

        return await self._db.read(work)

    async def workspaces(self) -> tuple[Workspace, ...]:
        """Return the current account's connected workspaces. Raises NotSignedIn."""
        return (await self._known()).workspaces

    async def remember(
        self,
        user: User,
        workspaces: Sequence[GrantedWorkspace],
        subscription: Subscription | None = None,
        limits: Mapping[str, Any] | None = None,
        *,
        login_id: str | None = None,
    ) -> None:
        """Make ``user`` the current, signed-in account; with ``login_id``, complete that sign-in.

        Signs every other account out, and disconnects workspaces that are not listed.
        """
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE account SET is_current = 0, why = NULL, state = 'signed_out'"
                " WHERE user_id <> ?",
                (user.id,),
            )
            _write_profile(connection, user, subscription, limits, now)
            connection.execute(
                "UPDATE account SET is_current = 1, state = 'signed_in', why = NULL,"
                " signed_in_at = ? WHERE user_id = ?",
                (now, user.id),
            )
            _write_workspaces(connection, user.id, workspaces)
            if login_id is not None:
                connection.execute(
                    "UPDATE pending_login SET completed = 1, verifier = NULL, error = NULL"
                    " WHERE login_id = ?",
                    (login_id,),
                )

        await self._write(work)

    async def refresh(
        self,
        user: User,
        workspaces: Sequence[GrantedWorkspace] | None,
        subscription: Subscription | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> bool:
        """Update a known account's profile, not its state; return whether it changed.

        Writes only changes, because tokens are refreshed every few minutes.
        """
        now = self._clock.now()
        known = await self._db.read(lambda connection: _account(connection, user.id))
        if known is None or _is_unchanged(known, user, workspaces, subscription, limits):
            return False

        def work(connection: sqlite3.Connection) -> None:
            _write_profile(connection, user, subscription, limits, now)
            if workspaces is not None:
                _write_workspaces(connection, user.id, workspaces)

        await self._write(work)
        return True

    async def set_state(self, user_id: str, state: AccountState, why: str | None = None) -> bool:
        """Store the state of the account's session; return whether it changed."""

        def work(connection: sqlite3.Connection) -> bool:
            done = connection.execute(
                "UPDATE account SET state = :state, why = :why WHERE user_id = :user"
                " AND (state <> :state OR why IS NOT :why)",
                {"state": state, "why": why, "user": user_id},
            )
            return done.rowcount > 0

        return await self._write(work)

    async def set_current(self, workspace_id: str) -> None:
        """Choose the current workspace. Raises NotSignedIn, WorkspaceMismatch."""
        account = await self._known()
        chosen = _find(account, workspace_id).id
        await self._write(
            lambda connection: (
                connection.execute(
                    "UPDATE account SET current_workspace_id = ? WHERE user_id = ?",
                    (chosen, account.user_id),
                ).rowcount
            )
        )

    async def disconnect(self, scope: Scope) -> None:
        """Mark the workspace as disconnected, and make another one current."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE workspace SET connected = 0 WHERE user_id = ? AND workspace_id = ?",
                (scope.user_id, scope.workspace_id),
            )
            _choose_current(connection, scope.user_id)

        await self._write(work)

    async def _write(self, work: Work[T]) -> T:
        """Write, then drop the cached account, even when the caller is canceled."""
        writing = asyncio.ensure_future(self._db.write(work))
        writing.add_done_callback(self._drop_cached)
        return await asyncio.shield(writing)

    def _drop_cached(self, _written: object) -> None:
        self._version += 1
        self._cached = None

    async def _known(self) -> Account:
        account = await self.current()
        if account is None:
            raise NotSignedIn("No account has signed in here yet.", hint="Sign in to Notion first.")
        return account


def _find(account: Account, workspace_id: str) -> Workspace:
    wanted = notion_id(workspace_id) or workspace_id
    for workspace in account.workspaces:
        if workspace.id == wanted:
            return workspace
    raise WorkspaceMismatch(
        "That workspace is not connected to this account.",
        hint="Connect it, or choose one of GET /v1/workspaces.",
    )


def _current(connection: sqlite3.Connection) -> Account | None:
    row = connection.execute("SELECT user_id FROM account WHERE is_current = 1").fetchone()
    return None if row is None else _account(connection, row["user_id"])


def _account(connection: sqlite3.Connection, user_id: str) -> Account | None:
    row = connection.execute(
        "SELECT user_id, email, name, avatar_url, tier, subscription_status, limits, state, why,"
        " current_workspace_id, signed_in_at FROM account WHERE user_id = ?",
        (user_id,),
    ).fetchone()
    if row is None:
        return None
    workspaces = connection.execute(
        "SELECT workspace_id, name, icon, bot_id FROM workspace"
        " WHERE user_id = ? AND connected = 1 ORDER BY place, workspace_id",
        (user_id,),
    )
    return Account(
        user_id=row["user_id"],
        email=row["email"],
        name=row["name"],
        avatar_url=row["avatar_url"],
        tier=row["tier"],
        subscription_status=row["subscription_status"],
        limits=None if row["limits"] is None else json.loads(row["limits"]),
        state=row["state"],
        why=row["why"],
        signed_in_at=row["signed_in_at"],
        workspaces=tuple(
            Workspace(
                id=w["workspace_id"],
                name=w["name"],
                icon=w["icon"],
                bot_id=w["bot_id"],
                current=w["workspace_id"] == row["current_workspace_id"],
            )
            for w in workspaces
        ),
    )


def _is_unchanged(
    account: Account,
    user: User,
    workspaces: Sequence[GrantedWorkspace] | None,
    subscription: Subscription | None,
    limits: Mapping[str, Any] | None,
) -> bool:
    """Return whether the broker reports nothing new; fields that it omits are unchanged."""
    paid = (account.tier, account.subscription_status)
    connected = [(w.id, w.name, w.icon, w.bot_id) for w in account.workspaces]
    bots = {w.id: w.bot_id for w in account.workspaces}
    new_paid, new_connected = paid, connected
    if subscription is not None:
        new_paid = (subscription.tier or paid[0], subscription.status or paid[1])
    if workspaces is not None:
        new_connected = [
            (w.id, w.name or "", w.icon, w.bot_id or bots.get(w.id)) for w in workspaces
        ]
    return (
        (account.email, account.name, account.avatar_url)
        == (user.email, user.name or "", user.avatar_url)
        and paid == new_paid
        and connected == new_connected
        and (limits is None or account.limits == dict(limits))
    )


def _write_profile(
    connection: sqlite3.Connection,
    user: User,
    subscription: Subscription | None,
    limits: Mapping[str, Any] | None,
    now: float,
) -> None:
    """Insert or update the account; fields that the broker omits stay unchanged."""
    connection.execute(
        "INSERT INTO account (user_id, email, name, avatar_url, tier, subscription_status, limits,"
        " state, is_current, signed_in_at)"
        " VALUES (:user_id, :email, :name, :avatar, :tier, :status, :limits, 'signed_out', 0, :now)"
        " ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, name = excluded.name,"
        " avatar_url = excluded.avatar_url, tier = coalesce(excluded.tier, tier),"
        " subscription_status = coalesce(excluded.subscription_status, subscription_status),"
        " limits = coalesce(excluded.limits, limits)",
        {
            "user_id": user.id,
            "email": user.email,
            "name": user.name or "",
            "avatar": user.avatar_url,
            "tier": subscription.tier if subscription else None,
            "status": subscription.status if subscription else None,
            "limits": json.dumps(limits) if limits is not None else None,
            "now": now,
        },
    )


def _write_workspaces(
    connection: sqlite3.Connection, user_id: str, workspaces: Sequence[GrantedWorkspace]
) -> None:
    connection.execute("UPDATE workspace SET connected = 0 WHERE user_id = ?", (user_id,))
    connection.executemany(
        "INSERT INTO workspace (user_id, workspace_id, name, icon, bot_id, place, connected)"
        " VALUES (?, ?, ?, ?, ?, ?, 1)"
        " ON CONFLICT (user_id, workspace_id) DO UPDATE SET name = excluded.name,"
        " icon = excluded.icon, bot_id = coalesce(excluded.bot_id, bot_id),"
        " place = excluded.place, connected = 1",
        [
            (user_id, w.id, w.name or "", w.icon, w.bot_id, place)
            for place, w in enumerate(workspaces)
        ],
    )
    _choose_current(connection, user_id)


def _choose_current(connection: sqlite3.Connection, user_id: str) -> None:
    """Keep the chosen workspace while it is connected, else choose the first connected one."""
    connection.execute(
        "UPDATE account SET current_workspace_id = coalesce("
        "  (SELECT w.workspace_id FROM workspace AS w WHERE w.user_id = account.user_id"
        "   AND w.connected = 1 AND w.workspace_id = account.current_workspace_id),"
        "  (SELECT w.workspace_id FROM workspace AS w WHERE w.user_id = account.user_id"
        "   AND w.connected = 1 ORDER BY w.place, w.workspace_id LIMIT 1))"
        " WHERE user_id = ?",
        (user_id,),
    )
