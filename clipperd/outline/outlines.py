"""Serves outlines of pages from the store, and verifies or reads them at Notion if needed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from clipperd.clock import Clock, rfc3339
from clipperd.concurrency import SingleFlight
from clipperd.errors import (
    NOTION_ERRORS,
    OutlineNotCached,
    PageGone,
    PageTrashed,
    ReadFailed,
)
from clipperd.model import Scope
from clipperd.notion.port import Notion
from clipperd.outline import sections, store, timestamps
from clipperd.outline.freshness import FreshnessTracker
from clipperd.outline.reading import Reader
from clipperd.outline.sections import Heading
from clipperd.outline.store import Snapshot
from clipperd.outline.tree import Node, Tree, to_node
from clipperd.pages import store as pages
from clipperd.pages.crawl import Publish
from clipperd.pages.entries import from_notion
from clipperd.storage.database import STORE_ERRORS, Store, Work

Freshness = Literal["cached", "auto", "verified"]

NESTED_CALLS = 10  # calls for nested containers, at most, each time a page is read
_RECHECK_S = 30.0  # seconds; a newer stored outline is not refreshed in the background


class Outline(msgspec.Struct, frozen=True):
    """The headings of a page and their freshness.

    ``total_blocks`` counts blocks of the first level. ``stale``: the page has changed, or Notion
    could not be asked. ``notion_calls``: calls made for this response. ``unlisted``: containers
    (toggles, columns, ...) that may hold more headings but were not listed.
    """

    page_id: str
    workspace_id: str
    title: str
    headings: list[Heading]
    total_blocks: int
    last_edited_time: str | None
    fetched_at: str
    verified_at: str
    source: Literal["cache", "push", "verified", "fetched"]
    stale: bool
    notion_calls: int
    unlisted: int


class ReadResult(msgspec.Struct, frozen=True):
    """A snapshot that Notion just confirmed or returned, and the calls that took."""

    snapshot: Snapshot
    source: Literal["verified", "fetched"]
    calls: int


class Outlines:
    """The outlines of every (user, workspace)."""

    def __init__(
        self,
        cache: Store,
        notion: Notion,
        clock: Clock,
        publish: Publish,
        freshness: FreshnessTracker | None = None,
    ) -> None:
        """``publish`` gets ``outline`` events when a stored outline has changed.

        ``freshness``: fed by the event stream; without it no page counts as unchanged.
        """
        self.freshness = freshness or FreshnessTracker(clock)
        self._cache = cache
        self._notion = notion
        self._clock = clock
        self._publish = publish
        self._reads: SingleFlight[ReadResult] = SingleFlight()

    async def get(self, scope: Scope, page_id: str, freshness: Freshness = "auto") -> Outline:
        """Return the outline of a page.

        ``cached`` never waits: it returns the stored outline or raises OutlineNotCached, and
        refreshes in the background. ``auto`` asks Notion unless the outline is fresh, and returns
        the stored outline as stale if Notion fails. ``verified`` always asks. Raises PageGone,
        PageTrashed, ReadFailed, BrokerUnreachable, NotSignedIn, ReauthRequired.
        """
        stored = await self.stored(scope, page_id)
        if freshness == "cached":
            return await self._cached(scope, page_id, stored)
        if freshness == "auto" and stored is not None and self.freshness.is_fresh((scope, page_id)):
            return await self._render(scope, stored, "push", 0, stale=False)
        try:
            result, is_own = await self._read_once(scope, page_id)
        except NOTION_ERRORS as error:
            if freshness == "verified" or stored is None or not _is_outage(error):
                raise
            calls = error.reads if isinstance(error, ReadFailed) else 0
            return await self._render(scope, stored, "cache", calls, stale=True)
        calls = result.calls if is_own else 0
        return await self._render(scope, result.snapshot, result.source, calls, stale=False)

    async def current(self, scope: Scope, page_id: str) -> tuple[Snapshot, int]:
        """Return the page's current snapshot and the calls that took. Raises as ``get`` does."""
        stored = await self.stored(scope, page_id)
        if stored is not None and self.freshness.is_fresh((scope, page_id)):
            return stored, 0
        result, is_own = await self._read_once(scope, page_id)
        return result.snapshot, result.calls if is_own else 0

    def mark_changed(self, scope: Scope, page_id: str) -> None:
        """Note a change by another client: the next use reads the page."""
        self.freshness.mark_changed((scope, page_id))
        self._announce(scope, [page_id], [])

    async def stored(self, scope: Scope, page_id: str) -> Snapshot | None:
        """Return the stored snapshot without a call; None if the cache cannot be read."""
        try:
            return await self._cache.read(lambda c: store.load(c, scope, page_id))
        except STORE_ERRORS:
            return None

    async def reread(
        self, scope: Scope, page_id: str, reader: Reader, wanted: str | None = None
    ) -> Snapshot:
        """List the page; without nested containers if heading ``wanted`` is on the first level.

        Raises PageGone, PageTrashed, ReadFailed, BrokerUnreachable.
        """
        old = await self.stored(scope, page_id)
        try:
            return (await self._list(scope, page_id, reader, old, wanted=wanted))[0]
        except (PageGone, PageTrashed) as error:
            await self._drop(scope, page_id, error)
            raise

    async def require(self, scope: Scope, page_id: str, reader: Reader) -> None:
        """Check that the page still exists. Raises as ``reread`` does."""
        try:
            await reader.page(page_id)
        except (PageGone, PageTrashed) as error:
            await self._drop(scope, page_id, error)
            raise

    async def close(self) -> None:
        """Cancel the reads in the background."""
        await self._reads.close()

    async def _cached(self, scope: Scope, page_id: str, stored: Snapshot | None) -> Outline:
        age = float("inf") if stored is None else self._clock.now() - stored.verified_at
        page = (scope, page_id)
        is_fresh = stored is not None and self.freshness.is_fresh(page)
        is_stale = self.freshness.has_unread_change(page) or (
            stored is not None and stored.changed_by_us
        )
        if not is_fresh and (is_stale or not 0 <= age < _RECHECK_S):
            self._reads.start((scope, page_id), lambda: self._read(scope, page_id))
        if stored is None:
            raise OutlineNotCached(
                "The outline of that page is not here yet.",
                hint="Wait for its outline event, then ask again.",
            )
        return await self._render(scope, stored, "cache", 0, stale=is_stale and not is_fresh)

    async def _read_once(self, scope: Scope, page_id: str) -> tuple[ReadResult, bool]:
        """Read once for all concurrent callers; True for the caller that started the read."""
        task, is_own = self._reads.start((scope, page_id), lambda: self._read(scope, page_id))
        return await asyncio.shield(task), is_own

    async def _read(self, scope: Scope, page_id: str) -> ReadResult:
        reader = Reader(self._notion, self._clock, scope)
        began = self._clock.boot()
        snapshot = await self.stored(scope, page_id)
        try:
            page: dict[str, Any] | None = None
            if snapshot is None or _can_confirm(snapshot):
                page = await reader.page(page_id)
                await self._index_page(scope, page)
            if snapshot is not None and page is not None and _matches(snapshot, page):
                confirmed, is_stored = await self._confirm(scope, snapshot, page)
                if is_stored:
                    self.freshness.record_read((scope, page_id), began)
                return ReadResult(confirmed, "verified", reader.calls)
            snapshot, is_stored = await self._list(scope, page_id, reader, snapshot, page=page)
        except (PageGone, PageTrashed) as error:
            await self._drop(scope, page_id, error)
            raise
        if is_stored and not snapshot.is_partial:
            self.freshness.record_read((scope, page_id), began)
        return ReadResult(snapshot, "fetched", reader.calls)

    async def _confirm(
        self, scope: Scope, snapshot: Snapshot, page: dict[str, Any]
    ) -> tuple[Snapshot, bool]:
        """Store that the snapshot still matches; keep the stored tree, it may hold newer writes."""
        confirmed = replace(
            snapshot,
            stamp=str(page["last_edited_time"]),
            title=_title(page),
            verified_at=self._clock.now(),
        )
        return confirmed, await self._try_write(lambda c: store.confirm(c, scope, confirmed))

    async def _list(
        self,
        scope: Scope,
        page_id: str,
        reader: Reader,
        old: Snapshot | None,
        *,
        page: dict[str, Any] | None = None,
        wanted: str | None = None,
    ) -> tuple[Snapshot, bool]:
        """Read the page; return its snapshot and whether it was stored."""
        try:
            blocks, read_at = await _all_children(reader, page_id)
        except ReadFailed as error:
            if error.reply.status in (400, 404):
                await reader.page(page_id)  # raises when the page is gone or in the trash
            raise
        nodes = [to_node(block) for block in blocks]
        only_top = any(node.id == wanted and node.level for node in nodes)
        base = old.tree if old is not None and only_top else Tree(page_id)
        tree = base.with_list(page_id, nodes)
        if not only_top:
            tree = await _with_containers(reader, tree)
        stamps = [str(b["last_edited_time"]) for b in blocks if b.get("last_edited_time")]
        known = [old.stamp] if old is not None and old.stamp else []
        now = self._clock.now()
        snapshot = Snapshot(
            tree=tree,
            title=_title(page) if page else (old.title if old else None),
            stamp=str(page["last_edited_time"]) if page else max([*stamps, *known], default=None),
            read_at=read_at,
            fetched_at=now,
            verified_at=now,
            is_partial=only_top and bool(sections.containers(tree, listed=None)),
        )
        came_back: list[bool] = []

        def save(c: Any) -> None:
            store.save(c, scope, page_id, snapshot)
            came_back[:] = [pages.mark_found(c, scope, page_id, now)]

        if not await self._try_write(save):
            self.freshness.invalidate((scope, page_id))
            return snapshot, False
        if any(came_back):
            data = {"workspace_id": scope.workspace_id, "ids": [page_id], "removed": []}
            self._publish("pages", data, scope.user_id)
        if old is None or sections.headings(old.tree) != sections.headings(tree):
            self._announce(scope, [page_id], [])
        return snapshot, True

    async def _try_write(self, work: Work[object]) -> bool:
        """Write to the cache and return whether that worked; the read is valid without it."""
        try:
            await self._cache.write(work)
        except STORE_ERRORS:
            return False
        return True

    async def _index_page(self, scope: Scope, page: dict[str, Any]) -> None:
        """Add the page to the page index, because search does not return every page."""
        record = from_notion(page)
        if record is not None:
            now = self._clock.now()
            await self._try_write(lambda c: pages.upsert(c, scope, [record], now, evidence=True))

    async def _drop(self, scope: Scope, page_id: str, error: PageGone | PageTrashed) -> None:
        now = self._clock.now()
        access: Literal["gone", "trashed"] = "gone" if isinstance(error, PageGone) else "trashed"

        def work(c: Any) -> None:
            store.forget(c, scope, page_id)
            pages.mark_lost(c, scope, page_id, access, now)

        if await self._try_write(work):
            self._announce(scope, [], [page_id])

    def _announce(self, scope: Scope, ids: list[str], removed: list[str]) -> None:
        data = {"workspace_id": scope.workspace_id, "ids": ids, "removed": removed}
        self._publish("outline", data, scope.user_id)

    async def _render(
        self,
        scope: Scope,
        snapshot: Snapshot,
        source: Literal["cache", "push", "verified", "fetched"],
        calls: int,
        *,
        stale: bool,
    ) -> Outline:
        tree = snapshot.tree
        title = snapshot.title
        if title is None:  # only children were read, never the page object
            with contextlib.suppress(*STORE_ERRORS):
                title = await self._cache.read(lambda c: pages.title_of(c, scope, tree.page_id))
        return Outline(
            page_id=tree.page_id,
            workspace_id=scope.workspace_id,
            title=title or "",
            headings=sections.headings(tree),
            total_blocks=len(tree.top),
            last_edited_time=snapshot.stamp,
            fetched_at=rfc3339(snapshot.fetched_at),
            verified_at=rfc3339(snapshot.verified_at),
            source=source,
            stale=stale,
            notion_calls=calls,
            unlisted=len(sections.containers(tree, listed=False)),
        )


def _can_confirm(snapshot: Snapshot) -> bool:
    """Return whether an equal stamp can prove the snapshot; if not, listing saves a call."""
    if snapshot.changed_by_us or snapshot.is_partial:
        return False
    return snapshot.stamp is None or timestamps.is_unchanged(snapshot.stamp, snapshot.read_at)


def _matches(snapshot: Snapshot, page: dict[str, Any]) -> bool:
    return timestamps.is_unchanged(str(page.get("last_edited_time")), snapshot.read_at)


def _title(page: dict[str, Any]) -> str | None:
    record = from_notion(page)
    return record.title if record else None


def _is_outage(error: Exception) -> bool:
    """True for an outage; False when Notion refused for a reason that the person must hear."""
    return not isinstance(error, ReadFailed) or bool(error.reply.is_transient)


async def _all_children(
    reader: Reader, parent_id: str
) -> tuple[list[dict[str, Any]], float | None]:
    blocks: list[dict[str, Any]] = []
    starts: list[float | None] = []
    async for part in reader.children(parent_id):
        blocks.extend(part.blocks)
        starts.append(part.read_at)
    return blocks, starts[0]


async def _with_containers(reader: Reader, tree: Tree) -> Tree:
    """List containers that may hold headings, with at most NESTED_CALLS calls."""
    most = reader.calls + NESTED_CALLS
    waiting: list[Node] = sections.containers(tree, listed=False)
    while waiting and reader.calls < most:
        container = waiting[0]
        try:
            blocks, _ = await _all_children(reader, container.id)
        except ReadFailed as error:
            if error.reply.status not in (400, 404):
                raise
            blocks = []  # deleted since the page was listed
        tree = tree.with_list(container.id, [to_node(block) for block in blocks])
        waiting = sections.containers(tree, listed=False)
    return tree
