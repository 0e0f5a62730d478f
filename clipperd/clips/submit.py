"""From what a client posted to a checked, converted draft in the outbox."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from clipperd.clock import Clock, from_rfc3339
from clipperd.content import chunks, convert
from clipperd.content.chunks import Plan
from clipperd.content.convert import Content, Prepared
from clipperd.delivery.dispatch import Dispatcher
from clipperd.errors import InvalidInput, NotFound
from clipperd.model import POSITIONS, Position, PositionType, Scope, notion_id
from clipperd.outbox import accept as accepting
from clipperd.outbox import actions
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import PRIORITIES, ClipView, Draft, LaneKey, Target
from clipperd.pages.directory import Directory
from clipperd.session.accounts import Accounts

MAX_TARGETS = 100
_MAX_KEY = 255


class HeadingName(msgspec.Struct, forbid_unknown_fields=True):
    """A heading named by its text, and by the headings above it where that is not enough."""

    text: str
    path: list[str] = []


class PositionBody(msgspec.Struct, forbid_unknown_fields=True):
    """Where in the page (contract section 4)."""

    type: PositionType = "end"
    heading_id: str | None = None
    heading: HeadingName | None = None
    block_id: str | None = None
    if_gone: Literal["ask", "end_of_page"] = "ask"
    headings: Literal["demote", "keep"] | None = None


class NewPageBody(msgspec.Struct, forbid_unknown_fields=True):
    """A page that the queue creates."""

    parent: dict[str, str]
    title: str
    ref: str | None = None
    properties: dict[str, Any] | None = None
    icon: dict[str, Any] | None = None


class TargetBody(msgspec.Struct, forbid_unknown_fields=True):
    """One destination: a page, a page announced under a ref, or a new page."""

    page_id: str | None = None
    page_ref: str | None = None
    new_page: NewPageBody | None = None
    position: PositionBody | None = None
    headings: Literal["demote", "keep"] | None = None


class ClipBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v1/clips``; ``content`` is one object or an ordered array of them."""

    targets: list[TargetBody]
    content: Content | None = None
    workspace_id: str | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    not_before: str | None = None
    source: dict[str, Any] | None = None
    headings: Literal["demote", "keep"] | None = None


class ClipSubmission:
    """Accepts clips, and replaces the content or the target of those not yet sent."""

    def __init__(
        self,
        outbox: Outbox,
        accounts: Accounts,
        directory: Directory,
        dispatcher: Dispatcher,
        clock: Clock,
    ) -> None:
        """All parts are given."""
        self._outbox = outbox
        self._directory = directory
        self._accounts = accounts
        self._dispatcher = dispatcher
        self._clock = clock

    async def accept(
        self,
        body: ClipBody,
        *,
        header_workspace: str | None,
        client_id: str,
        key: str | None,
    ) -> tuple[ClipView, bool]:
        """Check, convert and store. Returns the clip and whether it is a replay.

        Raises InvalidInput and its kin, NotSignedIn, WorkspaceMismatch, IdempotencyConflict,
        StorageFull; nothing is stored then.
        """
        if key is not None and not (1 <= len(key) <= _MAX_KEY and key.isprintable()):
            raise InvalidInput("An Idempotency-Key has 1 to 255 printable characters.")
        asked = body.workspace_id or header_workspace
        scope = await self._accounts.scope(asked)
        targets = await self._titled(scope, read_targets(body))
        not_before = _time(body.not_before, "/not_before")
        accepted = _encoded(body.content)
        prepared, plan = await prepared_content(body.content, len(accepted), targets)
        draft = Draft(
            scope=scope,
            client_id=client_id,
            targets=targets,
            accepted=accepted,
            prepared=prepared,
            plan=plan,
            priority=PRIORITIES.index(body.priority),
            not_before=not_before,
            source=body.source or {},
            idempotency_key=key,
            fingerprint=b"" if key is None else _fingerprint(body, accepted, asked),
        )
        view, replayed, lanes = await self._outbox.accept(draft)
        if lanes and (not_before is None or not_before <= self._clock.now()):
            self._dispatcher.poke(*lanes, priority=draft.priority)
        elif lanes:
            self._dispatcher.poke()
        return view, replayed

    async def edit(
        self,
        clip_id: str,
        *,
        version: int,
        content: Any,
        priority: int | None,
        not_before: float | None,
    ) -> ClipView:
        """Change an unsent clip. Raises NotFound, NotAllowedNow, VersionMismatch, InvalidInput."""
        user = await self._user()
        fresh: tuple[bytes, Prepared, Plan] | None = None
        if content is not None:
            accepted = _encoded(content)
            prepared, plan = await _convert(content, len(accepted))
            fresh = (accepted, prepared, plan)
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> list[LaneKey]:
            rows = actions.rows_of(connection, user, clip_id, None)
            actions.edit(
                connection,
                rows,
                version=version,
                now=now,
                content=fresh,
                priority=priority,
                not_before=not_before,
            )
            return [actions.lane_of(row) for row in rows]

        view, lanes = await self._outbox.act(user, clip_id, work)
        self._dispatcher.free(*lanes)
        return view

    async def retarget(self, clip_id: str, delivery_id: str, target: TargetBody) -> ClipView:
        """Move an unsent delivery. Raises NotFound, NotAllowedNow, InvalidInput."""
        user = await self._user()
        if target.new_page is not None:
            raise InvalidInput("A delivery moves to a page or a page_ref, not to a new page.")
        wanted = read_target(target, "/target", None)
        at = Scope(user, (await self._outbox.get(user, clip_id)).workspace_id)
        wanted = (await self._titled(at, [wanted]))[0]
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> list[LaneKey]:
            row = actions.rows_of(connection, user, clip_id, delivery_id)[0]
            scope = Scope(user, row["workspace_id"])
            place = accepting.locate(connection, scope, wanted, delivery_id)
            actions.retarget(connection, row, wanted, place, now)
            return [actions.lane_of(row), (user, row["workspace_id"], place[2])]

        view, lanes = await self._outbox.act(user, clip_id, work)
        self._dispatcher.free(*lanes)
        return view

    async def _titled(self, scope: Scope, targets: Sequence[Target]) -> list[Target]:
        """The targets with what their pages are called. Raises WorkspaceMismatch."""
        known = [target.page_id for target in targets if target.page_id is not None]
        titles = await self._directory.lookup(scope, known) if known else {}
        return [replace(target, title=titles.get(target.page_id or "")) for target in targets]

    async def _user(self) -> str:
        user = await self._accounts.current_user()
        if user is None:
            raise NotFound("This account has no such clip.")
        return user


async def prepared_content(
    content: Any, size_bytes: int, targets: Sequence[Target]
) -> tuple[Prepared, Plan]:
    """Convert and plan. Content may be absent only if every target is a new page."""
    if content is None:
        if all(target.new_page is not None for target in targets):
            nothing = Prepared(format="blocks", title="", preview="", blocks=[], demotable=False)
            return nothing, chunks.plan([])
        raise InvalidInput(
            "The clip has no content.", errors=[{"pointer": "/content", "code": "required"}]
        )
    return await _convert(content, size_bytes)


def _encoded(content: Any) -> bytes:
    """Return the content as JSON. Keys are sorted: equal content has equal bytes."""
    return msgspec.json.encode(content, order="sorted")


async def _convert(content: Any, size_bytes: int) -> tuple[Prepared, Plan]:
    if convert.is_quick(content, size_bytes):
        return _prepare(content)
    return await asyncio.to_thread(_prepare, content)


def _prepare(content: Any) -> tuple[Prepared, Plan]:
    prepared = convert.prepare(content)
    if not prepared.blocks:
        raise InvalidInput(
            "There is nothing to clip in this content.",
            errors=[{"pointer": "/content", "code": "empty"}],
        )
    return prepared, chunks.plan(prepared.blocks)


def read_targets(body: ClipBody) -> list[Target]:
    """Check the targets. Raises InvalidInput naming the place."""
    if not 1 <= len(body.targets) <= MAX_TARGETS:
        raise InvalidInput(
            f"A clip has 1 to {MAX_TARGETS} targets.",
            errors=[{"pointer": "/targets", "code": "invalid"}],
        )
    return [
        read_target(target, f"/targets/{index}", body.headings)
        for index, target in enumerate(body.targets)
    ]


def read_target(target: TargetBody, pointer: str, headings: Any) -> Target:
    """Check one target; exactly one of page_id, page_ref and new_page names it."""
    named = [x for x in (target.page_id, target.page_ref, target.new_page) if x is not None]
    if len(named) != 1:
        raise InvalidInput(
            "A target names exactly one of page_id, page_ref and new_page.",
            errors=[{"pointer": pointer, "code": "invalid"}],
        )
    position = _position(target.position, pointer + "/position", target.headings or headings)
    if target.new_page is not None:
        return Target(position, new_page=_new_page(target.new_page, pointer + "/new_page"))
    if target.page_ref is not None:
        return Target(position, page_ref=_ref(target.page_ref, pointer + "/page_ref"))
    return Target(position, page_id=_id(str(target.page_id), pointer + "/page_id"))


def _position(body: PositionBody | None, pointer: str, headings: Any) -> Position:
    if body is None:
        return Position(headings=headings)
    named = POSITIONS[body.type].names
    if (named == "heading") != ((body.heading_id is None) != (body.heading is None)):
        raise InvalidInput(
            f"Name one heading with {_naming('heading')}: send heading_id, or heading with its"
            " text. Send neither with the other positions.",
            errors=[{"pointer": pointer, "code": "invalid"}],
        )
    if (named == "block") != (body.block_id is not None):
        raise InvalidInput(
            f"Send block_id with {_naming('block')}. Leave it out with the other positions.",
            errors=[{"pointer": pointer, "code": "invalid"}],
        )
    return Position(
        type=body.type,
        heading_id=_id(body.heading_id, pointer + "/heading_id") if body.heading_id else None,
        heading_text=body.heading.text if body.heading else None,
        heading_path=tuple(body.heading.path) if body.heading else (),
        block_id=_id(body.block_id, pointer + "/block_id") if body.block_id else None,
        if_gone=body.if_gone,
        headings=body.headings or headings,
    )


def _naming(kind: str) -> str:
    return " or ".join(name for name, rule in POSITIONS.items() if rule.names == kind)


def _new_page(body: NewPageBody, pointer: str) -> dict[str, Any]:
    if len(body.parent) != 1:
        raise InvalidInput(
            "A new page has one parent: page_id, data_source_id, database_id or page_ref.",
            errors=[{"pointer": pointer + "/parent", "code": "invalid"}],
        )
    kind, value = next(iter(body.parent.items()))
    where = f"{pointer}/parent/{kind}"
    if kind == "page_ref":
        value = _ref(value, where)
    elif kind in ("page_id", "data_source_id", "database_id"):
        value = _id(value, where)
    else:
        raise InvalidInput(
            "A new page's parent is a page_id, data_source_id, database_id or page_ref.",
            errors=[{"pointer": pointer + "/parent", "code": "invalid"}],
        )
    if len(body.title.encode("utf-16-le")) // 2 > 2000:  # one rich text holds 2,000 units
        raise InvalidInput(
            "A title has at most 2,000 characters.",
            errors=[{"pointer": pointer + "/title", "code": "too_long"}],
        )
    page: dict[str, Any] = {"parent": {kind: value}, "title": body.title}
    if body.ref is not None:
        page["ref"] = _ref(body.ref, pointer + "/ref")
    if body.properties:
        page["properties"] = body.properties
    if body.icon:
        page["icon"] = body.icon
    return page


def _id(text: str, pointer: str) -> str:
    found = notion_id(text)
    if found is None:
        raise InvalidInput(
            "That is not a Notion id.", errors=[{"pointer": pointer, "code": "invalid_id"}]
        )
    return found


def _ref(text: str, pointer: str) -> str:
    if not (1 <= len(text) <= 200 and text.isprintable()):
        raise InvalidInput(
            "A ref has 1 to 200 printable characters.",
            errors=[{"pointer": pointer, "code": "invalid"}],
        )
    return text


def _time(text: str | None, pointer: str) -> float | None:
    if text is None:
        return None
    try:
        return from_rfc3339(text)
    except ValueError as error:
        raise InvalidInput(
            "A time looks like 2026-11-22T10:00:00Z.",
            errors=[{"pointer": pointer, "code": "invalid"}],
        ) from error


def _fingerprint(body: ClipBody, accepted: bytes, asked: str | None) -> bytes:
    """Return the hash by which two posts under one key are the same clip.

    Covers the workspace only if the client named it: a repeated post is the same clip even when
    the current workspace has changed in between.
    """
    workspace = asked and (notion_id(asked) or asked)
    rest = replace(body, content=None, workspace_id=workspace)
    digest = hashlib.sha256(msgspec.json.encode(rest, order="sorted"))
    digest.update(accepted)
    return digest.digest()
