"""``GET /v1/events``: streams events to a client.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any, TypedDict

import msgspec
from aiohttp import web

from clipperd.errors import invalid
from clipperd.outbox.records import ClipView
from clipperd.session.view import SessionView
from clipperd.web.errors import TooManyStreams
from clipperd.web.handlers.status import Status, StreamStart
from clipperd.web.hub import TYPES, Event, Stream
from clipperd.web.keys import ACCESS, ACCOUNTS, CLOCK, EVENTS, LIMITS, SNAPSHOT
from clipperd.web.middleware.chain import STREAM
from clipperd.web.middleware.guard import Guard
from clipperd.web.routes import CALLER, Route, parse_query

HEARTBEAT_S = 25.0
"""Seconds between the comments that keep a stream alive (public)."""


class EventsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """``types``: comma-separated, of clip, status, session, pages, outline; empty means all."""

    types: str = ""


class PageChanges(TypedDict):
    """Pages that are new or have changed, and those that are gone."""

    workspace_id: str
    ids: list[str]
    removed: list[str]


class _Event(msgspec.Struct, tag_field="event"):
    id: str


class SnapshotEvent(_Event, tag="snapshot"):
    """The first event, and the one after a gap: the state that all later events change."""

    data: StreamStart


class ClipEvent(_Event, tag="clip"):
    """A clip that is new or has changed."""

    data: ClipView


class StatusEvent(_Event, tag="status"):
    """The daemon's status has changed."""

    data: Status


class SessionEvent(_Event, tag="session"):
    """The session has changed."""

    data: SessionView


class PagesEvent(_Event, tag="pages"):
    """The page index has changed."""

    data: PageChanges


class OutlineEvent(_Event, tag="outline"):
    """Stored outlines have changed."""

    data: PageChanges


class GapEvent(msgspec.Struct, tag_field="event", tag="gap"):
    """Events were missed; a snapshot follows. It has no id."""

    data: dict[str, Any]


EventFrame = Annotated[
    SnapshotEvent | ClipEvent | StatusEvent | SessionEvent | PagesEvent | OutlineEvent | GapEvent,
    msgspec.Meta(title="Event"),
]
"""An event with its fields as JSON, for the OpenAPI document; ``frame`` writes it as text."""


def frame(event: Event | None) -> bytes:
    """Return the bytes of one event; None is the heartbeat comment."""
    if event is None:
        return b": here\n\n"
    head = "" if event.id is None else f"id: {event.id}\n"
    # msgspec escapes control characters, so the JSON is one line.
    return f"{head}event: {event.type}\ndata: ".encode() + msgspec.json.encode(event.data) + b"\n\n"


def _parse_types(types: str) -> frozenset[str]:
    wanted = frozenset(name for name in types.split(",") if name) or frozenset(TYPES)
    if not wanted <= frozenset(TYPES):
        raise invalid(f"types must be of {', '.join(TYPES)}.", {"parameter": "types"})
    return wanted


async def _stream_events(request: web.Request) -> web.StreamResponse:
    wanted = _parse_types(parse_query(request, EventsQuery).types)
    events, access = request.app[EVENTS], request.app[ACCESS]
    if events.attached >= request.app[LIMITS].streams:
        raise TooManyStreams("Too many event streams are open. Close one first.", retry_after=5)
    stream = events.stream(
        snapshot=request.app[SNAPSHOT],
        account=request.app[ACCOUNTS].current_user,
        types=wanted,
        last_event_id=request.headers.get("Last-Event-ID"),
    )
    async with stream:
        with access.tokens.until_revoked(request[CALLER].client_id, stream.close):
            return await _serve(request, stream)


async def _serve(request: web.Request, stream: Stream) -> web.StreamResponse:
    """Send events until the client disconnects or stalls, or the stream is closed."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
    )
    guard = Guard.of(request.transport)
    heartbeat = asyncio.create_task(_beat(request, stream))
    try:
        if guard is not None:
            guard.on_lost.add(stream.close)
        await response.prepare(request)
        request[STREAM] = response
        await response.write(b"retry: 1000\n\n")
        async for event in stream:
            async with asyncio.timeout(request.app[LIMITS].write_timeout_s):
                await response.write(frame(event))
        await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionResetError:
        pass  # the client has disconnected, as most streams end
    finally:
        if guard is not None:
            guard.on_lost.discard(stream.close)
        heartbeat.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await heartbeat
    return response


async def _beat(request: web.Request, stream: Stream) -> None:
    while True:
        await request.app[CLOCK].sleep(HEARTBEAT_S)
        stream.beat()


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/events",
        _stream_events,
        "read",
        "Server-sent events: a snapshot, then changes; resume with Last-Event-ID",
        query=EventsQuery,
        headers={"Last-Event-ID": {"type": "string"}},
        answers={200: EventFrame},
        errors=(TooManyStreams,),
    ),
)
