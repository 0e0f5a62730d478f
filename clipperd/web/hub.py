"""Publishes events to clients: a ring of recent events, and streams that can resume.

Ids grow within a process and from one process to the next: they start at the milliseconds since
the epoch times 4096, so they stay below 2**53 (exact in JavaScript) until 2039. A stream starts
with a snapshot; a resumed one starts with the missed events. If these are gone, the reader was
too slow or the user changed, the stream gets a gap and a new snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from clipperd.clock import Clock

TYPES = ("clip", "status", "session", "pages", "outline")
"""Published types; ``snapshot`` and ``gap`` come from the stream itself."""

COALESCED = ("pages", "outline")
COALESCE_S = 0.25
"""At most four of each coalesced type a second (contract of ``GET /v1/events``)."""

KEPT = 1000
"""Number of events that a client can miss and still resume without a gap."""

Snapshot = Callable[[], Awaitable[Any]]
Account = Callable[[], Awaitable[str | None]]


class Event(msgspec.Struct, frozen=True):
    """One event. A gap has no id: the reader keeps its position.

    ``user_id`` None: the event goes to the streams of every user.
    """

    id: int | None
    type: str
    data: Any
    user_id: str | None = None


class _Merged(msgspec.Struct):
    """Events of one type and workspace, to be sent as one; the dicts are ordered sets."""

    rest: dict[str, Any]
    ids: dict[str, None]
    removed: dict[str, None]


class EventHub:
    """Distributes events to streams, all in one event loop. Close it before the loop ends."""

    def __init__(self, clock: Clock, *, kept: int = KEPT, waiting: int = KEPT) -> None:
        """``kept``: ring size. ``waiting``: events that a slow reader may lag before its gap."""
        self._clock = clock
        self._ring: deque[Event] = deque()
        self._kept = kept
        self._waiting = waiting
        self._last = self._last_dropped = int(clock.now() * 1000) << 12
        self._streams: set[Stream] = set()
        self._pending: dict[tuple[str, str | None, str | None], _Merged] = {}
        self._pacer: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def attached(self) -> int:
        """Return the number of open streams."""
        return len(self._streams)

    def publish(self, type: str, data: Mapping[str, Any], user_id: str | None = None) -> None:  # noqa: A002 - the field's public name
        """Send an event to the readers. Call it after the change is stored.

        ``data`` of ``pages`` and ``outline`` is ``{"workspace_id", "ids": [...], "removed":
        [...]}``, each of which may be absent; calls within a quarter of a second are merged.
        """
        if type not in TYPES:
            raise ValueError(f"no such event type: {type}")
        if type not in COALESCED:
            self._emit(type, dict(data), user_id)
            return
        self._merge(type, data, user_id)
        if self._pacer is None:
            self._flush()
            if not self._closed:
                self._pacer = asyncio.create_task(self._pace())

    def stream(
        self,
        *,
        snapshot: Snapshot,
        account: Account,
        types: frozenset[str] = frozenset(TYPES),
        last_event_id: str | None = None,
    ) -> Stream:
        """Attach a reader; iterate it inside ``async with``.

        ``account`` returns the user whose events are shown; it is called again at every
        ``session`` event. ``last_event_id``: the last id that the reader saw, any text.
        """
        missed = self._since(last_event_id)
        reader = Stream(self, snapshot, account, types, self._waiting, missed)
        reader.gap_first = last_event_id is not None and missed is None
        self._streams.add(reader)
        if self._closed:
            reader.close()
        return reader

    def detach(self, stream: Stream) -> None:
        """Remove a stream; its ``async with`` does this."""
        self._streams.discard(stream)

    def head(self) -> int:
        """Return the id of the last event, at first of the start."""
        return self._last

    async def close(self) -> None:
        """End every stream and the pacing task."""
        self._closed = True
        for stream in tuple(self._streams):
            stream.close()
        if self._pacer is not None:
            self._pacer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pacer
            self._pacer = None

    def _emit(self, type_: str, data: Any, user_id: str | None) -> None:
        self._last += 1
        event = Event(self._last, type_, data, user_id)
        self._ring.append(event)
        if len(self._ring) > self._kept:
            self._last_dropped = self._ring.popleft().id or self._last_dropped
        for stream in self._streams:
            stream.offer(event)

    def _merge(self, type_: str, data: Mapping[str, Any], user_id: str | None) -> None:
        key = (type_, user_id, data.get("workspace_id"))
        merged = self._pending.setdefault(key, _Merged({}, {}, {}))
        merged.rest.update({k: v for k, v in data.items() if k not in ("ids", "removed")})
        for id_ in data.get("ids", ()):
            merged.removed.pop(id_, None)
            merged.ids[id_] = None
        for id_ in data.get("removed", ()):
            merged.ids.pop(id_, None)
            merged.removed[id_] = None

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        for (type_, user_id, _), merged in pending.items():
            lists = {"ids": list(merged.ids), "removed": list(merged.removed)}
            self._emit(type_, merged.rest | lists, user_id)

    async def _pace(self) -> None:
        while True:
            await self._clock.sleep(COALESCE_S)
            if not self._pending:
                break
            self._flush()
        self._pacer = None

    def _since(self, last_event_id: str | None) -> list[Event] | None:
        """Return the events after ``last_event_id``; None if the reader needs a snapshot."""
        if last_event_id is None or not last_event_id.isascii() or not last_event_id.isdigit():
            return None
        if len(last_event_id) > 19 or not self._last_dropped <= int(last_event_id) <= self._last:
            return None
        seen = int(last_event_id)
        missed = [event for event in self._ring if event.id is not None and event.id > seen]
        if any(event.type == "session" for event in missed):
            return None  # the user may have changed: the reader's state is void
        return missed


class Stream:
    """The events of one reader: an async iterator of Event, or None for a heartbeat."""

    def __init__(
        self,
        events: EventHub,
        snapshot: Snapshot,
        account: Account,
        types: frozenset[str],
        waiting: int,
        missed: list[Event] | None,
    ) -> None:
        """Use :meth:`EventHub.stream`."""
        self._events = events
        self._snapshot = snapshot
        self._account = account
        self._types = types
        self._limit = waiting + len(missed or ())
        self._queue: deque[Event] = deque(missed or ())
        self._needs_snapshot = missed is None
        self._wake = asyncio.Event()
        self._beat = False
        self._closed = False
        self._user: str | None = None
        self.gap_first = False

    async def __aenter__(self) -> Stream:
        """Return the stream, which is already attached."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Detach."""
        self.close()
        self._events.detach(self)

    def offer(self, event: Event) -> None:
        """Queue an event; a reader that lags too far loses its queue and gets a gap instead."""
        if len(self._queue) >= self._limit:
            self._queue.clear()
            self._needs_snapshot = self.gap_first = True
        else:
            self._queue.append(event)
        self._wake.set()

    def beat(self) -> None:
        """Make the iterator yield one None."""
        self._beat = True
        self._wake.set()

    def close(self) -> None:
        """End the iteration after the current event."""
        self._closed = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event | None]:
        """Yield until closed."""
        self._user = await self._account()
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._beat:
                self._beat = False
                yield None
            while not self._closed and (self._needs_snapshot or self._queue):
                if self._needs_snapshot:
                    if self.gap_first:
                        yield Event(None, "gap", {})
                    yield await self._take_snapshot()
                    continue
                event = self._queue.popleft()
                if event.type == "session" and await self._user_changed():
                    self._needs_snapshot = self.gap_first = True
                elif event.type in self._types and event.user_id in (None, self._user):
                    yield event
            if self._closed:
                return

    async def _take_snapshot(self) -> Event:
        self._needs_snapshot = self.gap_first = False
        self._queue.clear()
        head = self._events.head()  # read first: later events are sent after the snapshot
        return Event(head, "snapshot", await self._snapshot(), self._user)

    async def _user_changed(self) -> bool:
        before, self._user = self._user, await self._account()
        return before != self._user
