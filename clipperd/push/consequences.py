"""What follows from each event: outlines, section ends, the page index, the session."""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from clipperd.broker.sse import Frame
from clipperd.errors import ClipperdError
from clipperd.model import Scope, notion_id
from clipperd.outline.freshness import FreshnessTracker
from clipperd.outline.positions import PositionResolver
from clipperd.pages.pages import Pages
from clipperd.session.session import Session

T = TypeVar("T")
_LISTED = frozenset({"created", "moved", "properties"})


class _Ready(msgspec.Struct):
    pages: bool = False


class _Page(msgspec.Struct):
    workspace_id: str
    page_id: str
    what: Literal["content", "properties", "moved", "deleted", "created"]
    by_bot: bool = False


class _Workspace(msgspec.Struct):
    workspace_id: str


class Consequences:
    """Takes events in, one after the other."""

    def __init__(
        self, session: Session, places: PositionResolver, pages: Pages, freshness: FreshnessTracker
    ) -> None:
        """``freshness`` is told whether the stream can be relied on."""
        self._session = session
        self._places = places
        self._pages = pages
        self._freshness = freshness
        self._edited: set[Scope] = set()  # pages there have newer edits than the index knows

    async def take(self, user_id: str, token: str, frame: Frame) -> bool | None:
        """Do what an event asks for; for ``ready``: whether changes of pages are told at all.

        An event of another form, or of a newer broker, changes nothing. ``token`` is the access
        token under which the stream is read.
        """
        match frame.event:
            case "ready":
                ready = _read(frame, _Ready)
                return ready is not None and ready.pages
            case "gap":
                self._freshness.reset()
                await self._poke_current()
            case "page":
                page = _read(frame, _Page)
                if page is not None:
                    await self._page(user_id, page)
            case "session_revoked":
                await self._check(user_id, token)
            case "reauth_required":
                named = _read(frame, _Workspace)
                if named is not None:
                    await self._reauth(user_id, token, named.workspace_id)
            case _:
                pass
        return None

    async def _page(self, user_id: str, told: _Page) -> None:
        scope = Scope(user_id, notion_id(told.workspace_id) or told.workspace_id)
        page_id = notion_id(told.page_id) or told.page_id
        if told.by_bot and told.what == "content" and self._freshness.is_echo((scope, page_id)):
            return
        self._places.mark_changed(scope, page_id)
        if told.what == "deleted":
            await self._pages.mark_trashed(scope, page_id)
        elif told.what in _LISTED:
            self._pages.poke(scope)
        else:
            self._edited.add(scope)

    def take_edited(self, scope: Scope) -> bool:
        """Whether pages were edited since this was last asked: the list's order has changed."""
        was = scope in self._edited
        self._edited.discard(scope)
        return was

    async def _check(self, user_id: str, token: str) -> None:
        """Refresh: the session learns at once whether it still stands."""
        try:
            await self._session.token_for(user_id, stale=token)
        except ClipperdError:
            return  # the session has told whoever listens; the next request says why

    async def _reauth(self, user_id: str, token: str, workspace_id: str) -> None:
        scope = await self._current()
        named = Scope(user_id, notion_id(workspace_id) or workspace_id)
        if scope == named:
            await self._session.expire(user_id, token, "notion_token_invalid")
        else:
            await self._check(user_id, token)

    async def _poke_current(self) -> None:
        scope = await self._current()
        if scope is not None:
            self._pages.poke(scope)

    async def _current(self) -> Scope | None:
        try:
            return await self._session.accounts.scope(None)
        except ClipperdError:  # signed out meanwhile, or without a workspace
            return None


def _read(frame: Frame, shape: type[T]) -> T | None:
    try:
        return msgspec.json.decode(frame.data, type=shape)
    except (msgspec.MsgspecError, UnicodeError):
        return None
