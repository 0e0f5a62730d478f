"""Find the insertion point of a clip's next chunk after the first ones were delivered."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from clipperd.content.chunks import Chunk
from clipperd.delivery import batch, reconcile
from clipperd.delivery.ports import Dependencies
from clipperd.errors import PlaceGone, ReadFailed
from clipperd.model import POSITIONS, InsertionPoint, Scope
from clipperd.notion.port import Notion
from clipperd.outbox.records import QueuedDelivery
from clipperd.outline.positions import PositionResolver


class Continuation:
    """Finds the point after the blocks of earlier chunks; without a call if their ids are known."""

    def __init__(self, notion: Notion, positions: PositionResolver, deps: Dependencies) -> None:
        """``positions`` resolves the position again if no block of the clip is known."""
        self._notion = notion
        self._positions = positions
        self._deps = deps

    async def place(
        self, scope: Scope, item: QueuedDelivery, plan: Sequence[Chunk]
    ) -> InsertionPoint:
        """Return the point of the next chunk. Raises as ``PositionResolver.resolve``."""
        known = batch.continuation(item, plan)
        gap = batch.unlisted(item, plan)
        if known is not None and not gap and not item.anchor_losses:
            return known
        if known is None:
            known = await self._positions.resolve(scope, str(item.page_id), item.position)
            if not gap or not POSITIONS[item.position.type].newest_first:
                return known
        return await self._behind(scope, item, plan, known, gap)

    async def _behind(
        self,
        scope: Scope,
        item: QueuedDelivery,
        plan: Sequence[Chunk],
        known: InsertionPoint,
        gap: int,
    ) -> InsertionPoint:
        """Read the siblings; return the point after our last remaining block and ``gap`` more."""
        listing = await reconcile.read_children(self._notion, scope, known.parent_id, start=None)
        reads = known.reads + listing.calls
        if listing.refusal is not None:
            if listing.refusal.status in (400, 403, 404):
                reason = "page_gone" if known.parent_id == item.page_id else "block_gone"
                raise PlaceGone(reason, reads=reads)
            raise ReadFailed(listing.refusal, reads=reads)
        ids = [str(block.get("id")) for block in listing.blocks]
        ours: set[str | None] = {*batch.created(item, plan)} or {known.after}
        last = max((at for at, block_id in enumerate(ids) if block_id in ours), default=-1)
        if last < 0 and known.edge != "start":
            if plan[item.chunks_done].parent is not None:
                return replace(
                    known, after=None, reads=reads
                )  # append to the end of its own parent
            again = await self._positions.resolve(scope, str(item.page_id), item.position)
            return replace(again, reads=again.reads + reads)
        bot = await self._deps.bot_id(scope)
        for block in listing.blocks[last + 1 : last + 1 + gap]:
            if bot is not None and reconcile.author_of(block) != bot:
                break
            last += 1
        if last < 0:
            return replace(known, reads=reads)
        return replace(known, after=ids[last], edge="end", reads=reads)
