"""From the place a person asked for to the place of one append request, in the fewest calls.

A section's end is known from the store, but others may have moved it. So it is written after
without a look only when it was true seconds ago (a listing, or our own write); otherwise it costs
one read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from msgspec.structs import replace

from clipperd.clock import Clock
from clipperd.errors import PageGone, PageTrashed, PlaceGone, StorageFull
from clipperd.model import Block, InsertionPoint, Position, Scope
from clipperd.notion.port import Notion
from clipperd.outline import sections, store
from clipperd.outline.heading_lookup import HeadingLookup, Task, locate
from clipperd.outline.outlines import Outlines
from clipperd.outline.reading import Reader
from clipperd.outline.section_ends import SectionEnds
from clipperd.outline.tree import UNKNOWN, Node, Tree, to_node
from clipperd.storage.database import Store

NEVER = float("-inf")
_REPLACEABLE = frozenset({"heading_gone", "block_gone"})  # what if_gone=end_of_page answers


class PositionResolver:
    """Resolves positions and learns from every write where sections end."""

    def __init__(
        self,
        outlines: Outlines,
        notion: Notion,
        cache: Store,
        clock: Clock,
        trust_s: float = 5.0,
    ) -> None:
        """``trust_s``: seconds for which a section end that was true needs no look."""
        self._outlines = outlines
        self._notion = notion
        self._cache = cache
        self._clock = clock
        self._vouching = outlines.vouching
        self._trust = SectionEnds(clock, trust_s, self._vouching.covers)
        self._finder = HeadingLookup(outlines, cache)
        self._doubts: set[tuple[Scope, str, str]] = set()  # block or page ids Notion refused

    async def resolve(self, scope: Scope, page_id: str, position: Position) -> InsertionPoint:
        """Where an append must go to be at ``position``; ``reads`` says what that cost.

        Raises PlaceGone (a person decides), ReadFailed, BrokerUnreachable, NotSignedIn,
        ReauthRequired.
        """
        reader = Reader(self._notion, self._clock, scope)
        task = Task(scope, page_id, position, reader)
        try:
            if self._is_doubted(task, page_id):
                await reader.page(page_id)
                self._settle(task, page_id)
            place = await self._resolve(task)
        except PageGone as error:
            raise PlaceGone("page_gone", reads=reader.calls) from error
        except PageTrashed as error:
            raise PlaceGone("page_trashed", reads=reader.calls) from error
        except PlaceGone as gone:
            if position.if_gone != "end_of_page" or gone.reason not in _REPLACEABLE:
                raise PlaceGone(gone.reason, reads=reader.calls) from gone
            place = InsertionPoint(parent_id=page_id, fell_back=gone.reason)
        return replace(place, reads=reader.calls)

    async def wrote(
        self,
        scope: Scope,
        page_id: str,
        place: InsertionPoint,
        created_ids: Sequence[str],
        last_first_level_id: str,
        blocks: Sequence[Block] = (),
    ) -> None:
        """Take a confirmed append into the outline and move the section ends that it moved.

        ``blocks`` are the request's children: with them the outline knows the types and headings
        among what was created; without them the ids alone, until it is read again.
        """
        if len(blocks) == len(created_ids):
            nodes = [to_node(b, i) for b, i in zip(blocks, created_ids, strict=True)]
        else:
            nodes = [Node(block_id, UNKNOWN) for block_id in created_ids]

        self._vouching.wrote((scope, page_id))

        def work(c: sqlite3.Connection) -> tuple[str | None, Tree | None]:
            snapshot = store.load(c, scope, page_id)
            if snapshot is None:
                return place.after, None
            before = snapshot.tree.lists.get(place.parent_id, ())
            after = place.after
            if after is None and place.edge == "end" and before:
                after = before[-1].id
            tree = snapshot.tree.inserted(place.parent_id, place.after, place.edge, nodes)
            store.save(c, scope, page_id, replace(snapshot, tree=tree or snapshot.tree, moved=True))
            return after, tree

        try:
            after, tree = await self._cache.write(work)
        except (StorageFull, sqlite3.Error):
            self._distrust(scope, page_id)
            return
        if tree is None or len(blocks) != len(created_ids):
            self._vouching.unsure((scope, page_id))

        def end_of(heading_id: str) -> str:
            found = None if tree is None else locate(tree, heading_id)
            if tree is None or found is None or found.node.toggleable:
                return last_first_level_id
            end = sections.section_end(tree, found.parent_id, found.position)
            return end or last_first_level_id

        if after is not None:
            self._trust.advance(scope, page_id, after, end_of, edge=place.after is None)
        elif place.edge == "end":
            self._trust.forget_children(scope, page_id, place.parent_id)

    async def refused(self, scope: Scope, page_id: str, place: InsertionPoint) -> None:
        """Notion says the place is not there: trust nothing of the page, look at the next try."""
        self._distrust(scope, page_id)
        self._doubts.add((scope, page_id, place.after or place.parent_id))

    async def undone(self, scope: Scope, page_id: str, removed_ids: Sequence[str]) -> None:
        """Blocks of ours were removed: section ends go back to what stands before them."""
        self._vouching.wrote((scope, page_id))
        await self._moved(scope, page_id, removed_ids)
        self._trust.forget(scope, page_id, set(removed_ids))

    async def touched(self, scope: Scope, page_id: str) -> None:
        """Something else of ours changed the page: its stamp and its section ends mean nothing."""
        self._vouching.wrote((scope, page_id))
        self._distrust(scope, page_id)
        await self._moved(scope, page_id, ())

    def doubt(self, scope: Scope, page_id: str) -> None:
        """Somebody else changed the page: its outline and section ends are to be looked at."""
        self._outlines.doubt(scope, page_id)
        self._trust.forget(scope, page_id)

    async def _moved(self, scope: Scope, page_id: str, removed_ids: Sequence[str]) -> None:
        def work(c: sqlite3.Connection) -> None:
            snapshot = store.load(c, scope, page_id)
            if snapshot is not None:
                tree = snapshot.tree.without(removed_ids)
                store.save(c, scope, page_id, replace(snapshot, tree=tree, moved=True))

        try:
            await self._cache.write(work)
        except (StorageFull, sqlite3.Error):
            self._distrust(scope, page_id)

    def _distrust(self, scope: Scope, page_id: str) -> None:
        """What is stored of the page is behind, or may be: look before anything is believed."""
        self._trust.forget(scope, page_id)
        self._vouching.unsure((scope, page_id))

    async def _resolve(self, task: Task) -> InsertionPoint:
        match task.position.type:
            case "end":
                return InsertionPoint(parent_id=task.page_id)
            case "start":
                return InsertionPoint(parent_id=task.page_id, edge="start")
            case "inside":
                return await self._inside(task)
            case "after_block":
                return await self._after_block(task)
            case "after_heading":
                return await self._after_heading(task)
            case "end_of_section":
                return await self._end_of_section(task)

    async def _inside(self, task: Task) -> InsertionPoint:
        block_id = _block_id(task.position)
        if self._is_doubted(task, block_id):
            await self._ask_block(task, block_id)
        snapshot = await self._outlines.stored(task.scope, task.page_id)
        found = None if snapshot is None else locate(snapshot.tree, block_id)
        return InsertionPoint(parent_id=block_id, level=found.node.level if found else 0)

    async def _after_block(self, task: Task) -> InsertionPoint:
        block_id = _block_id(task.position)
        if self._is_doubted(task, block_id):
            return InsertionPoint(parent_id=await self._ask_block(task, block_id), after=block_id)
        snapshot = await self._outlines.stored(task.scope, task.page_id)
        known = None if snapshot is None else snapshot.tree.find(block_id)
        return InsertionPoint(parent_id=known[0] if known else task.page_id, after=block_id)

    async def _ask_block(self, task: Task, block_id: str) -> str:
        """Read one block and return its parent's id; the page tells why a block is gone."""
        block = await task.reader.block(block_id)
        if block is None:
            await task.reader.page(task.page_id)
            raise PlaceGone("block_gone")
        self._settle(task, block_id)
        parent = block.get("parent") or {}
        if parent.get("page_id", task.page_id) != task.page_id:
            raise PlaceGone("block_gone")  # moved to another page
        return str(parent.get("block_id") or task.page_id)

    async def _after_heading(self, task: Task) -> InsertionPoint:
        found = await self._finder.heading(task)
        if found.end is None and self._is_doubted(task, found.node.id):
            found = await self._finder.confirm(task, found)
        self._settle(task, found.node.id)
        level = found.node.level
        if found.node.toggleable:
            return InsertionPoint(parent_id=found.node.id, edge="start", level=level)
        return InsertionPoint(parent_id=found.parent_id, after=found.node.id, level=level)

    async def _end_of_section(self, task: Task) -> InsertionPoint:
        page, began = (task.scope, task.page_id), self._clock.boot()
        found = await self._finder.heading(task)
        heading_id, doubted = found.node.id, self._is_doubted(task, found.node.id)
        if found.end is None and not found.node.toggleable and not doubted:
            place = await self._unseen_end(task, found.node)
            if place is not None:
                return place
        if found.end is None and (doubted or not found.node.toggleable):
            found = await self._finder.confirm(task, found)
        self._settle(task, heading_id)
        if found.node.toggleable:
            return InsertionPoint(parent_id=heading_id, level=found.node.level)
        assert found.end is not None, "a plain heading that was just seen has an end"
        seen_at = began if self._vouching.is_unchanged(page, began) else NEVER
        parent_id = found.parent_id
        self._trust.vouch(*page, heading_id, parent_id, found.end, seen_at=seen_at)
        return InsertionPoint(found.parent_id, after=found.end, level=found.node.level)

    async def _unseen_end(self, task: Task, heading: Node) -> InsertionPoint | None:
        """The end of the heading's section where no look is needed, else None."""
        snapshot = await self._outlines.stored(task.scope, task.page_id)
        seen = None if snapshot is None else locate(snapshot.tree, heading.id)
        end, siblings = None, frozenset[str]()
        if snapshot is not None and seen is not None:
            end = sections.section_end(snapshot.tree, seen.parent_id, seen.position)
            siblings = frozenset(node.id for node in snapshot.tree.lists[seen.parent_id])
            if end is not None and self._vouching.holds((task.scope, task.page_id)):
                return InsertionPoint(seen.parent_id, after=end, level=seen.node.level)
        known = self._trust.anchor(task.scope, task.page_id, heading.id)
        if known is None or (known.anchor in siblings and known.anchor != end):
            return None  # a look at another section has shown more behind it
        return InsertionPoint(known.parent_id, after=known.anchor, level=heading.level)

    def _is_doubted(self, task: Task, block_id: str) -> bool:
        return (task.scope, task.page_id, block_id) in self._doubts

    def _settle(self, task: Task, block_id: str) -> None:
        self._doubts.discard((task.scope, task.page_id, block_id))


def _block_id(position: Position) -> str:
    assert position.block_id is not None, "checked when the clip was accepted"
    return position.block_id
