"""Sends the push log to the open event streams of this process.

One task reads the log for all streams; another checks every few seconds that their sessions and
connections are still valid. A stream is a queue of rendered bytes and one future.
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

BEAT_S = 25.0  # nginx and many load balancers close a connection that is silent for 60 s
CHECK_S = 3.0  # a revoked session's stream ends within five seconds, on every instance
WAITING = 1_000  # queued events of a slow client; with more its stream closes
PER_ACCOUNT = 8  # streams; the oldest closes for a new one
CATCH_UP = 5_000  # log rows that a resume may read; more is a gap
BATCH = 500  # rows or streams per query
BEAT = b": beat\n\n"
_HELD = 1 << 63  # ``sent`` of a stream that is still catching up: no new row is larger
_SEQUENCE = re.compile(r"\A[0-9]{1,18}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Connection:
    """The columns of a connection that decide which events its stream gets."""

    bot_id: str
    owner_id: str
    needs_reauth: bool

    def may_know(self, row: Row) -> bool:
        """Whether this connection may see the page; True when Notion does not say."""
        seen_by = row["accessible_by"]
        return seen_by is None or not {self.bot_id, self.owner_id}.isdisjoint(seen_by.split())


class Stream:
    """One daemon's stream: call ``next`` for the bytes to send."""

    __slots__ = (
        *("_queue", "_waiter", "connections", "ends_at", "is_closed", "sent", "session_id"),
        *("subscription", "user_id"),
    )

    def __init__(self, claims: Claims) -> None:
        """Start empty. ``sent`` is the last sequence number of the log that was queued."""
        self.user_id = claims.user_id
        self.session_id = claims.session_id
        self.ends_at = claims.expires_at
        self.connections: dict[str, Connection] = {}
        self.subscription: tuple[str, str] | None = None
        self.sent = _HELD
        self.is_closed = False
        self._queue: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, chunk: bytes) -> None:
        """Queue bytes; close a stream that lags too far, so that its client resumes by number."""
        if self.is_closed:
            return
        self._queue.append(chunk)
        if len(self._queue) > WAITING:
            self._queue.clear()
            self.is_closed = True
        self._wake()

    def beat(self) -> None:
        """Queue a comment, unless the queue has something else."""
        if not self._queue:
            self.put(BEAT)

    def close(self) -> None:
        """End the stream after the queued bytes."""
        self.is_closed = True
        self._wake()

    async def next(self) -> bytes | None:
        """Return all queued bytes as soon as there are some; None at the end."""
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
    """Owns the streams; the owner repeats ``run_once``, ``check`` and ``beat`` to serve them."""

    def __init__(
        self,
        database: Database,
        notifier: Notifier,
        clock: Clock,
        *,
        poll_s: float,
        expects_webhooks: Callable[[], Awaitable[bool]],
        on_subscription: Callable[[str], None] = lambda _user_id: None,
    ) -> None:
        """``poll_s``: seconds between checks for rows of other brokers; 0: never.

        ``expects_webhooks``: whether silence means that nothing changed. ``on_subscription`` is
        called with an account whose tier has changed, before its streams get the event.
        """
        self._database = database
        self._notifier = notifier
        self._clock = clock
        self._poll_s = poll_s
        self._expects_webhooks = expects_webhooks
        self._on_subscription = on_subscription
        self._streams: dict[Stream, None] = {}
        self._owners: dict[str, dict[Stream, None]] = defaultdict(dict)  # by workspace
        self._cursor = 0
        self._is_closed = False

    @property
    def attached(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    async def open(self) -> None:
        """Start at the head of the log."""
        async with self._database.reading() as tx:
            self._cursor = (await rows.state(tx))["head"]

    def close(self) -> None:
        """End every stream, and refuse new ones."""
        self._is_closed = True
        for stream in self._streams:
            stream.close()

    @asynccontextmanager
    async def attach(self, claims: Claims, last_id: str | None) -> AsyncIterator[Stream]:
        """Open a stream that starts after ``last_id``, or now without one."""
        stream = Stream(claims)
        self._make_room(claims.user_id)
        self._streams[stream] = None
        try:
            expects_webhooks = await self._expects_webhooks()
            async with self._database.reading() as tx:
                found = await rows.connections(tx, [stream.user_id])
                bought = await rows.subscriptions(tx, [stream.user_id])
            stream.subscription = bought.get(stream.user_id)
            self._apply_connections(stream, found)
            await self._catch_up(stream, last_id, expects_webhooks=expects_webhooks)
            if self._is_closed:
                stream.close()
            yield stream
        finally:
            stream.close()
            self._streams.pop(stream, None)
            self._bind(stream, {})

    async def run_once(self) -> float:
        """Wait for new rows and queue them."""
        if self._poll_s > 0:
            await within(self._clock, self._poll_s, self._notifier.wait())
        else:
            await self._notifier.wait()
        await self._queue_new_rows()
        return 0.0

    async def check(self) -> float:
        """End the streams of ended sessions and tokens; apply changed connections and tiers."""
        now = self._clock.now()
        streams = list(self._streams)
        for begin in range(0, len(streams), BATCH):
            batch = streams[begin : begin + BATCH]
            users = sorted({stream.user_id for stream in batch})
            sessions = sorted({stream.session_id for stream in batch})
            async with self._database.reading() as tx:
                found = await rows.connections(tx, users)
                bought = await rows.subscriptions(tx, users)
                living = await rows.living(tx, sessions, now=to_ms(now))
            for stream in batch:
                if stream.session_id not in living:
                    stream.put(_event("session_revoked", {}))
                    stream.close()
                elif stream.ends_at <= now:
                    stream.close()
                else:
                    mine = [row for row in found if row["user_id"] == stream.user_id]
                    self._apply_connections(stream, mine)
                    self._apply_subscription(stream, bought.get(stream.user_id))
        return CHECK_S

    async def beat(self) -> float:
        """Queue a comment for every client, so that the connection stays open."""
        for stream in list(self._streams):
            stream.beat()
        return BEAT_S

    def _make_room(self, user_id: str) -> None:
        mine = [stream for stream in self._streams if stream.user_id == user_id]
        for stream in mine[: len(mine) + 1 - PER_ACCOUNT]:
            stream.close()

    def _apply_connections(self, stream: Stream, found: Sequence[Row]) -> None:
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

    def _apply_subscription(self, stream: Stream, fresh: tuple[str, str] | None) -> None:
        """Report a changed tier, which any broker's webhook may have stored."""
        if fresh != stream.subscription:
            stream.subscription = fresh
            self._on_subscription(stream.user_id)
            stream.put(_event("subscription", {}))

    def _bind(self, stream: Stream, fresh: dict[str, Connection]) -> None:
        for workspace_id in stream.connections.keys() - fresh.keys():
            owners = self._owners[workspace_id]
            owners.pop(stream, None)
            if not owners:
                del self._owners[workspace_id]
        for workspace_id in fresh:
            self._owners[workspace_id][stream] = None
        stream.connections = fresh

    async def _catch_up(
        self, stream: Stream, last_id: str | None, *, expects_webhooks: bool
    ) -> None:
        """Queue the missed rows, or a gap; then ``ready``."""
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
            # No await from here to the return: ``run_once`` queues every later row.
            for row in found:
                at = row["seq"]
                self._put_row(stream, row)
            if at >= self._cursor:
                break
        stream.sent = at
        stream.put(_event("ready", {"pages": expects_webhooks}, at))

    async def _queue_new_rows(self) -> None:
        """Queue the log's rows after the cursor."""
        while True:
            async with self._database.reading() as tx:
                found = await rows.since(tx, self._cursor, BATCH)
            for row in found:
                self._cursor = row["seq"]
                for stream in self._owners.get(row["workspace_id"], ()):
                    if row["seq"] > stream.sent:
                        self._put_row(stream, row)
            if len(found) < BATCH:
                return

    def _put_row(self, stream: Stream, row: Row) -> None:
        """Queue a row for a stream whose connection may know of it."""
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
