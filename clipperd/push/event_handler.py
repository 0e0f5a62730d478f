"""Applies the broker's events to outlines, section ends, page index and session."""

from __future__ import annotations

import contextlib
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


class EventHandler:
    """Handles one event after the other."""

    def __init__(
        self,
        session: Session,
        positions: PositionResolver,
        pages: Pages,
        freshness: FreshnessTracker,
    ) -> None:
        self._session = session
        self._positions = positions
        self._pages = pages
        self._freshness = freshness
        self._edited: set[Scope] = set()  # where pages have newer edits than the index

    async def handle(self, user_id: str, token: str, frame: Frame) -> bool | None:
        """Handle an event; for ``ready`` return whether the stream reports changes of pages.

        Ignores malformed and unknown events. ``token`` is the access token of the stream.
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
            case "subscription":
                with contextlib.suppress(ClipperdError):  # the next refresh brings it
                    await self._session.refresh_profile(user_id)
            case "reauth_required":
                workspace = _read(frame, _Workspace)
                if workspace is not None:
                    await self._reauth(user_id, token, workspace.workspace_id)
            case _:
                pass
        return None

    async def _page(self, user_id: str, event: _Page) -> None:
        scope = Scope(user_id, notion_id(event.workspace_id) or event.workspace_id)
        page_id = notion_id(event.page_id) or event.page_id
        if event.by_bot and event.what == "content" and self._freshness.is_echo((scope, page_id)):
            return
        self._positions.mark_changed(scope, page_id)
        if event.what == "deleted":
            await self._pages.mark_trashed(scope, page_id)
        elif event.what in _LISTED:
            self._pages.report_change(scope, page_id)
        else:
            self._edited.add(scope)

    def pop_edited(self, scope: Scope) -> bool:
        """Return whether pages were edited since the last call, which changes their order."""
        was = scope in self._edited
        self._edited.discard(scope)
        return was

    async def _check(self, user_id: str, token: str) -> None:
        """Refresh the token, which shows whether the session is still valid."""
        try:
            await self._session.token_for(user_id, stale=token)
        except ClipperdError:
            return  # the session has published its state

    async def _reauth(self, user_id: str, token: str, workspace_id: str) -> None:
        if await self._current() == Scope(user_id, notion_id(workspace_id) or workspace_id):
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
        except ClipperdError:  # signed out since, or no workspace
            return None


def _read(frame: Frame, shape: type[T]) -> T | None:
    try:
        return msgspec.json.decode(frame.data, type=shape)
    except (msgspec.MsgspecError, UnicodeError):
        return None
