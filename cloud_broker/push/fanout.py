"""The open event streams of this process, and what each of them is told.

One task reads the log for all streams; another looks every few seconds whether their sessions and
connections still stand. A stream itself is a queue of rendered bytes and one future.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from cloud_broker.clock import Clock, within
from cloud_broker.identity.sessions import Claims
from cloud_broker.push.notifier import Notifier
from cloud_broker.storage import push as rows
from cloud_broker.storage.database import Database, Row, to_ms

BEAT_S = 25.0
CHECK_S = 3.0  # a revoked session's stream ends within five seconds, on every instance
WAITING = 1_000  # events that a slow reader may lag behind
PER_ACCOUNT = 8
CATCH_UP = 5_000  # rows of the log that a resume may read; more is a gap
BATCH = 500
BEAT = b": beat\n\n"
_HELD = 1 << 63  # of a stream that is still told what it missed
_SEQUENCE = re.compile(r"\A[0-9]{1,18}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Connection:
    """What of a connection decides whom an event concerns."""

    bot_id: str
    owner_id: str
    needs_reauth: bool

    def may_know(self, row: Row) -> bool:
        """Whether Notion says that this connection sees the page; yes where it says nothing."""
        seen_by = row["accessible_by"]
        return seen_by is None or not {self.bot_id, self.owner_id}.isdisjoint(seen_by.split())


class Stream:
    """One daemon's stream: iterate it for the bytes to send."""

    __slots__ = (
        *("_queue", "_waiter", "connections", "ends_at", "is_closed", "sent", "session_id"),
        "user_id",
    )

    def __init__(self, claims: Claims) -> None:
        """Nothing to tell yet. ``sent``: the sequence number up to which it was told."""
        self.user_id = claims.user_id
        self.session_id = claims.session_id
        self.ends_at = claims.expires_at
        self.connections: dict[str, Connection] = {}
        self.sent = _HELD
        self.is_closed = False
        self._queue: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, chunk: bytes) -> None:
        """Queue bytes; a reader that lags too far is closed, and resumes by its number."""
        if self.is_closed:
            return
        self._queue.append(chunk)
        if len(self._queue) > WAITING:
            self._queue.clear()
            self.is_closed = True
        self._wake()

    def beat(self) -> None:
        """Queue a comment, unless something else waits."""
        if not self._queue:
            self.put(BEAT)

    def close(self) -> None:
        """End it after what is queued."""
        self.is_closed = True
        self._wake()

    async def next(self) -> bytes | None:
        """Everything queued, as soon as there is something; None at the end."""
        while not self._queue:
            if self.is_closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunk = b"".join(self._queue)
        self._queue.clear()
        return chunk

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Fanout:
    """Owns the streams; ``run_once``, ``check`` and ``beat``, again and again, serve them."""

    def __init__(
        self,
        database: Database,
        notifier: Notifier,
        clock: Clock,
        *,
        poll_s: float,
        expects_webhooks: Callable[[], Awaitable[bool]],
    ) -> None:
        """``poll_s``: how often others' rows are looked for, 0 for never.

        ``expects_webhooks``: whether silence means that nothing changed.
        """
        self._database = database
        self._notifier = notifier
        self._clock = clock
        self._poll_s = poll_s
        self._expects_webhooks = expects_webhooks
        self._streams: dict[Stream, None] = {}
        self._owners: dict[str, dict[Stream, None]] = defaultdict(dict)  # by workspace
        self._cursor = 0
        self._is_closed = False

    @property
    def attached(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    async def open(self) -> None:
        """Begin at the log's head."""
        async with self._database.reading() as tx:
            self._cursor = (await rows.state(tx))["head"]

    def close(self) -> None:
        """End every stream, and every one that is still to come."""
        self._is_closed = True
        for stream in self._streams:
            stream.close()

    @asynccontextmanager
    async def attach(self, claims: Claims, last_id: str | None) -> AsyncIterator[Stream]:
        """Open a stream that begins after ``last_id``, or now without one."""
        stream = Stream(claims)
        self._make_room(claims.user_id)
        self._streams[stream] = None
        try:
            hears = await self._expects_webhooks()
            async with self._database.reading() as tx:
                found = await rows.connections(tx, [stream.user_id])
            self._learn(stream, found)
            await self._catch_up(stream, last_id, hears=hears)
            if self._is_closed:
                stream.close()
            yield stream
        finally:
            stream.close()
            self._streams.pop(stream, None)
            self._bind(stream, {})

    async def run_once(self) -> float:
        """Wait for news and hand them out."""
        if self._poll_s > 0:
            await within(self._clock, self._poll_s, self._notifier.wait())
        else:
            await self._notifier.wait()
        await self._hand_out()
        return 0.0

    async def check(self) -> float:
        """End the streams of ended sessions and tokens; take up changed connections."""
        now = self._clock.now()
        streams = list(self._streams)
        for begin in range(0, len(streams), BATCH):
            batch = streams[begin : begin + BATCH]
            users = sorted({stream.user_id for stream in batch})
            sessions = sorted({stream.session_id for stream in batch})
            async with self._database.reading() as tx:
                found = await rows.connections(tx, users)
                living = await rows.living(tx, sessions, now=to_ms(now))
            for stream in batch:
                if stream.session_id not in living:
                    stream.put(_event("session_revoked", {}))
                    stream.close()
                elif stream.ends_at <= now:
                    stream.close()
                else:
                    mine = [row for row in found if row["user_id"] == stream.user_id]
                    self._learn(stream, mine)
        return CHECK_S

    async def beat(self) -> float:
        """Show every reader that the line stands."""
        for stream in list(self._streams):
            stream.beat()
        return BEAT_S

    def _make_room(self, user_id: str) -> None:
        mine = [stream for stream in self._streams if stream.user_id == user_id]
        for stream in mine[: len(mine) + 1 - PER_ACCOUNT]:
            stream.close()

    def _learn(self, stream: Stream, found: Sequence[Row]) -> None:
        fresh = {
            row["workspace_id"]: Connection(
                row["bot_id"], row["notion_owner_id"], bool(row["reauth_required"])
            )
            for row in found
        }
        if fresh == stream.connections:
            return
        for workspace_id, connection in fresh.items():
            before = stream.connections.get(workspace_id)
            if connection.needs_reauth and not (before is not None and before.needs_reauth):
                stream.put(_event("reauth_required", {"workspace_id": workspace_id}))
        self._bind(stream, fresh)

    def _bind(self, stream: Stream, fresh: dict[str, Connection]) -> None:
        for workspace_id in stream.connections.keys() - fresh.keys():
            owners = self._owners[workspace_id]
            owners.pop(stream, None)
            if not owners:
                del self._owners[workspace_id]
        for workspace_id in fresh:
            self._owners[workspace_id][stream] = None
        stream.connections = fresh

    async def _catch_up(self, stream: Stream, last_id: str | None, *, hears: bool) -> None:
        """Tell what was missed, or that it is gone; then that the stream is up."""
        async with self._database.reading() as tx:
            state = await rows.state(tx)
        at = head = int(state["head"])
        if last_id is not None:
            seq = int(last_id) if _SEQUENCE.match(last_id) else -1
            if state["floor"] <= seq <= head and head - seq <= CATCH_UP:
                at = seq
            else:
                stream.put(_event("gap", {}, head))
        while True:
            async with self._database.reading() as tx:
                found = await rows.since(tx, at, CATCH_UP)
            # From here to the return nothing is awaited: what comes later is the turn's to tell.
            for row in found:
                at = row["seq"]
                self._tell(stream, row)
            if at >= self._cursor:
                break
        stream.sent = at
        stream.put(_event("ready", {"pages": hears}, at))

    async def _hand_out(self) -> None:
        """Tell the streams what the log holds beyond what was told."""
        while True:
            async with self._database.reading() as tx:
                found = await rows.since(tx, self._cursor, BATCH)
            for row in found:
                self._cursor = row["seq"]
                for stream in self._owners.get(row["workspace_id"], ()):
                    if row["seq"] > stream.sent:
                        self._tell(stream, row)
            if len(found) < BATCH:
                return

    def _tell(self, stream: Stream, row: Row) -> None:
        """Queue a row for a stream, if it concerns it."""
        connection = stream.connections.get(row["workspace_id"])
        if connection is not None and connection.may_know(row):
            data = {
                "workspace_id": row["workspace_id"],
                "page_id": row["page_id"],
                "what": row["what"],
                "by_bot": row["bots"] == connection.bot_id,
            }
            stream.put(_event("page", data, row["seq"]))


def _event(kind: str, data: dict[str, Any], seq: int | None = None) -> bytes:
    number = b"" if seq is None else b"id: %d\n" % seq
    return b"%sevent: %s\ndata: %s\n\n" % (number, kind.encode(), msgspec.json.encode(data))
