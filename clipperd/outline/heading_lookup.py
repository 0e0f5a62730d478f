"""Finds a heading and the current end of its section, in the fewest reads.

If the section fits one response (100 blocks), the read starts at the heading: the same single call
then also shows that the heading is gone or changed, and new headings in the section. In a longer
section it starts at the stored end. A heading that has moved is read by its id, which costs the
same on a page of any length.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec.structs import replace

from clipperd.errors import PlaceGone, ReadFailed
from clipperd.model import Position, Scope
from clipperd.outline import sections, store
from clipperd.outline.outlines import Outlines
from clipperd.outline.reading import Reader
from clipperd.outline.tree import Node, Tree, to_node
from clipperd.storage.database import STORE_ERRORS, Store

_DEEPEST = 8  # enclosing containers to read per heading; Notion nests without limit
_NEAR = 90  # blocks; a section of this length and a few new blocks fit one response of 100


class PositionQuery(msgspec.Struct, frozen=True):
    """A position to resolve on a page, and the reader that counts the calls."""

    scope: Scope
    page_id: str
    position: Position
    reader: Reader


class LocatedHeading(msgspec.Struct, frozen=True):
    """A heading among its siblings. ``end``: the last block of its section, if just read."""

    parent_id: str
    position: int
    node: Node
    end: str | None = None


class HeadingLookup:
    """Looks up headings in the stored outlines and confirms their sections at Notion."""

    def __init__(self, outlines: Outlines, cache: Store) -> None:
        """``cache`` holds the outlines, which every read updates."""
        self._outlines = outlines
        self._cache = cache

    async def heading(self, query: PositionQuery) -> LocatedHeading:
        """Return the heading of the position: an id from the store, a text from a verified outline.

        Raises PlaceGone (heading_gone, heading_ambiguous), PageGone, PageTrashed, ReadFailed,
        BrokerUnreachable.
        """
        if query.position.heading_id is None:
            return await self._by_text(query)
        snapshot = await self._outlines.stored(query.scope, query.page_id)
        if snapshot is None:
            return await self._from_top(query, query.position.heading_id)
        found = locate(snapshot.tree, query.position.heading_id)
        return found or await self._elsewhere(query, query.position.heading_id)

    async def confirm(self, query: PositionQuery, found: LocatedHeading) -> LocatedHeading:
        """Read the section from the heading or its stored end; if that fails, read the heading."""
        snapshot = await self._outlines.stored(query.scope, query.page_id)
        siblings = snapshot.tree.lists.get(found.parent_id, ()) if snapshot else ()
        starts = [found.node.id]
        if found.position < len(siblings) and siblings[found.position].id == found.node.id:
            last = sections.last_of_section(siblings, found.position)
            if last - found.position >= _NEAR:
                starts.insert(0, siblings[last].id)
        for start in starts:
            fresh = await self._run_from(query, found, start)
            if fresh is not None:
                return fresh
        return await self._elsewhere(query, found.node.id)

    async def _by_text(self, query: PositionQuery) -> LocatedHeading:
        snapshot, calls = await self._outlines.current(query.scope, query.page_id)
        query.reader.calls += calls
        matches = sections.named(
            sections.headings(snapshot.tree),
            query.position.heading_text or "",
            query.position.heading_path,
        )
        if len(matches) != 1:
            raise PlaceGone("heading_ambiguous" if matches else "heading_gone")
        return _seen(snapshot.tree, matches[0].id)

    async def _from_top(self, query: PositionQuery, heading_id: str) -> LocatedHeading:
        snapshot = await self._outlines.reread(
            query.scope, query.page_id, query.reader, wanted=heading_id
        )
        if locate(snapshot.tree, heading_id) is None:
            return await self._elsewhere(query, heading_id)
        return _seen(snapshot.tree, heading_id)

    async def _elsewhere(self, query: PositionQuery, heading_id: str) -> LocatedHeading:
        """Read the heading by its id, then its section at its current place."""
        block = await query.reader.block(heading_id)
        node = None if block is None else to_node(block)
        parent_id = None if block is None else await self._parent_on_page(query, block)
        if node is not None and node.level and parent_id is not None:
            fresh = await self._run_from(query, LocatedHeading(parent_id, 0, node), heading_id)
            if fresh is not None:
                return fresh
        await self._outlines.require(query.scope, query.page_id, query.reader)
        raise PlaceGone("heading_gone")

    async def _parent_on_page(self, query: PositionQuery, block: Mapping[str, Any]) -> str | None:
        """Return the id of the block's parent; None on another page or too deep to decide."""
        snapshot = await self._outlines.stored(query.scope, query.page_id)
        parent_id = above = _parent_of(block)
        for _ in range(_DEEPEST):
            if above == query.page_id:
                return parent_id
            if above is None or "page_id" in block["parent"]:
                return None
            if snapshot is not None and snapshot.tree.find(above) is not None:
                return parent_id
            container = await query.reader.block(above)
            if container is None:
                return None
            block, above = container, _parent_of(container)
        return None

    async def _run_from(
        self, query: PositionQuery, found: LocatedHeading, start: str
    ) -> LocatedHeading | None:
        """Read siblings from ``start`` to the section's end; None if the result is not reliable.

        Raises PlaceGone if ``start`` is the heading and is not a heading any more.
        """
        run: list[Node] = []
        level = found.node.level
        to_end = False
        try:
            async with aclosing(query.reader.children(found.parent_id, start)) as parts:
                async for part in parts:
                    run.extend(to_node(block) for block in part.blocks)
                    if not run or run[0].id != start:
                        return None  # Notion read the cursor as another place
                    if start == found.node.id:
                        level = run[0].level
                    to_end = not part.has_more
                    if not level or run[0].toggleable:
                        break  # not a heading, or its section is its children
                    if any(sections.ends_section(node, level) for node in run[1:]):
                        break
        except ReadFailed as error:
            if error.reply.status not in (400, 404):
                raise
            return None
        if start != found.node.id and sections.ends_section(run[0], level):
            return None  # the stored end is a heading now
        await self._splice(query, found.parent_id, run, to_end=to_end)
        if not level:
            raise PlaceGone("heading_gone")
        stop = next(
            (i for i, node in enumerate(run) if i and sections.ends_section(node, level)), len(run)
        )
        heading = run[0] if start == found.node.id else found.node
        return replace(found, node=heading, end=run[stop - 1].id)

    async def _splice(
        self, query: PositionQuery, parent_id: str, run: Sequence[Node], *, to_end: bool
    ) -> None:
        def work(c: sqlite3.Connection) -> None:
            snapshot = store.load(c, query.scope, query.page_id)
            if snapshot is not None:
                tree = snapshot.tree.spliced(parent_id, run, to_end=to_end)
                store.save(c, query.scope, query.page_id, replace(snapshot, tree=tree))

        with contextlib.suppress(*STORE_ERRORS):  # the read is valid without the cache
            await self._cache.write(work)


def _parent_of(block: Mapping[str, Any]) -> str | None:
    parent = block.get("parent") or {}
    return parent.get("block_id") or parent.get("page_id")


def locate(tree: Tree, heading_id: str) -> LocatedHeading | None:
    """Return the heading in a tree, or None if it is missing or not a heading."""
    at = tree.find(heading_id)
    if at is None or not at[2].level:
        return None
    return LocatedHeading(parent_id=at[0], position=at[1], node=at[2])


def _seen(tree: Tree, heading_id: str) -> LocatedHeading:
    """Return the heading with its section end from a tree that was just read. Raises PlaceGone."""
    found = locate(tree, heading_id)
    if found is None:
        raise PlaceGone("heading_gone")
    return replace(found, end=sections.section_end(tree, found.parent_id, found.position))
