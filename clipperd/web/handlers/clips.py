"""Routes of clips: accept, list, read, and the actions on a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from aiohttp import web

from clipperd.clips.clips import Action
from clipperd.clips.submit import ClipBody, TargetBody, read_time
from clipperd.content.convert import Content
from clipperd.errors import (
    ContentErased,
    ContentInvalid,
    CursorInvalid,
    FormatUnsupported,
    IdempotencyConflict,
    InvalidInput,
    NotAllowedNow,
    NotFinished,
    NotFound,
    NotSignedIn,
    PageRefTaken,
    PageRefUnknown,
    StorageFull,
    VersionMismatch,
    WorkspaceMismatch,
    invalid,
)
from clipperd.model import FINISHED, State
from clipperd.outbox import actions, views
from clipperd.outbox.records import PRIORITIES, ClipView, Priority
from clipperd.web.errors import ScopeMissing
from clipperd.web.keys import CLIPS, SUBMISSION
from clipperd.web.params import workspace_of
from clipperd.web.routes import CALLER, WORKSPACE, Route, answer, parse_body, parse_query

_UNDO_WAIT_S = 10.0  # seconds; a longer undo is answered with 202


class ClipList(msgspec.Struct):
    """A page of clips, newest first."""

    items: list[ClipView]
    next_cursor: str | None
    has_more: bool


class AccountQuery(msgspec.Struct, forbid_unknown_fields=True):
    """``account=all``: clips of every account on this machine; needs the scope admin."""

    account: Literal["current", "all"] = "current"


class ClipsQuery(AccountQuery, forbid_unknown_fields=True):
    """Filters of the list; ``state`` accepts several states, separated by commas."""

    state: str = ""
    page_id: str | None = None
    q: str | None = None
    since: str | None = None
    until: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    cursor: str | None = None


class DeliveryChoice(msgspec.Struct, forbid_unknown_fields=True):
    """One delivery of the clip; by default all of them."""

    delivery_id: str | None = None


class ResolveBody(DeliveryChoice, forbid_unknown_fields=True, kw_only=True):
    """The user's decision about a delivery whose outcome is unknown."""

    as_: Literal["delivered", "resend"] = msgspec.field(name="as")


class RetargetBody(msgspec.Struct, forbid_unknown_fields=True):
    """The new target of an unsent delivery."""

    delivery_id: str
    target: TargetBody


class EditBody(msgspec.Struct, forbid_unknown_fields=True):
    """Changes of an unsent clip; ``not_before`` null means now."""

    content: Content | None = None
    priority: Priority | None = None
    not_before: str | msgspec.UnsetType | None = msgspec.UNSET


class DeleteQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Filters of the finished clips to remove."""

    state: str = ""
    before: str | None = None


class AcceptedContent(msgspec.Struct):
    """The content of a clip as it was accepted."""

    content: Content | None


class Removed(msgspec.Struct):
    """The number of removed clips."""

    removed: int


def _answer(
    view: ClipView, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return the clip, with its version as ETag for ``If-Match``."""
    return answer(view, status, {**(headers or {}), "ETag": f'"{view.version}"'})


async def create_clip(request: web.Request) -> web.Response:
    """Accept a clip; answer 202 once it is durable."""
    body = await parse_body(request, ClipBody)
    key = request.headers.get("Idempotency-Key")
    caller = request[CALLER]
    view, replayed = await request.app[SUBMISSION].accept(
        body,
        header_workspace=workspace_of(request),
        client_id=caller.client_id,
        key=key,
    )
    return _answer(view, 202, {"Idempotency-Replayed": "true"} if replayed else None)


async def list_clips(request: web.Request) -> web.Response:
    """List the queue and history of the signed-in user, newest first."""
    query = parse_query(request, ClipsQuery)
    chosen = views.Filter(
        states=parse_states(query.state),
        page_id=query.page_id,
        text=query.q,
        since=read_time(query.since, {"parameter": "since"}),
        until=read_time(query.until, {"parameter": "until"}),
    )
    items, cursor = await request.app[CLIPS].page(
        chosen, query.limit, query.cursor, every_account=_is_every_account(request, query)
    )
    return answer(ClipList(items, cursor, cursor is not None))


def _is_every_account(request: web.Request, query: AccountQuery | None = None) -> bool:
    """Return whether the request is about every account's clips. Raises ScopeMissing."""
    query = query or parse_query(request, AccountQuery)
    if query.account == "all" and not request[CALLER].may("admin"):
        raise ScopeMissing("account=all needs the scope admin.", params={"scope": "admin"})
    return query.account == "all"


async def get_clip(request: web.Request) -> web.Response:
    """Return one clip."""
    clip_id, every = request.match_info["clip_id"], _is_every_account(request)
    return _answer(await request.app[CLIPS].get(clip_id, every_account=every))


async def get_clip_content(request: web.Request) -> web.Response:
    """Return the content as accepted."""
    clip_id, every = request.match_info["clip_id"], _is_every_account(request)
    content = await request.app[CLIPS].content(clip_id, every_account=every)
    return answer(AcceptedContent(content))


async def cancel_clip(request: web.Request) -> web.Response:
    """Cancel unsent deliveries."""
    every = _is_every_account(request)
    body = await parse_body(request, DeliveryChoice)
    return answer(await _act(request, body, actions.cancel, every_account=every))


async def retry_clip(request: web.Request) -> web.Response:
    """Retry now."""
    body = await parse_body(request, DeliveryChoice)
    return answer(await _act(request, body, actions.retry))


async def resolve_clip(request: web.Request) -> web.Response:
    """Decide an unknown outcome."""
    body = await parse_body(request, ResolveBody)
    return answer(
        await _act(request, body, lambda c, rows, now: actions.resolve(c, rows, body.as_, now))
    )


async def undo_clip(request: web.Request) -> web.Response:
    """Remove the blocks that a clip created; answer 202 while the undo is queued."""
    body = await parse_body(request, DeliveryChoice)
    await _act(request, body, actions.request_undo)
    view = await request.app[CLIPS].until(request.match_info["clip_id"], _undone, _UNDO_WAIT_S)
    return _answer(view, 200 if _undone(view) else 202)


async def _act(
    request: web.Request, choice: DeliveryChoice, action: Action, *, every_account: bool = False
) -> ClipView:
    clip_id, delivery_id = request.match_info["clip_id"], choice.delivery_id
    return await request.app[CLIPS].act(clip_id, delivery_id, action, every_account=every_account)


def _undone(view: ClipView) -> bool:
    return not any(d.undo and d.undo.get("state") == "queued" for d in view.deliveries)


async def retarget_clip(request: web.Request) -> web.Response:
    """Change the target of an unsent delivery."""
    body = await parse_body(request, RetargetBody)
    view = await request.app[SUBMISSION].retarget(
        request.match_info["clip_id"], body.delivery_id, body.target
    )
    return _answer(view)


async def edit_clip(request: web.Request) -> web.Response:
    """Change an unsent clip; ``If-Match`` names the version that the client read."""
    body = await parse_body(request, EditBody)
    version = (request.headers.get("If-Match") or "").strip().removeprefix("W/").strip('"')
    if not version.isascii() or not version.isdigit() or len(version) > 15:
        raise invalid(
            "Send the version of the clip that you read in the If-Match header.",
            {"header": "If-Match"},
        )
    view = await request.app[SUBMISSION].edit(
        request.match_info["clip_id"],
        version=int(version),
        content=body.content,
        priority=None if body.priority is None else PRIORITIES.index(body.priority),
        not_before=_new_time(body.not_before),
    )
    return _answer(view)


def _new_time(given: str | msgspec.UnsetType | None) -> float | None:
    """Return the new time: None keeps the old one, 0 means now."""
    if given is msgspec.UNSET:
        return None
    return 0.0 if given is None else read_time(given, "/not_before")


async def delete_clip(request: web.Request) -> web.Response:
    """Remove a finished clip from the history."""
    clip_id, every = request.match_info["clip_id"], _is_every_account(request)
    await request.app[CLIPS].delete(clip_id, every_account=every)
    return web.Response(status=204)


async def delete_clips(request: web.Request) -> web.Response:
    """Remove finished clips."""
    query = parse_query(request, DeleteQuery)
    states = parse_states(query.state) or sorted(FINISHED)
    if not set(states) <= FINISHED:
        raise NotFinished("Only delivered, failed and canceled clips can be deleted.")
    before = read_time(query.before, {"parameter": "before"})
    return answer(Removed(await request.app[CLIPS].delete_many(states, before)))


def parse_states(text: str) -> list[str]:
    """Split ``a,b`` into states. Raises InvalidInput for an unknown one."""
    states = [item for item in text.split(",") if item]
    if not set(states) <= set(State):
        raise invalid(f"state must be one of {', '.join(State)}.", {"parameter": "state"})
    return states


_CONTENT = (InvalidInput, ContentInvalid, FormatUnsupported)
_ACT = (NotFound, NotAllowedNow, StorageFull, NotSignedIn)
_ONE = "/v1/clips/{clip_id}"

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/clips",
        create_clip,
        "clip",
        "Accept a clip into the durable queue",
        body=ClipBody,
        headers={
            "Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": 255},
            **WORKSPACE,
        },
        answer_headers={"Idempotency-Replayed": "true if this key was accepted before"},
        answers={202: ClipView},
        errors=(
            *_CONTENT,
            NotSignedIn,
            WorkspaceMismatch,
            IdempotencyConflict,
            PageRefUnknown,
            PageRefTaken,
            StorageFull,
        ),
    ),
    Route(
        "GET",
        "/v1/clips",
        list_clips,
        "read",
        "Queue and history, newest first",
        query=ClipsQuery,
        answers={200: ClipList},
        errors=(CursorInvalid, InvalidInput, NotSignedIn),
    ),
    Route(
        "DELETE",
        "/v1/clips",
        delete_clips,
        "clip",
        "Remove finished clips from the history",
        query=DeleteQuery,
        answers={200: Removed},
        errors=(NotFinished, InvalidInput, NotSignedIn),
    ),
    Route(
        "GET",
        _ONE,
        get_clip,
        "read",
        "One clip",
        query=AccountQuery,
        answers={200: ClipView},
        errors=(NotFound, InvalidInput),
    ),
    Route(
        "GET",
        _ONE + "/content",
        get_clip_content,
        "read",
        "A clip's content as accepted",
        query=AccountQuery,
        answers={200: AcceptedContent},
        errors=(NotFound, ContentErased),
    ),
    Route(
        "POST",
        _ONE + "/cancel",
        cancel_clip,
        "clip",
        "Cancel unsent deliveries",
        query=AccountQuery,
        body=DeliveryChoice,
        answers={200: ClipView},
        errors=_ACT,
    ),
    Route(
        "POST",
        _ONE + "/retry",
        retry_clip,
        "clip",
        "Retry now",
        body=DeliveryChoice,
        answers={200: ClipView},
        errors=_ACT,
    ),
    Route(
        "POST",
        _ONE + "/resolve",
        resolve_clip,
        "clip",
        "Decide an unknown outcome",
        body=ResolveBody,
        answers={200: ClipView},
        errors=(*_ACT, InvalidInput),
    ),
    Route(
        "POST",
        _ONE + "/undo",
        undo_clip,
        "clip",
        "Remove from Notion the blocks of a delivered clip",
        body=DeliveryChoice,
        answers={200: ClipView, 202: ClipView},
        errors=_ACT,
    ),
    Route(
        "POST",
        _ONE + "/retarget",
        retarget_clip,
        "clip",
        "Change the target of an unsent delivery",
        body=RetargetBody,
        answers={200: ClipView},
        errors=(*_ACT, InvalidInput, PageRefUnknown, WorkspaceMismatch),
    ),
    Route(
        "PATCH",
        _ONE,
        edit_clip,
        "clip",
        "Change an unsent clip",
        body=EditBody,
        headers={"If-Match": {"type": "string", "pattern": '^ *(W/)?"?[0-9]{1,15}"? *$'}},
        answers={200: ClipView},
        errors=(*_ACT, *_CONTENT, VersionMismatch),
    ),
    Route(
        "DELETE",
        _ONE,
        delete_clip,
        "clip",
        "Remove a finished clip from the history",
        query=AccountQuery,
        answers={204: None},
        errors=(NotFound, NotFinished),
    ),
)
