"""Finding a heading and the true end of its section, in the fewest reads.

The read begins at the heading where section and answer (100 blocks) allow: for the same one call
as a read from the section's old end it also shows a heading that is gone or changed, and headings
set in between. In a long section it begins at the old end. A heading that stands elsewhere by now
is asked for itself, which takes as many reads on a page of any length.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec.structs import replace

from clipperd.errors import PlaceGone, ReadFailed, StorageFull
from clipperd.model import Position, Scope
from clipperd.outline import sections, store
from clipperd.outline.outlines import Outlines
from clipperd.outline.reading import Reader
from clipperd.outline.tree import Node, Tree, to_node
from clipperd.storage.database import Store

_DEEPEST = 8  # containers around a heading that are asked for; Notion nests without limit
_NEAR = 90  # a section of up to so many blocks, and what was added to it, fits one answer of 100


class Task(msgspec.Struct, frozen=True):
    """One resolve: whose page, what was asked for, and the reader that counts."""

    scope: Scope
    page_id: str
    position: Position
    reader: Reader


class Found(msgspec.Struct, frozen=True):
    """A heading among its siblings. ``end``: the last block of its section, if seen just now."""

    parent_id: str
    position: int
    node: Node
    end: str | None = None


class HeadingLookup:
    """Looks headings up in the stored outlines and confirms their sections at Notion."""

    def __init__(self, outlines: Outlines, cache: Store) -> None:
        """``cache`` holds the outlines that confirmed runs are spliced into."""
        self._outlines = outlines
        self._cache = cache

    async def heading(self, task: Task) -> Found:
        """The heading of the task's position: by id from the store, by text on a verified outline.

        Raises PlaceGone (heading_gone, heading_ambiguous), PageGone, PageTrashed, ReadFailed,
        BrokerUnreachable.
        """
        if task.position.heading_id is None:
            return await self._by_text(task)
        snapshot = await self._outlines.stored(task.scope, task.page_id)
        if snapshot is None:
            return await self._from_top(task, task.position.heading_id)
        found = locate(snapshot.tree, task.position.heading_id)
        return found or await self._elsewhere(task, task.position.heading_id)

    async def confirm(self, task: Task, found: Found) -> Found:
        """Read the section from the heading or its old end on; where it is now if that fails."""
        snapshot = await self._outlines.stored(task.scope, task.page_id)
        siblings = snapshot.tree.lists.get(found.parent_id, ()) if snapshot else ()
        starts = [found.node.id]
        if found.position < len(siblings) and siblings[found.position].id == found.node.id:
            last = sections.last_of_section(siblings, found.position)
            if last - found.position >= _NEAR:
                starts.insert(0, siblings[last].id)
        for start in starts:
            fresh = await self._run_from(task, found, start)
            if fresh is not None:
                return fresh
        return await self._elsewhere(task, found.node.id)

    async def _by_text(self, task: Task) -> Found:
        snapshot, calls = await self._outlines.current(task.scope, task.page_id)
        task.reader.calls += calls
        matches = sections.named(
            sections.headings(snapshot.tree),
            task.position.heading_text or "",
            task.position.heading_path,
        )
        if len(matches) != 1:
            raise PlaceGone("heading_ambiguous" if matches else "heading_gone")
        return _seen(snapshot.tree, matches[0].id)

    async def _from_top(self, task: Task, heading_id: str) -> Found:
        snapshot = await self._outlines.reread(
            task.scope, task.page_id, task.reader, wanted=heading_id
        )
        if locate(snapshot.tree, heading_id) is None:
            return await self._elsewhere(task, heading_id)
        return _seen(snapshot.tree, heading_id)

    async def _elsewhere(self, task: Task, heading_id: str) -> Found:
        """Ask the heading itself where on the page it is, then read its section there."""
        block = await task.reader.block(heading_id)
        node = None if block is None else to_node(block)
        parent_id = None if block is None else await self._parent_on_page(task, block)
        if node is not None and node.level and parent_id is not None:
            fresh = await self._run_from(task, Found(parent_id, 0, node), heading_id)
            if fresh is not None:
                return fresh
        await self._outlines.require(task.scope, task.page_id, task.reader)
        raise PlaceGone("heading_gone")

    async def _parent_on_page(self, task: Task, block: Mapping[str, Any]) -> str | None:
        """The id of the block's parent; None where it is on another page, or too deep to tell."""
        snapshot = await self._outlines.stored(task.scope, task.page_id)
        parent_id = above = _parent_of(block)
        for _ in range(_DEEPEST):
            if above == task.page_id:
                return parent_id
            if above is None or "page_id" in block["parent"]:
                return None
            if snapshot is not None and snapshot.tree.find(above) is not None:
                return parent_id
            container = await task.reader.block(above)
            if container is None:
                return None
            block, above = container, _parent_of(container)
        return None

    async def _run_from(self, task: Task, found: Found, start: str) -> Found | None:
        """Read siblings from ``start`` to the section's end; None when that cannot be relied on.

        Raises PlaceGone when ``start`` is the heading itself and no heading any more.
        """
        run: list[Node] = []
        level = found.node.level
        to_end = False
        try:
            async with aclosing(task.reader.children(found.parent_id, start)) as parts:
                async for part in parts:
                    run.extend(to_node(block) for block in part.blocks)
                    if not run or run[0].id != start:
                        return None  # the cursor was taken for another place
                    if start == found.node.id:
                        level = run[0].level
                    to_end = not part.has_more
                    if not level or run[0].toggleable:
                        break  # no heading, or its section is inside it: no need to go on
                    if any(sections.ends_section(node, level) for node in run[1:]):
                        break
        except ReadFailed as error:
            if error.reply.status not in (400, 404):
                raise
            return None
        if start != found.node.id and sections.ends_section(run[0], level):
            return None  # the old end was turned into a heading
        await self._splice(task, found.parent_id, run, to_end=to_end)
        if not level:
            raise PlaceGone("heading_gone")
        stop = next(
            (i for i, node in enumerate(run) if i and sections.ends_section(node, level)), len(run)
        )
        heading = run[0] if start == found.node.id else found.node
        return replace(found, node=heading, end=run[stop - 1].id)

    async def _splice(
        self, task: Task, parent_id: str, run: Sequence[Node], *, to_end: bool
    ) -> None:
        def work(c: sqlite3.Connection) -> None:
            snapshot = store.load(c, task.scope, task.page_id)
            if snapshot is not None:
                tree = snapshot.tree.spliced(parent_id, run, to_end=to_end)
                store.save(c, task.scope, task.page_id, replace(snapshot, tree=tree))

        with contextlib.suppress(StorageFull, sqlite3.Error):  # what was seen is seen all the same
            await self._cache.write(work)


def _parent_of(block: Mapping[str, Any]) -> str | None:
    parent = block.get("parent") or {}
    return parent.get("block_id") or parent.get("page_id")


def locate(tree: Tree, heading_id: str) -> Found | None:
    """The heading in a tree, or None when it is not there or is no heading."""
    at = tree.find(heading_id)
    if at is None or not at[2].level:
        return None
    return Found(parent_id=at[0], position=at[1], node=at[2])


def _seen(tree: Tree, heading_id: str) -> Found:
    """The heading in a tree that was true just now. Raises PlaceGone."""
    found = locate(tree, heading_id)
    if found is None:
        raise PlaceGone("heading_gone")
    return replace(found, end=sections.section_end(tree, found.parent_id, found.position))
