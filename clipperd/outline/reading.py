"""Reads pages and their children from Notion, and counts the calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from clipperd.broker.reply import Reply
from clipperd.clock import Clock
from clipperd.errors import BrokerUnreachable, PageGone, PageTrashed, ReadFailed
from clipperd.model import Scope
from clipperd.notion.port import Call, Notion

PAGE_SIZE = "100"  # items, Notion's maximum (developers.notion.com/reference/intro#pagination)


class Part(msgspec.Struct, frozen=True):
    """One response of a listing; Notion read it at server time ``read_at`` or later."""

    blocks: list[dict[str, Any]]
    has_more: bool
    read_at: float | None


class Reader:
    """Reads for one task; ``calls`` counts its Notion calls so far."""

    def __init__(self, notion: Notion, clock: Clock, scope: Scope) -> None:
        self._notion = notion
        self._clock = clock
        self._scope = scope
        self.calls = 0

    async def page(self, page_id: str) -> dict[str, Any]:
        """Return the page object. Raises PageGone, PageTrashed, ReadFailed, BrokerUnreachable."""
        reply = await self._get(f"pages/{page_id}")
        if reply.status == 404:
            raise PageGone(
                "The page is gone or no longer shared with this connection. Share it in Notion."
            )
        body = self._object(reply)
        if body.get("in_trash") or body.get("archived"):
            raise PageTrashed("The page is in Notion's trash.", hint="Restore it in Notion.")
        return body

    async def block(self, block_id: str) -> dict[str, Any] | None:
        """Return a block, or None if it is gone or in the trash. Raises as ``page`` does."""
        reply = await self._get(f"blocks/{block_id}")
        if reply.status == 404:
            return None
        body = self._object(reply)
        return None if body.get("in_trash") or body.get("archived") else body

    async def children(
        self, parent_id: str, start: str | None = None
    ) -> AsyncGenerator[Part, None]:
        """Yield the children of a block or page in order, from the child ``start`` on if given.

        Notion's cursors are ids of children today, but this is undocumented: check that the listing
        begins with ``start``. Raises ReadFailed, BrokerUnreachable.
        """
        cursor = start
        while True:
            query = {"page_size": PAGE_SIZE}
            if cursor is not None:
                query["start_cursor"] = cursor
            began = self._clock.boot()
            reply = await self._get(f"blocks/{parent_id}/children", query)
            body = self._object(reply)
            blocks = [b for b in body.get("results") or [] if isinstance(b, dict) and "id" in b]
            more = body.get("next_cursor") if body.get("has_more") else None
            # Notion read between our request and the Date of the response: use the earliest time.
            took = self._clock.boot() - began
            read_at = None if reply.date is None else reply.date - took
            yield Part(blocks, more is not None, read_at)
            if more is None:
                return
            cursor = str(more)

    async def _get(self, path: str, query: dict[str, str] | None = None) -> Reply:
        try:
            reply = await self._notion.send(self._scope, Call("GET", path, query=query))
        except BrokerUnreachable as error:
            self.calls += error.sent
            raise
        self.calls += 1
        return reply

    def _object(self, reply: Reply) -> dict[str, Any]:
        if not reply.ok or not isinstance(reply.body, dict):
            raise ReadFailed(reply, reads=self.calls)
        return reply.body
