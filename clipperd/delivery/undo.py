"""Undo: take back exactly what a clip created, and nothing that anybody has changed since."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from clipperd.clock import Clock
from clipperd.content import chunks, fingerprint
from clipperd.delivery.terms import Places, Surroundings
from clipperd.errors import ReadFailed
from clipperd.model import Block, Scope
from clipperd.outbox import actions, lanes
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import LaneKey
from clipperd.transport import Notion, Reply

_TRASH = chunks.encode({"in_trash": False})


class Undoing:
    """Carries out an undo as work of the page's lane; every removal is recorded as it is made."""

    def __init__(
        self,
        outbox: Outbox,
        notion: Notion,
        places: Places,
        clock: Clock,
        around: Surroundings,
    ) -> None:
        """All parts are given."""
        self._outbox = outbox
        self._notion = notion
        self._places = places
        self._clock = clock
        self._around = around

    async def step(self, lane: LaneKey, row: sqlite3.Row) -> None:
        """Take one delivery back as far as it can be. Raises ReadFailed, BrokerUnreachable."""
        scope = Scope(lane[0], lane[1])
        undo: dict[str, Any] = json.loads(row["undo"])
        bot = await self._around.bot_id(scope)
        if row["new_page"]:
            await self._page(scope, str(row["page_id"]), bot, undo)
        else:
            await self._blocks(scope, row, bot, undo)
        undo["state"] = "done"
        await self._record(row, undo)
        await self._places.undone(scope, lane[2], undo["removed"])

    async def _record(self, row: sqlite3.Row, undo: dict[str, Any]) -> None:
        now = self._clock.now()
        await self._outbox.change(lambda c: actions.record_undo(c, row, undo, now))

    async def _page(
        self, scope: Scope, page_id: str, bot: str | None, undo: dict[str, Any]
    ) -> None:
        """A page that the clip created goes as a whole, if only our bot ever edited it."""
        reply = await self._read(scope, f"pages/{page_id}")
        if reply is None:
            undo["removed"].append(page_id)
        elif _editor(reply) != bot and bot is not None:
            undo["left"].append({"block_id": page_id, "why": "edited"})
        else:
            await self._remove(scope, page_id, None, undo)

    async def _blocks(
        self, scope: Scope, row: sqlite3.Row, bot: str | None, undo: dict[str, Any]
    ) -> None:
        prints = await self._outbox.read(lambda c: lanes.prints_of(c, row["seq"]))
        settled = {*undo["removed"], *(left["block_id"] for left in undo["left"])}
        wanted = [item for item in json.loads(row["block_ids"]) if item not in settled]
        standing = await self._standing(scope, str(row["parent_id"]), wanted)
        for block_id in wanted:
            block = standing.get(block_id) or await self._read(scope, f"blocks/{block_id}")
            if block is None or block.get("in_trash") or block.get("archived"):
                undo["removed"].append(block_id)
                continue
            why = await self._objection(scope, block, prints.get(block_id), bot)
            if why is None:
                await self._remove(scope, block_id, prints.get(block_id), undo)
            else:
                undo["left"].append({"block_id": block_id, "why": why})
            await self._record(row, undo)

    async def _standing(self, scope: Scope, parent_id: str, wanted: list[str]) -> dict[str, Block]:
        """The wanted blocks as one listing shows them; missing ones are asked for singly."""
        found: dict[str, Block] = {}
        cursor: str | None = wanted[0] if wanted else None
        while cursor is not None and len(found) < len(wanted):
            query = {"page_size": "100", "start_cursor": cursor}
            reply = await self._notion.send(
                scope, "GET", f"blocks/{parent_id}/children", query=query
            )
            if not reply.ok or not isinstance(reply.body, dict):
                if reply.status in (400, 404):
                    return found
                raise ReadFailed(reply)
            found |= {b["id"]: b for b in reply.body["results"] if b.get("id") in wanted}
            cursor = reply.body.get("next_cursor") if reply.body.get("has_more") else None
        return found

    async def _objection(
        self, scope: Scope, block: Block, expected: str | None, bot: str | None
    ) -> str | None:
        """Why this block must stay, or None."""
        if bot is not None and _editor(block) != bot:
            return "edited"
        if expected is not None and fingerprint.of(block) != expected:
            return "edited"
        if not block.get("has_children"):
            return None
        cursor: str | None = None
        while True:
            query = {"page_size": "100"} | ({"start_cursor": cursor} if cursor else {})
            reply = await self._notion.send(
                scope, "GET", f"blocks/{block['id']}/children", query=query
            )
            if not reply.ok or not isinstance(reply.body, dict):
                raise ReadFailed(reply)
            for child in reply.body["results"]:
                if bot is not None and bot not in (_editor(child),):
                    return "children_edited"
                if child.get("has_children") and await self._objection(scope, child, None, bot):
                    return "children_edited"
            if not reply.body.get("has_more"):
                return None
            cursor = reply.body.get("next_cursor")

    async def _remove(
        self, scope: Scope, block_id: str, expected: str | None, undo: dict[str, Any]
    ) -> None:
        """Move to the trash; if the answer shows other content than we read, put it back."""
        reply = await self._notion.send(scope, "DELETE", f"blocks/{block_id}")
        if reply.status == 404 or (reply.status == 400 and "archived" in reply.message):
            undo["removed"].append(block_id)
            return
        if not reply.ok:
            raise ReadFailed(reply)
        body = reply.body if isinstance(reply.body, dict) else {}
        whole = body.get("type") in body
        if expected is not None and whole and fingerprint.of(body) != expected:
            restored = await self._notion.send(scope, "PATCH", f"blocks/{block_id}", body=_TRASH)
            if not restored.ok:
                raise ReadFailed(restored)
            undo["left"].append({"block_id": block_id, "why": "edited"})
            return
        undo["removed"].append(block_id)

    async def _read(self, scope: Scope, path: str) -> Block | None:
        """The object, or None when it is gone."""
        reply: Reply = await self._notion.send(scope, "GET", path)
        if reply.status == 404:
            return None
        if not reply.ok or not isinstance(reply.body, dict):
            raise ReadFailed(reply)
        if reply.body.get("in_trash"):
            return None
        return reply.body


def _editor(item: Mapping[str, Any]) -> str | None:
    editor = item.get("last_edited_by") or {}
    return editor.get("id") if isinstance(editor, dict) else None
