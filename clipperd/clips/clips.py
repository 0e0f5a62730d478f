"""Lists accepted clips and acts on them, for the current account."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypedDict, cast

from clipperd.clock import Clock, rfc3339
from clipperd.delivery.dispatch import Dispatcher
from clipperd.errors import NotFound, NotSignedIn
from clipperd.model import WAITING, Scope
from clipperd.outbox import actions, backlog, other_accounts, retention, views
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import ClipView, LaneKey, moment
from clipperd.session.accounts import Accounts

_OVERDUE_S = 7 * 86400.0  # seconds; an unsent delivery older than a week is reported
Action = Callable[[sqlite3.Connection, Sequence[sqlite3.Row], float], None]


class LastError(TypedDict):
    """The newest error of the queue, and when it happened."""

    code: str
    message: str
    at: str


class OtherAccount(TypedDict):
    """The unfinished clips of an account that is not signed in."""

    user_id: str
    email: str | None
    waiting: int
    needs_attention: int


class QueueStatus(TypedDict):
    """The number of deliveries by state, and what the queue does."""

    queued: int
    sending: int
    retrying: int
    unconfirmed: int
    needs_attention: int
    failed: int
    canceled: int
    delivered: int
    by_workspace: dict[str, dict[str, int]]
    other_accounts: list[OtherAccount]
    oldest_queued_at: str | None
    paused: bool
    paused_until: str | None
    held_for_reauth: int
    draining: bool
    eta_s: float | None
    last_error: LastError | None


class Clips:
    """Reads and changes the outbox under the current account, and wakes the dispatcher."""

    def __init__(
        self,
        outbox: Outbox,
        accounts: Accounts,
        dispatcher: Dispatcher,
        clock: Clock,
        *,
        is_online: Callable[[], bool] = lambda: True,
    ) -> None:
        """``is_online`` returns whether the last request to the broker was answered."""
        self._is_online = is_online
        self._outbox = outbox
        self._accounts = accounts
        self._dispatcher = dispatcher
        self._clock = clock

    async def user(self) -> str:
        """Return the current account, or the last one when signed out. Raises NotSignedIn."""
        user = await self._accounts.current_user()
        if user is None:
            raise NotSignedIn("You have not signed in yet.", hint="Run clipperd login.")
        return user

    async def page(
        self, chosen: views.Filter, limit: int, cursor: str | None, *, every_account: bool = False
    ) -> tuple[list[ClipView], str | None]:
        """Return clips, newest first, and the next cursor. Raises CursorInvalid."""
        user = None if every_account else await self._accounts.current_user()
        if user is None and not every_account:
            return [], None
        return await self._outbox.read(views.page, user, chosen, limit=limit, cursor=cursor)

    async def get(self, clip_id: str, *, every_account: bool = False) -> ClipView:
        """Return one clip. Raises NotFound."""
        user = await self._owner(clip_id, every_account=every_account)
        return await self._outbox.read(views.get, user, clip_id)

    async def content(self, clip_id: str, *, every_account: bool = False) -> Any:
        """Return the content as accepted. Raises NotFound, ContentErased."""
        user = await self._owner(clip_id, every_account=every_account)
        return await self._outbox.read(views.content, user, clip_id)

    async def act(
        self,
        clip_id: str,
        delivery_id: str | None,
        action: Action,
        *,
        every_account: bool = False,
    ) -> ClipView:
        """Run an action on a clip's deliveries and wake their lanes."""
        user = await self._owner(clip_id, every_account=every_account)
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> tuple[list[LaneKey], bool]:
            rows = actions.rows_of(connection, user, clip_id, delivery_id)
            action(connection, rows, now)
            return [actions.lane_of(row) for row in rows], any(row["new_page"] for row in rows)

        view, (lanes, creates) = await self._outbox.act(user, clip_id, work)
        self._dispatcher.free(*lanes)
        if creates:  # other lanes may wait for the new page
            self._dispatcher.poke()
        return view

    async def until(
        self, clip_id: str, holds: Callable[[ClipView], bool], seconds: float
    ) -> ClipView:
        """Return the clip as soon as ``holds(clip)``, or its state after ``seconds``."""
        return await self._outbox.until(await self._known_user(), clip_id, holds, seconds)

    async def delete(self, clip_id: str, *, every_account: bool = False) -> None:
        """Remove a finished clip. Raises NotFound, NotFinished."""
        user = await self._owner(clip_id, every_account=every_account)
        await self._outbox.write(retention.delete, user, clip_id)

    async def delete_many(self, states: Sequence[str], before: float | None) -> int:
        """Remove finished clips; return how many."""
        user = await self.user()
        return await self._outbox.write(retention.delete_many, user, states, before)

    async def set_parked(self, scope: Scope, page_id: str, parked: str) -> None:
        """Set whether clips after one that needs attention "wait" or are sent ("skip")."""
        lane = (scope.user_id, scope.workspace_id, page_id)
        await self._outbox.write(actions.set_parked, lane, parked)
        self._dispatcher.poke(lane)

    async def pause(self, seconds: float | None) -> None:
        """Pause the whole queue, for ``seconds`` or until ``resume``."""
        until = None if seconds is None else self._clock.now() + seconds
        await self._outbox.write(actions.pause, until)
        self._dispatcher.poke()

    async def resume(self) -> None:
        """Resume the queue."""
        await self._outbox.write(actions.resume)
        self._dispatcher.poke()

    async def retry_all(self) -> int:
        """Retry all clips that back off or need attention; return how many."""
        user = await self.user()
        now = self._clock.now()
        retried: list[int] = []

        def work(connection: sqlite3.Connection) -> list[int]:
            retried[:] = actions.retry_all(connection, user, now)
            return retried

        await self._outbox.change(work)
        self._dispatcher.hurry()
        return len(retried)

    async def unsent(self, workspace_id: str) -> int:
        """Count the deliveries that have not reached this workspace."""
        user = await self._accounts.current_user()
        if user is None:
            return 0
        return await self._outbox.read(actions.unsent, user, workspace_id)

    async def status(self) -> QueueStatus:
        """Return the ``queue`` part of the status document."""
        user = await self._accounts.current_user()
        loads = await self._outbox.read(backlog.loads, user or "")
        paused, until = await self._outbox.read(actions.paused)
        counts = await self._outbox.read(views.counts, user or "")
        held = user is not None and self._dispatcher.active_user() != user
        flows = not (held or paused or self._dispatcher.is_offline) and self._is_online()
        waiting = sum(int(counts[state]) for state in WAITING)
        found = {
            **counts,
            "other_accounts": await self.other_accounts(),
            "paused": paused,
            "paused_until": moment(until),
            "held_for_reauth": waiting if held else 0,
            "draining": flows and (bool(loads) or self._dispatcher.is_busy),
            "eta_s": self._dispatcher.eta_s(loads) if flows else None,
            "last_error": await self._last_error(user or ""),
        }
        return cast(QueueStatus, found)

    async def overdue(self) -> int:
        """Count the deliveries that have waited for a week; they stay queued."""
        user = await self._accounts.current_user()
        if user is None:
            return 0
        before = self._clock.now() - _OVERDUE_S
        return await self._outbox.read(views.waiting_since, user, before)

    async def _last_error(self, user: str) -> LastError | None:
        """Return the newest error: of an unfinished delivery, or of an attempt since a success."""
        stored = cast("LastError | None", await self._outbox.read(views.last_error, user))
        failure = self._dispatcher.last_failure
        if failure is None or failure.user_id != user:
            return stored
        at = rfc3339(failure.at)
        if stored is not None and stored["at"] >= at:
            return stored
        return LastError(code=failure.code, message=failure.message, at=at)

    async def other_accounts(self) -> list[OtherAccount]:
        """Return the accounts that are not signed in and have unfinished clips here."""
        user = await self._accounts.current_user()
        found = await self._outbox.read(other_accounts.unfinished, user or "")
        emails = await self._accounts.emails() if found else {}
        return [
            cast(OtherAccount, {**each, "email": emails.get(each["user_id"])}) for each in found
        ]

    async def adopt(self, former: str, workspace_id: str | None) -> tuple[int, int]:
        """Hand the unfinished clips of another account to the signed-in one.

        A clip keeps its workspace where that is connected, else it goes to ``workspace_id``.
        Returns how many were handed over, and how many stay. Raises NotSignedIn,
        WorkspaceMismatch, NotFound.
        """
        user = await self.user()
        if former not in [each["user_id"] for each in await self.other_accounts()]:
            raise NotFound("No other account with this id has unfinished clips here.")
        connected = frozenset(w.id for w in await self._accounts.workspaces())
        otherwise = None
        if workspace_id is not None:
            otherwise = (await self._accounts.scope(workspace_id)).workspace_id
        adopted: list[int] = []

        def work(connection: sqlite3.Connection) -> list[int]:
            adopted[:] = other_accounts.adopt(
                connection, former, user, connected, otherwise, self._clock.now()
            )
            return adopted

        async with AsyncExitStack() as lanes:
            for lane in sorted(await self._outbox.read(other_accounts.lanes_of, former)):
                await lanes.enter_async_context(self._dispatcher.exclusive(lane))
            await self._outbox.change(work)
        self._dispatcher.hurry()
        left = [e for e in await self.other_accounts() if e["user_id"] == former]
        return len(adopted), sum(e["waiting"] + e["needs_attention"] for e in left)

    async def _owner(self, clip_id: str, *, every_account: bool) -> str:
        if every_account:
            return await self._outbox.read(views.owner, clip_id)
        return await self._known_user()

    async def _known_user(self) -> str:
        user = await self._accounts.current_user()
        if user is None:
            raise NotFound("This account has no such clip.")
        return user
