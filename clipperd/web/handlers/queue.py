"""Routes of the whole queue (pause, resume, retry) and of a page's lane."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from aiohttp import web

from clipperd.clips.clips import QueueStatus
from clipperd.errors import InvalidInput, NotFound, NotSignedIn, StorageFull, WorkspaceMismatch
from clipperd.web.keys import CLIPS
from clipperd.web.params import id_of, scope_of
from clipperd.web.routes import Route, answer, parse_body


class PauseBody(msgspec.Struct, forbid_unknown_fields=True):
    """``for_s``: seconds of the pause, at most a year; without it, until resumed."""

    for_s: Annotated[float, msgspec.Meta(gt=0, le=31_536_000)] | None = None


class LaneBody(msgspec.Struct, forbid_unknown_fields=True):
    """``parked``: whether later clips wait for one that needs attention."""

    parked: Literal["wait", "skip"]


class LaneView(msgspec.Struct):
    """The rule of a page's lane."""

    page_id: str
    parked: Literal["wait", "skip"]


class QueueView(msgspec.Struct):
    """The queue after the change."""

    queue: QueueStatus


class Retried(msgspec.Struct):
    """The number of clips that are tried again."""

    retried: int


class Empty(msgspec.Struct, forbid_unknown_fields=True):
    """An empty object."""


class AdoptBody(msgspec.Struct, forbid_unknown_fields=True):
    """The account whose clips to take over.

    ``workspace_id``: for the clips whose own workspace the signed-in account has not connected.
    """

    user_id: str
    workspace_id: str | None = None


class Adopted(msgspec.Struct):
    """How many clips the signed-in account took over, and how many stay with the other one."""

    adopted: int
    left: int


async def adopt_clips(request: web.Request) -> web.Response:
    """Hand the unfinished clips of another account to the signed-in one."""
    body = await parse_body(request, AdoptBody)
    adopted, left = await request.app[CLIPS].adopt(body.user_id, body.workspace_id)
    return answer(Adopted(adopted, left))


async def pause_queue(request: web.Request) -> web.Response:
    """Pause the whole queue."""
    body = await parse_body(request, PauseBody)
    await request.app[CLIPS].pause(body.for_s)
    return answer(QueueView(await request.app[CLIPS].status()))


async def resume_queue(request: web.Request) -> web.Response:
    """End the pause."""
    await parse_body(request, Empty)
    await request.app[CLIPS].resume()
    return answer(QueueView(await request.app[CLIPS].status()))


async def retry_queue(request: web.Request) -> web.Response:
    """Retry waiting deliveries now, also those that need attention where a retry may help."""
    await parse_body(request, Empty)
    return answer(Retried(await request.app[CLIPS].retry_all()))


async def set_lane(request: web.Request) -> web.Response:
    """Choose whether a page's later clips wait for one that needs attention."""
    body = await parse_body(request, LaneBody)
    page_id, scope = id_of(request, "page_id"), await scope_of(request)
    await request.app[CLIPS].set_parked(scope, page_id, body.parked)
    return answer(LaneView(page_id, body.parked))


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/queue/pause",
        pause_queue,
        "clip",
        "Pause the whole queue",
        body=PauseBody,
        answers={200: QueueView},
        errors=(InvalidInput, StorageFull),
    ),
    Route(
        "POST",
        "/v1/queue/resume",
        resume_queue,
        "clip",
        "Resume the queue",
        body=Empty,
        answers={200: QueueView},
    ),
    Route(
        "POST",
        "/v1/queue/retry",
        retry_queue,
        "clip",
        "Retry everything now",
        body=Empty,
        answers={200: Retried},
        errors=(NotSignedIn,),
    ),
    Route(
        "POST",
        "/v1/queue/adopt",
        adopt_clips,
        "admin",
        "Take over the unfinished clips of another account",
        body=AdoptBody,
        answers={200: Adopted},
        errors=(NotSignedIn, NotFound, WorkspaceMismatch, StorageFull),
    ),
    Route(
        "PUT",
        "/v1/pages/{page_id}/lane",
        set_lane,
        "clip",
        "Let later clips wait for one that needs attention, or skip it",
        body=LaneBody,
        answers={200: LaneView},
        errors=(InvalidInput, NotSignedIn, WorkspaceMismatch),
    ),
)
