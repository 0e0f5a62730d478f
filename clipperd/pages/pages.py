"""Lists, searches and reads pages, sets favourites, and keeps the page index up to date."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from clipperd.broker.reply import Reply
from clipperd.clock import Clock, rfc3339
from clipperd.concurrency import SingleFlight, race
from clipperd.errors import (
    NOTION_ERRORS,
    BrokerUnreachable,
    ClipperdError,
    CursorInvalid,
    NotFound,
    ReadFailed,
    StorageFull,
)
from clipperd.model import Scope
from clipperd.notion.port import Call, Notion
from clipperd.pages import cursors, search, store, usage
from clipperd.pages.crawl import Crawl, Publish
from clipperd.pages.cursors import Cursor
from clipperd.pages.entries import Access, Entry, IndexStatus, Listing, from_notion, schema_of
from clipperd.storage.database import STORE_ERRORS, Database, Store

View = Literal["recent", "used", "favorites", "all"]

_RETRY_PAUSES_S = (5.0, 30.0, 120.0)  # seconds; after that only ``poke`` retries
_READS_PER_ROUND = 20  # lost pages, and favourites and used pages that search left out
_LOOK_AGAIN_S = 1800.0  # seconds between two looks at a favourite or used page that is gone
_LOST_PER_SEARCH = 5  # lost pages among the results that are read; a user waits for them
_REMOTE_SIZE = 20  # results
_REMOTE_MATCH = 0.3  # score of a page that only Notion's search found: below every local match


class Pages:
    """The pages of every (user, workspace): cache.db for Notion's data, outbox.db for use."""

    def __init__(
        self,
        cache: Store,
        outbox: Database,
        notion: Notion,
        clock: Clock,
        publish: Publish,
        *,
        fill_pause_s: float = 3.0,
    ) -> None:
        """``fill_pause_s``: seconds between background calls; 3 s leave room for clips."""
        self._cache = cache
        self._outbox = outbox
        self._notion = notion
        self._clock = clock
        self._publish = publish
        self._crawl = Crawl(cache, notion, clock, publish, fill_pause_s)
        self._refreshes: SingleFlight[int] = SingleFlight()
        self._wake_events: dict[Scope, asyncio.Event] = {}

    async def list(
        self, scope: Scope, view: View, kind: str = "", limit: int = 20, cursor: str | None = None
    ) -> Listing:
        """Return one page of a view from the store, without calls. Raises CursorInvalid."""
        after = None if cursor is None else cursors.decode(scope, view, kind, cursor)
        if view in ("recent", "all"):
            if after is not None and not isinstance(after.key, str):
                raise CursorInvalid("That cursor belongs to another view. Start without one.")
            rows, favorites = await self._sorted(scope, view, kind, after, limit)
        else:
            rows, favorites = await self._marked(scope, view, kind, after, limit)
        page = rows[:limit]

        def render(c: sqlite3.Connection) -> Listing:
            last = page[-1] if len(rows) > limit else None
            return Listing(
                items=[store.to_entry(c, scope, row, favorites) for _, row in page],
                next_cursor=None
                if last is None
                else cursors.encode(scope, view, kind, Cursor(last[0], last[1]["page_id"])),
                has_more=last is not None,
                index=store.index_status(c, scope),
            )

        return await self._cache.read(render)

    async def search(
        self, scope: Scope, text: str, kind: str = "", limit: int = 20, *, remote: bool = False
    ) -> Listing:
        """Return the best matches with their ``score``; ``remote`` merges Notion's own search."""
        found: set[str] = set()
        reached = True
        if remote:
            reached, found = await self._ask_notion(scope, text)
        habits = await self._outbox.read(lambda c: _habits(c, scope))
        now = self._clock.now()

        def work(c: sqlite3.Connection) -> Listing:
            hits = {
                hit.page_id: hit
                for hit in search.find(c, scope, text, habits, kind=kind, limit=limit)
            }
            for page_id, row in store.rows_of(c, scope, found - hits.keys()).items():
                if row["access"] == "ok" and _is_kind(row, kind):
                    edited = row["last_edited_time"]
                    hits[page_id] = search.Hit(page_id, _REMOTE_MATCH, edited)
            newest = sorted(hits.values(), key=lambda hit: (hit.edited, hit.page_id), reverse=True)
            scored = [(search.score(hit, habits, now), hit.page_id) for hit in newest]
            scored.sort(key=lambda pair: -pair[0])
            rows = store.rows_of(c, scope, [page_id for _, page_id in scored[:limit]])
            items = [
                replace(store.to_entry(c, scope, rows[page_id], habits.favorites), score=value)
                for value, page_id in scored[:limit]
            ]
            return Listing(items, None, len(scored) > limit, store.index_status(c, scope))

        listing = await self._cache.read(work)
        if remote:
            return replace(listing, remote="merged" if reached else "unreachable")
        return listing

    async def get(
        self, scope: Scope, page_id: str, freshness: Literal["cached", "verified"] = "cached"
    ) -> Entry:
        """Return one page; ``verified`` asks Notion (1 call) and adds ``access``.

        Raises NotFound for an unknown page. If Notion cannot be asked about a page that is not
        stored: ReadFailed, BrokerUnreachable, NotSignedIn, ReauthRequired, StorageFull.
        """
        favorites = await self._favorites(scope)
        known = await self._cache.read(lambda c: store.entry(c, scope, page_id, favorites))
        if freshness == "verified":
            try:
                access = await self._read(scope, page_id, known[0].kind if known else "page")
            except (*NOTION_ERRORS, StorageFull):
                if known is None:
                    raise
                return replace(known[0], access="unknown")
            known = await self._cache.read(lambda c: store.entry(c, scope, page_id, favorites))
            if known is not None:
                return replace(known[0], access=access)
        if known is None:
            raise NotFound(
                "No page with that id is known here.",
                hint="Share it with the connection in Notion, then refresh.",
            )
        return known[0]

    async def data_source(self, scope: Scope, data_source_id: str) -> dict[str, Any]:
        """Return the schema of a database from the store, or from Notion (1 call).

        Raises NotFound, or as ``get`` does if Notion cannot be asked.
        """
        stored = await self._cache.read(lambda c: store.data_source(c, scope, data_source_id))
        if stored is None:
            await self._read(scope, data_source_id, "data_source")
            stored = await self._cache.read(lambda c: store.data_source(c, scope, data_source_id))
        if stored is None:
            raise NotFound(
                "No database with that id is shared with this connection. Share it in Notion."
            )
        body, fetched_at = stored
        return {
            **body,
            "workspace_id": scope.workspace_id,
            "fetched_at": rfc3339(fetched_at),
        }

    async def set_favorite(self, scope: Scope, page_id: str, *, on: bool) -> Entry:
        """Set or clear a favourite; durable when it returns. Raises NotFound."""
        before = await self.get(scope, page_id)
        now = self._clock.now()
        await self._outbox.write(lambda c: usage.set_favorite(c, scope, page_id, now, on=on))
        self._announce(scope, [page_id], [])
        return replace(before, favorite=on)

    async def report_use(self, scope: Scope, page_id: str) -> None:
        """Tell clients that the ``used`` view changed; the delivery has recorded the use."""
        if not await self.mark_found(scope, page_id, written=True):
            self._announce(scope, [page_id], [])

    async def mark_found(self, scope: Scope, page_id: str, *, written: bool = False) -> bool:
        """Restore a lost page after Notion answered for it; return whether it was lost."""
        now = self._clock.now()

        def work(c: sqlite3.Connection) -> bool:
            return store.mark_found(c, scope, page_id, now, written=written)

        with contextlib.suppress(*STORE_ERRORS):  # the next look finds it
            known = await self._cache.read(lambda c: store.rows_of(c, scope, [page_id]))
            is_lost = page_id in known and known[page_id]["access"] != "ok"
            if is_lost and await self._cache.write(work):
                self._announce(scope, [page_id], [])
                return True
        return False

    async def title_of(self, scope: Scope, page_id: str) -> str | None:
        """Return the stored title; None for an unknown page or an unreadable cache."""
        try:
            return await self._cache.read(lambda c: store.title_of(c, scope, page_id))
        except STORE_ERRORS:
            return None

    async def kind_of(self, scope: Scope, page_id: str) -> str | None:
        """Return the stored kind; None for an unknown page or an unreadable cache."""
        try:
            return await self._cache.read(lambda c: store.kind_of(c, scope, page_id))
        except STORE_ERRORS:
            return None

    async def index_status(self, scope: Scope) -> IndexStatus:
        """Return how much of the workspace is indexed."""
        return await self._cache.read(lambda c: store.index_status(c, scope))

    async def refresh(self, scope: Scope) -> int:
        """Fetch the changes and return the Notion calls made; concurrent callers share them.

        Raises ReadFailed, BrokerUnreachable, NotSignedIn, ReauthRequired; the stored pages stay.
        """
        return await self._refreshes.join((scope, "refresh"), lambda: self._refresh(scope))

    def poke(self, scope: Scope) -> None:
        """Make ``run`` update the index now, for example after sign-in or back online."""
        self._wake_event(scope).set()

    def report_change(self, scope: Scope, page_id: str) -> None:
        """Make ``run`` update the index after an event of a page, which may be back."""
        self._crawl.shown_lost.add((scope, page_id))
        self.poke(scope)

    async def mark_trashed(self, scope: Scope, page_id: str) -> None:
        """Store that the page is in Notion's trash."""
        now = self._clock.now()
        if await self._cache.write(lambda c: store.mark_lost(c, scope, page_id, "trashed", now)):
            self._announce(scope, [], [page_id])

    async def run(self, scope: Scope) -> None:
        """Update the index, then wait for ``poke``; repeat forever. Never polls."""
        while True:
            self._wake_event(scope).clear()
            await self.catch_up(scope)
            await self._wake_event(scope).wait()

    async def catch_up(self, scope: Scope) -> None:
        """Refresh, continue the fill and fetch missing used pages; retry a few times."""
        for pause_s in (*_RETRY_PAUSES_S, None):
            try:
                before = await self._cache.read(lambda c: store.index_row(c, scope))
                await self.refresh(scope)
                await self._fill(scope)
                was_complete = before.phase == "complete"
                # Not every start asks for a page that was never listed.
                since = (before.refreshed_at or 0.0) if was_complete else 0.0
                await self.find_lost(scope, unread_since=since)
                return
            except STORE_ERRORS:
                return  # the stored pages still serve; the next poke retries
            except NOTION_ERRORS as error:
                wait_s = error.retry_after or pause_s
                if pause_s is None or wait_s is None or not _is_transient(error):
                    return
                await race(self._clock.sleep(wait_s), self._wake_event(scope).wait())
                self._wake_event(scope).clear()

    async def close(self) -> None:
        """Cancel the refreshes in the background."""
        await self._refreshes.close()

    async def _refresh(self, scope: Scope) -> int:
        try:
            return await self._crawl.refresh(scope)
        except NOTION_ERRORS as error:
            await self._crawl.failed(scope, _error_code(error))
            raise

    async def _fill(self, scope: Scope) -> None:
        try:
            await self._crawl.fill(scope)
        except NOTION_ERRORS as error:
            await self._crawl.failed(scope, _error_code(error))
            raise

    async def find_lost(
        self, scope: Scope, *, unread_since: float | None = None, again_s: float = _LOOK_AGAIN_S
    ) -> int:
        """Read lost pages that may be back, and return the calls made.

        They are favourites and used pages that are gone or in the trash and were last checked
        ``again_s`` ago, and pages that search or an event showed meanwhile. With ``unread_since``
        (epoch seconds) also favourites and used pages since then that the store lacks, because
        search is not exhaustive. Raises as ``Notion.send``.
        """
        pairs = await self._outbox.read(lambda c: usage.favorites(c, scope))
        uses = await self._outbox.read(lambda c: usage.uses(c, scope))
        pairs += [(use.page_id, use.last_used_at) for use in uses]
        shown = {page_id for of, page_id in self._crawl.shown_lost if of == scope}
        ids = {**dict(pairs), **dict.fromkeys(shown, 0.0)}
        rows = await self._cache.read(lambda c: store.rows_of(c, scope, ids))
        due = self._clock.now() - again_s
        lost = [
            (row["checked_at"], page_id)
            for page_id, row in rows.items()
            if row["access"] != "ok" and (page_id in shown or row["checked_at"] <= due)
        ]
        self._crawl.shown_lost -= {(scope, page_id) for page_id in shown - {p for _, p in lost}}
        missing = []
        if unread_since is not None:
            missing = [p for p, at in ids.items() if p not in rows and at >= unread_since]
        found = [*missing, *(page_id for _, page_id in sorted(lost))][:_READS_PER_ROUND]
        for page_id in found:
            self._crawl.shown_lost.discard((scope, page_id))
            with contextlib.suppress(ReadFailed):  # one odd page must not hide the others
                await self._read(
                    scope, page_id, rows[page_id]["kind"] if page_id in rows else "page"
                )
        return len(found)

    async def _read(self, scope: Scope, page_id: str, kind: str) -> Access:
        """Read one object from Notion into the store and return its access."""
        noun = {"page": "pages", "data_source": "data_sources", "database": "databases"}[kind]
        reply = await self._notion.send(scope, Call("GET", f"{noun}/{page_id}"))
        now = self._clock.now()
        if reply.status == 404:
            if await self._cache.write(lambda c: store.mark_lost(c, scope, page_id, "gone", now)):
                self._announce(scope, [], [page_id])
            return "gone"
        record = from_notion(reply.body) if reply.ok else None
        if record is None:
            raise ReadFailed(reply, reads=1)
        schema = schema_of(reply.body)

        def work(c: sqlite3.Connection) -> list[str]:
            if schema is not None:
                store.put_data_source(c, scope, schema, now)
            changed = store.upsert(c, scope, [record], now, evidence=True)
            if record.in_trash:
                store.mark_lost(c, scope, page_id, "trashed", now)  # the time of the check
            return changed

        changed = await self._cache.write(work)
        if changed:
            self._announce(scope, changed, changed if record.in_trash else [])
        return "trashed" if record.in_trash else "ok"

    async def _ask_notion(self, scope: Scope, text: str) -> tuple[bool, set[str]]:
        body = msgspec.json.encode({"query": text, "page_size": _REMOTE_SIZE})
        try:
            reply: Reply = await self._notion.send(scope, Call("POST", "search", body=body))
        except NOTION_ERRORS:
            return False, set()
        if not reply.ok or not isinstance(reply.body, dict):
            return False, set()
        things = reply.body.get("results") or []
        records = [r for thing in things if (r := from_notion(thing)) is not None]
        now = self._clock.now()
        with contextlib.suppress(StorageFull):  # the stored data of these pages still serves
            await self._cache.write(lambda c: store.upsert(c, scope, records, now))
        kinds = {record.id: record.kind for record in records}
        lost = await self._cache.read(lambda c: store.lost(c, scope, records))
        for page_id in lost[:_LOST_PER_SEARCH]:  # search lags, so only a read tells
            with contextlib.suppress(*NOTION_ERRORS, StorageFull):
                await self._read(scope, page_id, kinds[page_id])
        return True, {record.id for record in records}

    async def _favorites(self, scope: Scope) -> frozenset[str]:
        pairs = await self._outbox.read(lambda c: usage.favorites(c, scope))
        return frozenset(page_id for page_id, _ in pairs)

    async def _sorted(
        self, scope: Scope, view: View, kind: str, after: Cursor | None, limit: int
    ) -> tuple[_Rows, frozenset[str]]:
        ordered = store.recent if view == "recent" else store.by_title
        rows = await self._cache.read(lambda c: ordered(c, scope, kind, after, limit + 1))
        return [(row["sort_key"], row) for row in rows], await self._favorites(scope)

    async def _marked(
        self, scope: Scope, view: View, kind: str, after: Cursor | None, limit: int
    ) -> tuple[_Rows, frozenset[str]]:
        """List favourites or used pages: their order is in outbox.db, the pages in cache.db."""
        pairs = await self._outbox.read(lambda c: usage.favorites(c, scope))
        favorites = frozenset(page_id for page_id, _ in pairs)
        if view == "used":
            uses = await self._outbox.read(lambda c: usage.uses(c, scope))
            pairs = [(use.page_id, use.last_used_at) for use in uses]
        if after is not None:
            if isinstance(after.key, str):
                raise CursorInvalid("That cursor belongs to another view. Start without one.")
            start = (after.key, after.page_id)
            pairs = [(page_id, at) for page_id, at in pairs if (at, page_id) < start]
        known = await self._cache.read(lambda c: store.rows_of(c, scope, _ids(pairs)))
        rows: _Rows = [
            (at, known[page_id])
            for page_id, at in pairs
            if page_id in known
            and known[page_id]["access"] != "gone"
            and _is_kind(known[page_id], kind)
        ]
        return rows[: limit + 1], favorites

    def _wake_event(self, scope: Scope) -> asyncio.Event:
        return self._wake_events.setdefault(scope, asyncio.Event())

    def _announce(self, scope: Scope, ids: Iterable[str], removed: Iterable[str]) -> None:
        data = {"workspace_id": scope.workspace_id, "ids": [*ids], "removed": [*removed]}
        self._publish("pages", data, scope.user_id)


_Rows = list[tuple[float | str, sqlite3.Row]]


def _habits(connection: sqlite3.Connection, scope: Scope) -> search.Habits:
    favorites = frozenset(page_id for page_id, _ in usage.favorites(connection, scope))
    return search.Habits(favorites, {use.page_id: use for use in usage.uses(connection, scope)})


def _ids(pairs: Iterable[tuple[str, float]]) -> list[str]:
    return [page_id for page_id, _ in pairs]


def _is_kind(row: sqlite3.Row, kind: str) -> bool:
    """Search returns databases as data sources since 2025-09-03, so ``database`` covers both."""
    return kind in ("", row["kind"]) or (kind == "database" and row["kind"] == "data_source")


def _is_transient(error: ClipperdError) -> bool:
    """Return whether a retry may succeed; a lost session needs the user."""
    if isinstance(error, ReadFailed):
        return bool(error.reply.is_transient)
    return isinstance(error, BrokerUnreachable)


def _error_code(error: ClipperdError) -> str:
    if isinstance(error, ReadFailed):
        return str(error.reply.broker_code or error.reply.code or f"http_{error.reply.status}")
    return error.code
