"""Checks and converts posted clips, and stores them as drafts in the outbox."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec.structs import replace

from clipperd.clock import Clock, from_rfc3339
from clipperd.content import chunks, convert
from clipperd.content.chunks import Plan
from clipperd.content.convert import Content, Prepared, row_title
from clipperd.content.links import utf16_units
from clipperd.delivery.dispatch import Dispatcher
from clipperd.errors import NotFound, invalid
from clipperd.model import POSITIONS, Position, PositionType, Scope, notion_id
from clipperd.outbox import accept as accepting
from clipperd.outbox import actions, rows
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import PRIORITIES, ClipView, Draft, LaneKey, Priority, Source, Target
from clipperd.pages.directory import Directory, Known
from clipperd.session.accounts import Accounts

MAX_TARGETS = 100
_MAX_KEY = 255  # characters
PARENTS = ("page_id", "data_source_id", "database_id", "page_ref")
"""The keys of which a new page's parent has one."""
_DESTINATIONS = ("page_id", "data_source_id", "database_id", "page_ref", "new_page")
_MAX_TITLE_UNITS = 2000  # UTF-16 units of one rich text


class HeadingName(msgspec.Struct, forbid_unknown_fields=True):
    """A heading named by its text and, if several match, by the enclosing headings."""

    text: str
    path: list[str] = []


class PositionBody(msgspec.Struct, forbid_unknown_fields=True):
    """A position in the page; docs/api.md lists the types."""

    type: PositionType = "end"
    heading_id: str | None = None
    heading: HeadingName | None = None
    block_id: str | None = None
    if_gone: Literal["ask", "end_of_page"] = "ask"
    headings: Literal["demote", "keep"] | None = None


class NewPageBody(msgspec.Struct, forbid_unknown_fields=True):
    """A page that the queue creates in Notion."""

    parent: Annotated[
        dict[str, str],
        msgspec.Meta(
            title="NewPageParent",
            extra_json_schema={
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {name: {"type": "string"}},
                        "required": [name],
                        "additionalProperties": False,
                    }
                    for name in PARENTS
                ]
            },
        ),
    ]
    title: str
    ref: str | None = None
    properties: dict[str, Any] | None = None
    icon: dict[str, Any] | None = None


class TargetBody(msgspec.Struct, forbid_unknown_fields=True):
    """One destination: a page, a new page of another clip (``page_ref``), or a new page.

    A database or data source, also if it is named as a page, gets a row.
    """

    page_id: str | None = None
    data_source_id: str | None = None
    database_id: str | None = None
    page_ref: str | None = None
    new_page: NewPageBody | None = None
    position: PositionBody | None = None
    headings: Literal["demote", "keep"] | None = None


class ClipBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v1/clips``; ``content`` is one object or an ordered array of them."""

    targets: list[TargetBody]
    content: Content | None = None
    workspace_id: str | None = None
    priority: Priority | None = "normal"
    not_before: str | None = None
    source: Source | None = None
    headings: Literal["demote", "keep"] | None = None

    def __post_init__(self) -> None:
        self.priority = self.priority or "normal"  # one form, so one fingerprint of a key


class ClipSubmission:
    """Accepts clips, and changes the content or the target of unsent ones."""

    def __init__(
        self,
        outbox: Outbox,
        accounts: Accounts,
        directory: Directory,
        dispatcher: Dispatcher,
        clock: Clock,
    ) -> None:
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
        """Check, convert and store a clip; return it, and whether it is a replay.

        Raises InvalidInput and its subclasses, NotSignedIn, WorkspaceMismatch,
        IdempotencyConflict, StorageFull, and then stores nothing.
        """
        if key is not None and not (1 <= len(key) <= _MAX_KEY and key.isprintable()):
            raise invalid(
                f"Send an Idempotency-Key of 1 to {_MAX_KEY} printable characters.",
                {"header": "Idempotency-Key"},
            )
        asked = body.workspace_id or header_workspace
        scope = await self._accounts.scope(asked)
        asked_for = read_targets(body)
        pointers = [f"/targets/{index}" for index in range(len(asked_for))]
        targets = await self._known(scope, asked_for, pointers)
        not_before = read_time(body.not_before, "/not_before")
        accepted = _encoded(body.content)
        prepared, plan = await prepared_content(body.content, len(accepted), targets)
        source = body.source or {}
        title = row_title(prepared.blocks, source, prepared.title)
        draft = Draft(
            scope=scope,
            client_id=client_id,
            targets=[as_row(target, title) for target in targets],
            accepted=accepted,
            prepared=prepared,
            plan=plan,
            priority=PRIORITIES.index(body.priority or "normal"),
            not_before=not_before,
            source=source,
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
        replacement: tuple[bytes, Prepared, Plan] | None = None
        if content is not None:
            accepted = _encoded(content)
            prepared, plan = await _convert(content, len(accepted))
            replacement = (accepted, prepared, plan)
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> list[LaneKey]:
            found = actions.rows_of(connection, user, clip_id, None)
            actions.edit(
                connection,
                found,
                version=version,
                now=now,
                content=replacement,
                priority=priority,
                not_before=not_before,
            )
            return [actions.lane_of(row) for row in found]

        view, lanes = await self._outbox.act(user, clip_id, work)
        self._dispatcher.free(*lanes)
        return view

    async def retarget(self, clip_id: str, delivery_id: str, target: TargetBody) -> ClipView:
        """Move an unsent delivery. Raises NotFound, NotAllowedNow, InvalidInput."""
        user = await self._user()
        if target.new_page is not None:
            raise invalid(
                "A delivery cannot move to a new page. Send a page_id or page_ref.",
                "/target/new_page",
            )
        wanted = read_target(target, "/target", None)
        at = Scope(user, (await self._outbox.get(user, clip_id)).workspace_id)
        wanted = (await self._known(at, [wanted], ["/target"]))[0]
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> list[LaneKey]:
            row = actions.rows_of(connection, user, clip_id, delivery_id)[0]
            scope = Scope(user, row["workspace_id"])
            named = as_row(wanted, rows.title_of(connection, row["clip"]))
            place = accepting.locate(connection, scope, named, delivery_id)
            actions.retarget(connection, row, named, place, now)
            return [actions.lane_of(row), (user, row["workspace_id"], place[2])]

        view, lanes = await self._outbox.act(user, clip_id, work)
        self._dispatcher.free(*lanes)
        return view

    async def _known(
        self, scope: Scope, targets: Sequence[Target], pointers: Sequence[str]
    ) -> list[Target]:
        """Return the targets with what the page index knows: titles, and databases as such.

        Raises WorkspaceMismatch, InvalidInput.
        """
        ids = [found for target in targets if (found := target.page_id or _container(target))]
        known = await self._directory.lookup(scope, ids) if ids else {}
        return [
            _as_known(target, known.get(target.page_id or ""), pointer)
            for target, pointer in zip(targets, pointers, strict=True)
        ]

    async def _user(self) -> str:
        user = await self._accounts.current_user()
        if user is None:
            raise NotFound("This account has no such clip.")
        return user


async def prepared_content(
    content: Any, size_bytes: int, targets: Sequence[Target]
) -> tuple[Prepared, Plan]:
    """Convert and plan the content, which is optional if every target is a new page."""
    if content is None:
        if all("title" in (target.new_page or {}) for target in targets):
            nothing = Prepared(format="blocks", title="", preview="", blocks=[], demotable=False)
            return nothing, chunks.plan([])
        raise invalid("Send content: only new pages may do without.", "/content", "required")
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
    return prepared, chunks.plan(prepared.blocks)


def read_targets(body: ClipBody) -> list[Target]:
    """Check the targets. Raises InvalidInput with the place in the body."""
    if not 1 <= len(body.targets) <= MAX_TARGETS:
        raise invalid(f"Send 1 to {MAX_TARGETS} targets.", "/targets")
    return [
        read_target(target, f"/targets/{index}", body.headings)
        for index, target in enumerate(body.targets)
    ]


def read_target(target: TargetBody, pointer: str, headings: Any) -> Target:
    """Check one target. Raises InvalidInput with the place in the body."""
    given = {name: value for name in _DESTINATIONS if (value := getattr(target, name)) is not None}
    if len(given) != 1:
        raise invalid(f"Name exactly one of {', '.join(_DESTINATIONS)} in a target.", pointer)
    kind = next(iter(given))
    position = _position(target.position, pointer + "/position", target.headings or headings)
    if target.new_page is not None:
        return Target(position, new_page=_new_page(target.new_page, pointer + "/new_page"))
    if target.page_ref is not None:
        return Target(position, page_ref=_ref(target.page_ref, pointer + "/page_ref"))
    found = _id(str(given[kind]), f"{pointer}/{kind}")
    if kind == "page_id":
        return Target(position, page_id=found)
    return _row_target(position, {kind: found}, pointer)


def as_row(target: Target, title: str) -> Target:
    """Return the target with ``title`` for its row, if it makes one of the clip itself."""
    page = target.new_page
    if page is None or "title" in page:
        return target
    return replace(target, new_page={**page, "title": title})


def _as_known(target: Target, known: Known | None, pointer: str) -> Target:
    if known is None:
        return target
    if known.kind == "page":
        return replace(target, title=known.title)
    return _row_target(target.position, {f"{known.kind}_id": str(target.page_id)}, pointer)


def _row_target(position: Position, parent: Mapping[str, str], pointer: str) -> Target:
    """Return the target of a row whose title is the clip's. Raises InvalidInput."""
    if POSITIONS[position.type].names is not None:
        raise invalid(
            "A clip to a database becomes a new row, which has no headings or blocks yet. "
            "Leave the position out, or choose a page.",
            pointer + "/position",
        )
    return Target(position, new_page={"parent": dict(parent)})


def _container(target: Target) -> str | None:
    """Return the data source or database that a row goes into."""
    parent = (target.new_page or {}).get("parent") or {}
    return parent.get("data_source_id") or parent.get("database_id")


def _position(body: PositionBody | None, pointer: str, headings: Any) -> Position:
    if body is None:
        return Position(headings=headings)
    named = POSITIONS[body.type].names
    if (named == "heading") != ((body.heading_id is None) != (body.heading is None)):
        types = _naming("heading")
        raise invalid(f"Send heading_id or heading with {types}, and with no other type.", pointer)
    if (named == "block") != (body.block_id is not None):
        raise invalid(f"Send block_id with {_naming('block')}, and with no other type.", pointer)
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


_PARENT = "Name one parent of a new page: page_id, data_source_id, database_id or page_ref."


def _new_page(body: NewPageBody, pointer: str) -> dict[str, Any]:
    if len(body.parent) != 1:
        raise invalid(_PARENT, pointer + "/parent")
    kind, value = next(iter(body.parent.items()))
    where = f"{pointer}/parent/{kind}"
    if kind == "page_ref":
        value = _ref(value, where)
    elif kind in PARENTS:
        value = _id(value, where)
    else:
        raise invalid(_PARENT, pointer + "/parent")
    if utf16_units(body.title) > _MAX_TITLE_UNITS:
        raise invalid("Shorten the title to 2,000 characters.", pointer + "/title", "too_long")
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
        raise invalid(
            "Send a Notion id: 32 hex digits; dashes are optional.", pointer, "invalid_id"
        )
    return found


def _ref(text: str, pointer: str) -> str:
    if not (1 <= len(text) <= 200 and text.isprintable()):
        raise invalid("Send a ref of 1 to 200 printable characters.", pointer)
    return text


def read_time(text: str | None, place: str | Mapping[str, str]) -> float | None:
    """Return an RFC 3339 time as epoch seconds. Raises InvalidInput that names ``place``."""
    if text is None:
        return None
    try:
        return from_rfc3339(text)
    except ValueError as error:
        raise invalid("Send a time in this form: 2026-11-22T10:00:00Z.", place) from error


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
