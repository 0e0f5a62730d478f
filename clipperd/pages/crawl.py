"""Crawls Notion's search for pages: recent ones first, the rest in the background, then new ones.

Search is not exhaustive and lags (developers.notion.com/reference/search-optimizations-and-
limitations), so a page missing from its results does not count as removed.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from clipperd.broker.reply import Reply
from clipperd.clock import Clock, from_rfc3339
from clipperd.errors import ReadFailed
from clipperd.model import Scope
from clipperd.notion.port import Call, Notion
from clipperd.pages import store
from clipperd.pages.entries import Record, from_notion, schema_of
from clipperd.pages.store import IndexRow
from clipperd.storage.database import Store


class Publish(Protocol):
    """Publishes an event: its type, its data and its user."""

    def __call__(self, type_: str, data: dict[str, Any], user_id: str | None, /) -> None:
        """Return immediately."""


RECENTS = 20  # pages, enough for the first screen
PAGE_SIZE = 100  # results, Notion's maximum (developers.notion.com/reference/intro#pagination)
OVERLAP_S = 120.0  # seconds; times are rounded down to the minute, and search lags


class SearchResults(msgspec.Struct, frozen=True):
    """The results of one search call."""

    records: list[Record] = msgspec.field(default_factory=list)
    schemas: list[dict[str, Any]] = msgspec.field(default_factory=list)


class Crawl:
    """Brings the stored index of a workspace up to date, one search call at a time."""

    def __init__(
        self,
        cache: Store,
        notion: Notion,
        clock: Clock,
        publish: Publish,
        fill_pause_s: float,
    ) -> None:
        """``fill_pause_s``: seconds between two calls of the background fill."""
        self._cache = cache
        self._notion = notion
        self._clock = clock
        self._publish = publish
        self._fill_pause_s = fill_pause_s
        self.shown_lost: set[tuple[Scope, str]] = set()
        """Pages that search or an event showed although they may be stored as gone or trashed."""

    async def refresh(self, scope: Scope) -> int:
        """Fetch the recent pages the first time, later the changes; return the calls made.

        Raises ReadFailed, BrokerUnreachable, NotSignedIn, ReauthRequired.
        """
        row = await self._cache.read(lambda c: store.index_row(c, scope))
        if row.phase == "never":
            return await self._recents(scope)
        return await self._catch_up(scope, row)

    async def fill(self, scope: Scope) -> int:
        """Fetch the other pages from the stored cursor on, with pauses; return the calls made.

        Raises as ``refresh`` does; the next fill continues from the stored cursor.
        """
        calls = 0
        row = await self._cache.read(lambda c: store.index_row(c, scope))
        while row.phase in ("recents", "filling"):
            if calls:
                await self._clock.sleep(self._fill_pause_s)
            calls += 1
            reply = await self._search(scope, PAGE_SIZE, row.cursor)
            if reply.status == 400 and row.cursor is not None:
                row = await self._store(
                    scope, SearchResults(), {"phase": "filling", "cursor": None}
                )
                continue  # the cursor has expired: start over, keeping the stored pages
            found, cursor = _results(reply, calls)
            phase = "complete" if cursor is None else "filling"
            row = await self._store(scope, found, {"phase": phase, "cursor": cursor})
        return calls

    async def failed(self, scope: Scope, code: str) -> None:
        """Store the error code of a failed crawl; the pages stay."""
        await self._store(scope, SearchResults(), {"error": code})

    async def _recents(self, scope: Scope) -> int:
        found, cursor = _results(await self._search(scope, RECENTS, None), 1)
        phase = "complete" if cursor is None else "recents"
        await self._store(scope, found, self._refreshed(found.records, None, phase, cursor))
        return 1

    async def _catch_up(self, scope: Scope, row: IndexRow) -> int:
        """Fetch from the newest page to the first one that is older than all stored changes."""
        known_until = from_rfc3339(row.newest) - OVERLAP_S if row.newest else float("-inf")
        newest: list[Record] = []
        cursor: str | None = None
        calls = 0
        while True:
            calls += 1
            found, cursor = _results(await self._search(scope, PAGE_SIZE, cursor), calls)
            newest = newest or found.records[:1]
            is_known = any(from_rfc3339(r.last_edited_time) < known_until for r in found.records)
            if is_known or cursor is None:
                break
            await self._store(scope, found, {})
            await self._clock.sleep(self._fill_pause_s)
        is_whole = cursor is None  # this walk fetched every page
        phase = "complete" if is_whole else row.phase
        fill_cursor = None if is_whole else row.cursor
        await self._store(scope, found, self._refreshed(newest, row.newest, phase, fill_cursor))
        return calls

    def _refreshed(
        self, newest: list[Record], known: str | None, phase: str, cursor: str | None
    ) -> dict[str, Any]:
        stamps = [r.last_edited_time for r in newest[:1]] + ([known] if known else [])
        return {
            "phase": phase,
            "cursor": cursor,
            "newest": max(stamps, default=None),
            "refreshed_at": self._clock.now(),
        }

    async def _search(self, scope: Scope, size: int, cursor: str | None) -> Reply:
        body: dict[str, Any] = {
            "sort": {"timestamp": "last_edited_time", "direction": "descending"},
            "page_size": size,
        }
        if cursor is not None:
            body["start_cursor"] = cursor
        return await self._notion.send(
            scope, Call("POST", "search", body=msgspec.json.encode(body))
        )

    async def _store(
        self, scope: Scope, found: SearchResults, progress: dict[str, Any]
    ) -> IndexRow:
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> tuple[IndexRow, list[str], bool, list[str]]:
            changed = store.upsert(connection, scope, found.records, now)
            for schema in found.schemas:
                store.put_data_source(connection, scope, schema, now)
            before = store.index_row(connection, scope)
            after = replace(before, **{"error": None, **progress})
            store.put_index_row(connection, scope, after)
            is_new_state = (before.phase, before.error) != (after.phase, after.error)
            return after, changed, is_new_state, store.lost(connection, scope, found.records)

        row, changed, is_new_state, lost = await self._cache.write(work)
        self.shown_lost.update((scope, page_id) for page_id in lost)
        if changed or is_new_state:
            data = {"workspace_id": scope.workspace_id, "ids": changed, "removed": []}
            self._publish("pages", data, scope.user_id)
        return row


def _results(reply: Reply, calls: int) -> tuple[SearchResults, str | None]:
    if not reply.ok or not isinstance(reply.body, dict):
        raise ReadFailed(reply, reads=calls)
    found = SearchResults()
    for thing in reply.body.get("results") or []:
        if (record := from_notion(thing)) is not None:
            found.records.append(record)
        if (schema := schema_of(thing)) is not None:
            found.schemas.append(schema)
    cursor = reply.body.get("next_cursor") if reply.body.get("has_more") else None
    return found, cursor if isinstance(cursor, str) else None
