"""Passes a client's own calls to Notion; a write takes its page's lane and resets caches."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from clipperd.broker.reply import Reply
from clipperd.clock import Clock
from clipperd.delivery.dispatch import Dispatcher
from clipperd.delivery.keys import new_key
from clipperd.model import Scope, notion_id
from clipperd.notion.port import Call, Form, Notion, Uploads
from clipperd.outbox import requests
from clipperd.outbox.outbox import Outbox
from clipperd.outline.positions import PositionResolver
from clipperd.pages.pages import Pages
from clipperd.storage.database import STORE_ERRORS

_log = logging.getLogger(__name__)

_READS_BY_POST = ("search", "query")
_PAGE_NOUNS = frozenset({"pages", "databases", "data_sources", "blocks"})
_DEEPEST = 50  # ancestors of a block to read, at most


class LanePassThrough:
    """Sends the calls of ``web/handlers/notion.py`` under the daemon's session."""

    def __init__(
        self,
        notion: Notion,
        uploads: Uploads,
        dispatcher: Dispatcher,
        outbox: Outbox,
        places: PositionResolver,
        pages: Pages,
        clock: Clock,
        *,
        server_now: Callable[[Scope], Awaitable[float]],
        entropy: Callable[[int], bytes],
    ) -> None:
        """``server_now`` (the broker's time) and ``entropy`` make each write's key."""
        self._notion = notion
        self._uploads = uploads
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._places = places
        self._pages = pages
        self._clock = clock
        self._server_now = server_now
        self._entropy = entropy

    async def send(self, scope: Scope, call: Call) -> Reply:
        """Send one call; raises as ``Notion.send``."""
        if call.method == "GET" or call.path.rsplit("/", 1)[-1] in _READS_BY_POST:
            reply = await self._notion.send(scope, call)
            await self._mark_found(scope, call, reply, written=False)
            return reply
        call = replace(call, key=new_key(await self._server_now(scope), self._entropy))
        page = await self._page(scope, call)
        if page is None:
            return await self._write(scope, call)
        lane = (scope.user_id, scope.workspace_id, page)
        async with self._dispatcher.exclusive(lane):
            try:
                return await self._write(scope, call)
            finally:
                await self._places.record_change(scope, page)

    async def upload(self, scope: Scope, path: str, form: Form, version: str | None) -> Reply:
        """Send one part of a file; it is not on a page yet, so it takes no lane."""
        return await self._uploads.upload(scope, path, form, version)

    async def _mark_found(self, scope: Scope, call: Call, reply: Reply, *, written: bool) -> None:
        """Restore a page of the index that was lost and for which Notion answers again."""
        noun, _, rest = call.path.partition("/")
        page_id = notion_id(rest.partition("/")[0])
        if reply.ok and page_id is not None and noun in _PAGE_NOUNS:
            await self._pages.mark_found(scope, page_id, written=written)

    async def _write(self, scope: Scope, call: Call) -> Reply:
        """Send a write and store the ids that it created before the lane continues."""
        reply = await self._notion.send(scope, call)
        await self._mark_found(scope, call, reply, written=_restores(call))
        created = _created(call, reply)
        if created:
            now = self._clock.now()
            try:
                await self._outbox.write(requests.receipt_others, created, now)
            except STORE_ERRORS as error:
                # Notion has the blocks; an error response would make the client send them again.
                _log.warning("could not store the blocks of a passed-through write", exc_info=error)
        return reply

    async def _page(self, scope: Scope, call: Call) -> str | None:
        """Return the page whose lane a write takes, from the path, the body or the block."""
        parts = call.path.split("/")
        if len(parts) < 2:
            parent = json.loads(call.body or b"{}").get("parent") or {}
            given = parent.get("page_id") if isinstance(parent, dict) else None
            return notion_id(given) if isinstance(given, str) else None
        target = notion_id(parts[1])
        if target is None or parts[0] == "file_uploads":
            return None
        if parts[0] == "blocks":
            return await self._page_of(scope, target)
        return target

    async def _page_of(self, scope: Scope, block_id: str) -> str:
        """Return the page of a block: from the page index, else read ancestor by ancestor."""
        at = block_id
        for _ in range(_DEEPEST):
            if await self._pages.title_of(scope, at) is not None:
                return at
            reply = await self._notion.send(scope, Call("GET", f"blocks/{at}"))
            if not reply.ok or not isinstance(reply.body, dict):
                return block_id
            if reply.body.get("type") in ("child_page", "child_database"):
                return at
            parent = reply.body.get("parent") or {}
            above = parent.get("page_id") or parent.get("block_id")
            if not isinstance(above, str):
                return at
            if "page_id" in parent:
                return above
            at = above
        return block_id


def _restores(call: Call) -> bool:
    """Return whether a success means that the page is not in the trash."""
    body = json.loads(call.body or b"{}")
    return call.method == "PATCH" and not (isinstance(body, dict) and body.get("in_trash"))


def _created(call: Call, reply: Reply) -> list[str]:
    """Return the ids of the page or the first-level blocks that a write created."""
    if not reply.ok or not isinstance(reply.body, dict):
        return []
    if (call.method, call.path) == ("POST", "pages"):
        return [str(reply.body.get("id"))]
    path = call.path
    if call.method == "PATCH" and path.startswith("blocks/") and path.endswith("/children"):
        # After an anchor Notion may also list later siblings: only the first ``count`` are new.
        count = len(json.loads(call.body or b"{}").get("children") or [])
        return [str(item.get("id")) for item in (reply.body.get("results") or [])[:count]]
    return []
