"""Outlines of pages: from the store where that is honest, verified or read again where not."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from clipperd.clock import Clock, rfc3339
from clipperd.concurrency import SingleFlight
from clipperd.errors import (
    BrokerUnreachable,
    NotSignedIn,
    OutlineNotCached,
    PageGone,
    PageTrashed,
    ReadFailed,
    ReauthRequired,
    StorageFull,
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
from clipperd.storage.database import Store, Work

Freshness = Literal["cached", "auto", "verified"]

NESTED_CALLS = 10  # the most that looking into containers may cost per reading
_RECHECK_S = 30.0  # a stored outline younger than this is not looked at again behind
_OUTAGE = (BrokerUnreachable, NotSignedIn, ReadFailed, ReauthRequired)


class Outline(msgspec.Struct, frozen=True):
    """The headings of a page and how far they can be believed.

    ``total_blocks`` counts blocks of the first level. ``stale``: the page is known to have
    changed, or could not be asked about. ``notion_calls``: made for this answer. ``unlisted``:
    containers (toggles, columns, ...) that may hold more headings but were not looked into.
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


class Look(msgspec.Struct, frozen=True):
    """The outcome of asking Notion: the snapshot as it holds now, and what that took."""

    snapshot: Snapshot
    source: Literal["verified", "fetched"]
    calls: int


class Outlines:
    """The stored outlines of every (user, workspace) and their way to Notion."""

    def __init__(
        self,
        cache: Store,
        notion: Notion,
        clock: Clock,
        publish: Publish,
        vouching: FreshnessTracker | None = None,
    ) -> None:
        """``publish`` gets ``outline`` events when a stored outline has changed.

        ``vouching``: what the event stream says; by default nothing.
        """
        self.vouching = vouching or FreshnessTracker(clock)
        self._cache = cache
        self._notion = notion
        self._clock = clock
        self._publish = publish
        self._flights: SingleFlight[Look] = SingleFlight()

    async def get(self, scope: Scope, page_id: str, freshness: Freshness = "auto") -> Outline:
        """The outline of a page.

        ``cached`` never waits: what is stored, else OutlineNotCached, and a look behind. ``auto``
        asks Notion and falls back on what is stored, marked stale, when that fails.
        ``verified`` asks in any case. Raises PageGone, PageTrashed, ReadFailed,
        BrokerUnreachable, NotSignedIn, ReauthRequired.
        """
        stored = await self.stored(scope, page_id)
        if freshness == "cached":
            return await self._cached(scope, page_id, stored)
        if freshness == "auto" and stored is not None and self.vouching.holds((scope, page_id)):
            return await self._render(scope, stored, "push", 0, stale=False)
        try:
            look, mine = await self._share(scope, page_id)
        except _OUTAGE as error:
            if freshness == "verified" or stored is None or not _passes(error):
                raise
            calls = error.reads if isinstance(error, ReadFailed) else 0
            return await self._render(scope, stored, "cache", calls, stale=True)
        calls = look.calls if mine else 0
        return await self._render(scope, look.snapshot, look.source, calls, stale=False)

    async def current(self, scope: Scope, page_id: str) -> tuple[Snapshot, int]:
        """The page's snapshot as Notion has it now, and the calls that took; raises as get."""
        stored = await self.stored(scope, page_id)
        if stored is not None and self.vouching.holds((scope, page_id)):
            return stored, 0
        look, mine = await self._share(scope, page_id)
        return look.snapshot, look.calls if mine else 0

    def doubt(self, scope: Scope, page_id: str) -> None:
        """Somebody changed the page: look before it is believed again."""
        self.vouching.doubt((scope, page_id))
        self._tell(scope, [page_id], [])

    async def stored(self, scope: Scope, page_id: str) -> Snapshot | None:
        """What is stored of the page, without a call; nothing where the cache cannot be read."""
        try:
            return await self._cache.read(lambda c: store.load(c, scope, page_id))
        except (StorageFull, sqlite3.Error):
            return None

    async def reread(
        self, scope: Scope, page_id: str, reader: Reader, wanted: str | None = None
    ) -> Snapshot:
        """List the page from the top; where heading ``wanted`` is of the first level, only that.

        Raises PageGone, PageTrashed, ReadFailed, BrokerUnreachable.
        """
        old = await self.stored(scope, page_id)
        try:
            return (await self._list(scope, page_id, reader, old, wanted=wanted))[0]
        except (PageGone, PageTrashed) as error:
            await self._drop(scope, page_id, error)
            raise

    async def require(self, scope: Scope, page_id: str, reader: Reader) -> None:
        """Ask whether the page is still there. Raises as reread does."""
        try:
            await reader.page(page_id)
        except (PageGone, PageTrashed) as error:
            await self._drop(scope, page_id, error)
            raise

    async def close(self) -> None:
        """End what runs behind."""
        await self._flights.close()

    async def _cached(self, scope: Scope, page_id: str, stored: Snapshot | None) -> Outline:
        age = float("inf") if stored is None else self._clock.now() - stored.verified_at
        page = (scope, page_id)
        is_vouched = stored is not None and self.vouching.holds(page)
        is_stale = self.vouching.is_doubted(page) or (stored is not None and stored.moved)
        if not is_vouched and (is_stale or not 0 <= age < _RECHECK_S):
            self._flights.start((scope, page_id), lambda: self._look(scope, page_id))
        if stored is None:
            raise OutlineNotCached(
                "The outline of that page was not read yet.",
                hint="An outline event follows when it is here.",
            )
        return await self._render(scope, stored, "cache", 0, stale=is_stale and not is_vouched)

    async def _share(self, scope: Scope, page_id: str) -> tuple[Look, bool]:
        """Look once for all who ask at the same time; True for the one that began it."""
        task, mine = self._flights.start((scope, page_id), lambda: self._look(scope, page_id))
        return await asyncio.shield(task), mine

    async def _look(self, scope: Scope, page_id: str) -> Look:
        reader = Reader(self._notion, self._clock, scope)
        began = self._clock.boot()
        snapshot = await self.stored(scope, page_id)
        try:
            page: dict[str, Any] | None = None
            if snapshot is None or _may_hold(snapshot):
                page = await reader.page(page_id)
                await self._note_page(scope, page)
            if snapshot is not None and page is not None and _holds(snapshot, page):
                held, is_kept = await self._vouch(scope, snapshot, page)
                if is_kept:
                    self.vouching.looked((scope, page_id), began)
                return Look(held, "verified", reader.calls)
            snapshot, is_kept = await self._list(scope, page_id, reader, snapshot, page=page)
        except (PageGone, PageTrashed) as error:
            await self._drop(scope, page_id, error)
            raise
        if is_kept and not snapshot.shallow:
            self.vouching.looked((scope, page_id), began)
        return Look(snapshot, "fetched", reader.calls)

    async def _vouch(
        self, scope: Scope, snapshot: Snapshot, page: dict[str, Any]
    ) -> tuple[Snapshot, bool]:
        """Note that the snapshot still holds; its tree is left alone, we may have written since."""
        held = replace(
            snapshot,
            stamp=str(page["last_edited_time"]),
            title=_title(page),
            verified_at=self._clock.now(),
        )
        return held, await self._keep(lambda c: store.vouch(c, scope, held))

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
        """Read the page; returns also whether it could be stored."""
        try:
            blocks, read_at = await _all_children(reader, page_id)
        except ReadFailed as error:
            if error.reply.status in (400, 404):
                await reader.page(page_id)  # raises when the page is gone or in the trash
            raise
        nodes = [to_node(block) for block in blocks]
        shallow = any(node.id == wanted and node.level for node in nodes)
        base = old.tree if old is not None and shallow else Tree(page_id)
        tree = base.with_list(page_id, nodes)
        if not shallow:
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
            shallow=shallow and bool(sections.containers(tree, listed=None)),
        )
        if not await self._keep(lambda c: store.save(c, scope, page_id, snapshot)):
            self.vouching.unsure((scope, page_id))
            return snapshot, False
        if old is None or sections.headings(old.tree) != sections.headings(tree):
            self._tell(scope, [page_id], [])
        return snapshot, True

    async def _keep(self, work: Work[object]) -> bool:
        """Write to the cache if that can be: what was read is true without it."""
        try:
            await self._cache.write(work)
        except (StorageFull, sqlite3.Error):
            return False
        return True

    async def _note_page(self, scope: Scope, page: dict[str, Any]) -> None:
        """The page index learns what we saw: search does not show every page."""
        record = from_notion(page)
        if record is not None:
            now = self._clock.now()
            await self._keep(lambda c: pages.upsert(c, scope, [record], now, evidence=True))

    async def _drop(self, scope: Scope, page_id: str, error: PageGone | PageTrashed) -> None:
        now = self._clock.now()
        access: Literal["gone", "trashed"] = "gone" if isinstance(error, PageGone) else "trashed"

        def work(c: Any) -> None:
            store.forget(c, scope, page_id)
            pages.mark_lost(c, scope, page_id, access, now)

        if await self._keep(work):
            self._tell(scope, [], [page_id])

    def _tell(self, scope: Scope, ids: list[str], removed: list[str]) -> None:
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
        if title is None:  # read from the anchor on only: the page itself was never asked for
            with contextlib.suppress(StorageFull, sqlite3.Error):
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


def _may_hold(snapshot: Snapshot) -> bool:
    """False when even an equal stamp could not prove the snapshot: list at once, one call less."""
    if snapshot.moved or snapshot.shallow:
        return False
    return snapshot.stamp is None or timestamps.is_unchanged(snapshot.stamp, snapshot.read_at)


def _holds(snapshot: Snapshot, page: dict[str, Any]) -> bool:
    return timestamps.is_unchanged(str(page.get("last_edited_time")), snapshot.read_at)


def _title(page: dict[str, Any]) -> str | None:
    record = from_notion(page)
    return record.title if record else None


def _passes(error: Exception) -> bool:
    """True for an outage; False when Notion refused for a reason that the person must hear."""
    if isinstance(error, ReadFailed):
        status = error.reply.status
        return bool(status in (401, 409, 429) or status >= 500)
    return True


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
    """List what may hold headings, as far as the allowance goes."""
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
