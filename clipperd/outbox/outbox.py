"""Run queries and changes on outbox.db; publish each change after its commit."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from msgspec.structs import replace

from clipperd.clock import Clock
from clipperd.outbox import accept as accepting
from clipperd.outbox import views
from clipperd.outbox.records import ClipView, Draft, LaneKey
from clipperd.storage.database import Database

_REMEMBERED = 1000  # clips whose last event is kept; more would only cost memory

P = ParamSpec("P")
T = TypeVar("T")
Publish = Callable[[str, dict[str, Any], str], None]


class Outbox:
    """Runs work on outbox.db and publishes the changed clips."""

    def __init__(
        self, db: Database, clock: Clock, *, new_id: Callable[[], str], publish: Publish
    ) -> None:
        """``new_id`` returns a fresh id. ``publish(type, data, user)`` sends an event to that
        account's clients.
        """
        self.db = db
        self._clock = clock
        self._new_id = new_id
        self._publish = publish
        self._changed = asyncio.Event()
        self._published: dict[str, int] = {}  # the last event of each clip, as a hash

    async def accept(self, draft: Draft) -> tuple[ClipView, bool, list[LaneKey]]:
        """Store a clip durably; return its view, whether it is a replay, and its lanes.

        Raises IdempotencyConflict, PageRefUnknown, PageRefTaken, StorageFull.
        """
        clip_id = self._new_id()
        ids = [self._new_id() for _ in draft.targets]
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> tuple[ClipView, bool, list[LaneKey]]:
            return accepting.accept(connection, draft, clip_id=clip_id, ids=ids, now=now)

        view, replayed, lanes = await self.db.write(work)
        if not replayed:
            self._publish_clips([(draft.scope.user_id, view)])
        return view, replayed, lanes

    async def get(self, user_id: str, clip_id: str) -> ClipView:
        """Return one clip of an account. Raises NotFound."""
        return await self.read(views.get, user_id, clip_id)

    async def change(
        self,
        transition: Callable[Concatenate[sqlite3.Connection, P], Sequence[int]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Run a transition in a transaction and publish the clips whose ``seq`` it returns."""

        def run(connection: sqlite3.Connection) -> list[tuple[str, ClipView]]:
            return views.by_seq(connection, transition(connection, *args, **kwargs))

        self._publish_clips(await self.db.write(run))

    async def act(
        self, user_id: str, clip_id: str, work: Callable[[sqlite3.Connection], T]
    ) -> tuple[ClipView, T]:
        """Apply a user's action to one clip; return the changed clip and the result."""

        def run(connection: sqlite3.Connection) -> tuple[ClipView, T]:
            result = work(connection)
            return views.get(connection, user_id, clip_id), result

        view, result = await self.db.write(run)
        self._publish_clips([(user_id, view)])
        return view, result

    async def read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a query; it does not wait for writers."""
        return await self.db.read(lambda connection: query(connection, *args, **kwargs))

    async def write(
        self,
        change: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a change of something that is no part of a clip's view, in a transaction."""
        return await self.db.write(lambda connection: change(connection, *args, **kwargs))

    async def until(
        self, user_id: str, clip_id: str, holds: Callable[[ClipView], bool], seconds: float
    ) -> ClipView:
        """Return the clip once ``holds`` is true of it, or as it is after ``seconds``."""
        nap = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            while True:
                changed = self._changed
                view = await self.read(views.get, user_id, clip_id)
                if holds(view) or nap.done():
                    return view
                waiting = asyncio.ensure_future(changed.wait())
                await asyncio.wait({nap, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        finally:
            nap.cancel()

    def _publish_clips(self, changed: Sequence[tuple[str, ClipView]]) -> None:
        for user_id, view in changed:
            if self._is_news(view):
                self._publish("clip", msgspec.to_builtins(view), user_id)
        self._changed.set()
        self._changed = asyncio.Event()

    def _is_news(self, view: ClipView) -> bool:
        """Return whether the clip differs from its last event in more than version and time."""
        shown = hash(msgspec.json.encode(replace(view, version=0, updated_at="")))
        before = self._published.pop(view.id, None)
        self._published[view.id] = shown  # the newest is last
        if len(self._published) > _REMEMBERED:
            del self._published[next(iter(self._published))]
        return shown != before
