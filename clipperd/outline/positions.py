"""Resolves a requested position to the insertion point of one append, in the fewest calls.

Other clients may have moved a stored section end. Without another read it is used only if it was
read or written seconds ago, or the event stream shows that it is unchanged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from msgspec.structs import replace

from clipperd.clock import Clock
from clipperd.errors import PageGone, PageTrashed, PlaceGone
from clipperd.model import Block, InsertionPoint, Position, Scope
from clipperd.notion.port import Notion
from clipperd.outline import sections, store
from clipperd.outline.heading_lookup import HeadingLookup, PositionQuery, locate
from clipperd.outline.outlines import Outlines
from clipperd.outline.reading import Reader
from clipperd.outline.section_ends import SectionEnds
from clipperd.outline.tree import UNKNOWN, Node, Tree, to_node
from clipperd.settings.config import DEFAULTS
from clipperd.storage.database import STORE_ERRORS, Store

NEVER = float("-inf")
_REPLACEABLE = frozenset({"heading_gone", "block_gone"})  # if_gone=end_of_page covers these


class PositionResolver:
    """Resolves positions, and updates the section ends after every write."""

    def __init__(
        self,
        outlines: Outlines,
        notion: Notion,
        cache: Store,
        clock: Clock,
        trust_s: float = DEFAULTS.anchor_trust_s,
    ) -> None:
        """``trust_s``: seconds for which a section end needs no further read."""
        self._outlines = outlines
        self._notion = notion
        self._cache = cache
        self._clock = clock
        self._freshness = outlines.freshness
        self._section_ends = SectionEnds(clock, trust_s, self._freshness.covers)
        self._headings = HeadingLookup(outlines, cache)
        self._suspects: set[tuple[Scope, str, str]] = set()  # ids that Notion refused

    async def resolve(self, scope: Scope, page_id: str, position: Position) -> InsertionPoint:
        """Return the insertion point for ``position``, with the calls it took in ``reads``.

        Raises PlaceGone (the user decides), ReadFailed, BrokerUnreachable, NotSignedIn,
        ReauthRequired.
        """
        reader = Reader(self._notion, self._clock, scope)
        query = PositionQuery(scope, page_id, position, reader)
        try:
            if self._is_suspect(query, page_id):
                await reader.page(page_id)
                self._clear(query, page_id)
            place = await self._resolve(query)
        except PageGone as error:
            raise PlaceGone("page_gone", reads=reader.calls) from error
        except PageTrashed as error:
            raise PlaceGone("page_trashed", reads=reader.calls) from error
        except PlaceGone as gone:
            if position.if_gone != "end_of_page" or gone.reason not in _REPLACEABLE:
                raise PlaceGone(gone.reason, reads=reader.calls) from gone
            place = InsertionPoint(parent_id=page_id, fell_back=gone.reason)
        return replace(place, reads=reader.calls)

    async def record_append(
        self,
        scope: Scope,
        page_id: str,
        place: InsertionPoint,
        created_ids: Sequence[str],
        last_first_level_id: str,
        blocks: Sequence[Block] = (),
    ) -> None:
        """Add a confirmed append to the outline and update the section ends that it moved.

        ``blocks``: the children of the request. Without them the outline has the new ids only, and
        no types or headings, until the next read.
        """
        if len(blocks) == len(created_ids):
            nodes = [to_node(b, i) for b, i in zip(blocks, created_ids, strict=True)]
        else:
            nodes = [Node(block_id, UNKNOWN) for block_id in created_ids]

        self._freshness.record_write((scope, page_id))

        def work(c: sqlite3.Connection) -> tuple[str | None, Tree | None]:
            snapshot = store.load(c, scope, page_id)
            if snapshot is None:
                return place.after, None
            before = snapshot.tree.lists.get(place.parent_id, ())
            after = place.after
            if after is None and place.edge == "end" and before:
                after = before[-1].id
            tree = snapshot.tree.inserted(place.parent_id, place.after, place.edge, nodes)
            store.save(
                c, scope, page_id, replace(snapshot, tree=tree or snapshot.tree, changed_by_us=True)
            )
            return after, tree

        try:
            after, tree = await self._cache.write(work)
        except STORE_ERRORS:
            self._invalidate(scope, page_id)
            return
        if tree is None or len(blocks) != len(created_ids):
            self._freshness.invalidate((scope, page_id))

        def end_of(heading_id: str) -> str:
            found = None if tree is None else locate(tree, heading_id)
            if tree is None or found is None or found.node.toggleable:
                return last_first_level_id
            end = sections.section_end(tree, found.parent_id, found.position)
            return end or last_first_level_id

        if after is not None:
            self._section_ends.advance(scope, page_id, after, end_of, edge=place.after is None)
        elif place.edge == "end":
            self._section_ends.forget_children(scope, page_id, place.parent_id)

    async def record_refusal(self, scope: Scope, page_id: str, place: InsertionPoint) -> None:
        """Note that Notion refused the insertion point: the next try reads the page."""
        self._invalidate(scope, page_id)
        self._suspects.add((scope, page_id, place.after or place.parent_id))

    async def record_removal(self, scope: Scope, page_id: str, removed_ids: Sequence[str]) -> None:
        """Remove our deleted blocks from the outline and forget the section ends at them."""
        self._freshness.record_write((scope, page_id))
        await self._store_removal(scope, page_id, removed_ids)
        self._section_ends.forget(scope, page_id, set(removed_ids))

    async def record_change(self, scope: Scope, page_id: str) -> None:
        """Note another change of our own: the page's stamp and section ends are outdated."""
        self._freshness.record_write((scope, page_id))
        self._invalidate(scope, page_id)
        await self._store_removal(scope, page_id, ())

    def mark_changed(self, scope: Scope, page_id: str) -> None:
        """Note a change by another client: the next use reads the outline and section ends."""
        self._outlines.mark_changed(scope, page_id)
        self._section_ends.forget(scope, page_id)

    async def _store_removal(self, scope: Scope, page_id: str, removed_ids: Sequence[str]) -> None:
        def work(c: sqlite3.Connection) -> None:
            snapshot = store.load(c, scope, page_id)
            if snapshot is not None:
                tree = snapshot.tree.without(removed_ids)
                store.save(c, scope, page_id, replace(snapshot, tree=tree, changed_by_us=True))

        try:
            await self._cache.write(work)
        except STORE_ERRORS:
            self._invalidate(scope, page_id)

    def _invalidate(self, scope: Scope, page_id: str) -> None:
        """Require a read before the stored outline and section ends are used again."""
        self._section_ends.forget(scope, page_id)
        self._freshness.invalidate((scope, page_id))

    async def _resolve(self, query: PositionQuery) -> InsertionPoint:
        match query.position.type:
            case "end":
                return InsertionPoint(parent_id=query.page_id)
            case "start":
                return InsertionPoint(parent_id=query.page_id, edge="start")
            case "inside":
                return await self._inside(query)
            case "after_block":
                return await self._after_block(query)
            case "after_heading":
                return await self._after_heading(query)
            case "end_of_section":
                return await self._end_of_section(query)

    async def _inside(self, query: PositionQuery) -> InsertionPoint:
        block_id = _block_id(query.position)
        if self._is_suspect(query, block_id):
            await self._read_parent(query, block_id)
        snapshot = await self._outlines.stored(query.scope, query.page_id)
        found = None if snapshot is None else locate(snapshot.tree, block_id)
        return InsertionPoint(parent_id=block_id, level=found.node.level if found else 0)

    async def _after_block(self, query: PositionQuery) -> InsertionPoint:
        block_id = _block_id(query.position)
        if self._is_suspect(query, block_id):
            return InsertionPoint(
                parent_id=await self._read_parent(query, block_id), after=block_id
            )
        snapshot = await self._outlines.stored(query.scope, query.page_id)
        known = None if snapshot is None else snapshot.tree.find(block_id)
        return InsertionPoint(parent_id=known[0] if known else query.page_id, after=block_id)

    async def _read_parent(self, query: PositionQuery, block_id: str) -> str:
        """Read the block and return its parent's id. Raises PageGone, PageTrashed, PlaceGone."""
        block = await query.reader.block(block_id)
        if block is None:
            await query.reader.page(query.page_id)
            raise PlaceGone("block_gone")
        self._clear(query, block_id)
        parent = block.get("parent") or {}
        if parent.get("page_id", query.page_id) != query.page_id:
            raise PlaceGone("block_gone")  # moved to another page
        return str(parent.get("block_id") or query.page_id)

    async def _after_heading(self, query: PositionQuery) -> InsertionPoint:
        found = await self._headings.heading(query)
        if found.end is None and self._is_suspect(query, found.node.id):
            found = await self._headings.confirm(query, found)
        self._clear(query, found.node.id)
        level = found.node.level
        if found.node.toggleable:
            return InsertionPoint(parent_id=found.node.id, edge="start", level=level)
        return InsertionPoint(parent_id=found.parent_id, after=found.node.id, level=level)

    async def _end_of_section(self, query: PositionQuery) -> InsertionPoint:
        page, began = (query.scope, query.page_id), self._clock.boot()
        found = await self._headings.heading(query)
        heading_id, is_suspect = found.node.id, self._is_suspect(query, found.node.id)
        if found.end is None and not found.node.toggleable and not is_suspect:
            place = await self._fresh_end(query, found.node)
            if place is not None:
                return place
        if found.end is None and (is_suspect or not found.node.toggleable):
            found = await self._headings.confirm(query, found)
        self._clear(query, heading_id)
        if found.node.toggleable:
            return InsertionPoint(parent_id=heading_id, level=found.node.level)
        assert found.end is not None, "a plain heading that was just read has an end"
        seen_at = began if self._freshness.is_unchanged(page, began) else NEVER
        parent_id = found.parent_id
        self._section_ends.record(*page, heading_id, parent_id, found.end, seen_at=seen_at)
        return InsertionPoint(found.parent_id, after=found.end, level=found.node.level)

    async def _fresh_end(self, query: PositionQuery, heading: Node) -> InsertionPoint | None:
        """Return the end of the heading's section if no read is needed, else None."""
        snapshot = await self._outlines.stored(query.scope, query.page_id)
        seen = None if snapshot is None else locate(snapshot.tree, heading.id)
        end, siblings = None, frozenset[str]()
        if snapshot is not None and seen is not None:
            end = sections.section_end(snapshot.tree, seen.parent_id, seen.position)
            siblings = frozenset(node.id for node in snapshot.tree.lists[seen.parent_id])
            if end is not None and self._freshness.is_fresh((query.scope, query.page_id)):
                return InsertionPoint(seen.parent_id, after=end, level=seen.node.level)
        known = self._section_ends.fresh(query.scope, query.page_id, heading.id)
        if known is None or (known.anchor in siblings and known.anchor != end):
            return None  # a later read of another section showed more blocks
        return InsertionPoint(known.parent_id, after=known.anchor, level=heading.level)

    def _is_suspect(self, query: PositionQuery, block_id: str) -> bool:
        return (query.scope, query.page_id, block_id) in self._suspects

    def _clear(self, query: PositionQuery, block_id: str) -> None:
        self._suspects.discard((query.scope, query.page_id, block_id))


def _block_id(position: Position) -> str:
    assert position.block_id is not None, "checked when the clip was accepted"
    return position.block_id
