"""Undo a clip: remove exactly the blocks it created, unless they were changed since."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from clipperd.broker.reply import Reply
from clipperd.clock import Clock
from clipperd.content import chunks, fingerprint
from clipperd.delivery.ports import Dependencies
from clipperd.errors import ReadFailed
from clipperd.model import Block, Scope
from clipperd.notion.port import Call, Notion
from clipperd.outbox import actions, lanes
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import LaneKey
from clipperd.outline.positions import PositionResolver

_RESTORE = chunks.encode({"in_trash": False})


class _Denied(Exception):
    """Notion refuses to show or remove the block, however often we ask."""


class _Own(msgspec.Struct, frozen=True):
    """A delivery, our bot's id, and the fingerprints of the blocks it created."""

    scope: Scope
    delivery: int
    bot: str | None
    prints: Mapping[str, str]


class UndoWorker:
    """Carries out an undo as work of the page's lane; each removal is stored as it is made."""

    def __init__(
        self,
        outbox: Outbox,
        notion: Notion,
        positions: PositionResolver,
        clock: Clock,
        deps: Dependencies,
    ) -> None:
        """``deps`` gives the bot's id."""
        self._outbox = outbox
        self._notion = notion
        self._positions = positions
        self._clock = clock
        self._deps = deps

    async def step(self, lane: LaneKey, row: sqlite3.Row) -> None:
        """Undo one delivery as far as possible. Raises ReadFailed, BrokerUnreachable."""
        scope = Scope(lane[0], lane[1])
        undo: dict[str, Any] = json.loads(row["undo"])
        bot = await self._deps.bot_id(scope)
        if row["new_page"]:
            await self._page(scope, row, bot, undo)
        else:
            prints = await self._outbox.read(lanes.fingerprints_of, row["seq"])
            await self._blocks(row, _Own(scope, row["seq"], bot, prints), undo)
        undo["state"] = "done"
        await self._record(row, undo)
        await self._positions.record_removal(scope, lane[2], undo["removed"])

    async def _record(self, row: sqlite3.Row, undo: dict[str, Any]) -> None:
        now = self._clock.now()
        await self._outbox.change(actions.record_undo, row, undo, now)

    async def _page(
        self, scope: Scope, row: sqlite3.Row, bot: str | None, undo: dict[str, Any]
    ) -> None:
        """Remove a page that the clip created, if it holds nothing else."""
        page_id = str(row["page_id"])
        try:
            reply = await self._read(scope, f"pages/{page_id}")
            if reply is None or _is_trashed(reply):
                undo["removed"].append(page_id)
            elif _editor(reply) != bot and bot is not None:
                undo["left"].append({"block_id": page_id, "why": "edited"})
            elif await self._outbox.read(lanes.shares_page, row):
                undo["left"].append({"block_id": page_id, "why": "other_clips"})
            else:
                await self._remove(scope, page_id, None, undo)
        except _Denied:
            undo["left"].append({"block_id": page_id, "why": "denied"})

    async def _blocks(self, row: sqlite3.Row, own: _Own, undo: dict[str, Any]) -> None:
        settled = {*undo["removed"], *(left["block_id"] for left in undo["left"])}
        wanted = [item for item in json.loads(row["block_ids"]) if item not in settled]
        standing = await self._standing(own.scope, str(row["parent_id"]), wanted)
        for block_id in wanted:
            try:
                await self._block(block_id, standing.get(block_id), own, undo)
            except _Denied:
                undo["left"].append({"block_id": block_id, "why": "denied"})
            await self._record(row, undo)

    async def _block(
        self, block_id: str, listed: Block | None, own: _Own, undo: dict[str, Any]
    ) -> None:
        block = listed or await self._read(own.scope, f"blocks/{block_id}")
        if block is None:
            undo["removed"].append(block_id)
            return
        if _is_trashed(block):
            await self._trashed(block, own, undo)
            return
        why = await self._objection(block, own)
        if why is None:
            await self._remove(own.scope, block_id, own.prints.get(block_id), undo)
        else:
            undo["left"].append({"block_id": block_id, "why": why})

    async def _trashed(self, block: Block, own: _Own, undo: dict[str, Any]) -> None:
        """Handle a block in the trash. If we put it there but it differs from the sent one, a user
        changed it just before, and we stopped before we could restore it.
        """
        block_id = str(block["id"])
        expected = own.prints.get(block_id)
        is_ours = own.bot is not None and _editor(block) == own.bot
        if is_ours and expected is not None and not _is_unchanged(block, expected):
            await self._restore(own.scope, block_id, undo)
        else:
            undo["removed"].append(block_id)

    async def _restore(self, scope: Scope, block_id: str, undo: dict[str, Any]) -> None:
        """Restore a block that we removed: it holds a user's change."""
        reply = await self._notion.send(scope, Call("PATCH", f"blocks/{block_id}", body=_RESTORE))
        if not reply.ok:
            raise _Denied if _is_final(reply) else ReadFailed(reply)
        undo["left"].append({"block_id": block_id, "why": "edited"})

    async def _standing(self, scope: Scope, parent_id: str, wanted: list[str]) -> dict[str, Block]:
        """Read the wanted blocks in one listing; missing ones are read one by one."""
        found: dict[str, Block] = {}
        cursor: str | None = wanted[0] if wanted else None
        while cursor is not None and len(found) < len(wanted):
            query = {"page_size": "100", "start_cursor": cursor}
            reply = await self._notion.send(
                scope, Call("GET", f"blocks/{parent_id}/children", query=query)
            )
            if not reply.ok or not isinstance(reply.body, dict):
                if _is_final(reply):
                    return found
                raise ReadFailed(reply)
            found |= {b["id"]: b for b in reply.body["results"] if b.get("id") in wanted}
            cursor = reply.body.get("next_cursor") if reply.body.get("has_more") else None
        return found

    async def _objection(self, block: Block, own: _Own) -> str | None:
        """Return the reason to keep this block, or None."""
        if own.bot is not None and _editor(block) != own.bot:
            return "edited"
        expected = own.prints.get(block["id"])
        if expected is not None and not _is_unchanged(block, expected):
            return "edited"
        if not block.get("has_children"):
            return None
        # A block sent without children got them from later chunks of this clip, or from a user.
        bare = expected is not None and fingerprint.of(block) != expected
        cursor: str | None = None
        while True:
            query = {"page_size": "100"} | ({"start_cursor": cursor} if cursor else {})
            reply = await self._notion.send(
                own.scope, Call("GET", f"blocks/{block['id']}/children", query=query)
            )
            if not reply.ok or not isinstance(reply.body, dict):
                raise _Denied if _is_final(reply) else ReadFailed(reply)
            if not await self._all_ours(reply.body["results"], own, bare=bare):
                return "children_edited"
            if not reply.body.get("has_more"):
                return None
            cursor = reply.body.get("next_cursor")

    async def _all_ours(self, children: list[Block], own: _Own, *, bare: bool) -> bool:
        ids = [str(child["id"]) for child in children]
        if bare and not own.prints.keys() >= set(ids):
            return False
        if await self._outbox.read(lanes.receipted, ids, besides=own.delivery):
            return False  # holds blocks of another clip
        for child in children:
            if await self._objection(child, own) is not None:
                return False
        return True

    async def _remove(
        self, scope: Scope, block_id: str, expected: str | None, undo: dict[str, Any]
    ) -> None:
        """Move to the trash; if the answer shows other content than we read, restore it."""
        reply = await self._notion.send(scope, Call("DELETE", f"blocks/{block_id}"))
        if reply.status == 404 or (reply.status == 400 and "archived" in reply.message):
            undo["removed"].append(block_id)
            return
        if not reply.ok:
            raise _Denied if _is_final(reply) else ReadFailed(reply)
        body = reply.body if isinstance(reply.body, dict) else {}
        whole = body.get("type") in body
        if expected is not None and whole and not _is_unchanged(body, expected):
            await self._restore(scope, block_id, undo)
            return
        undo["removed"].append(block_id)

    async def _read(self, scope: Scope, path: str) -> Block | None:
        """Return the object, which may be in the trash, or None if it is gone."""
        reply: Reply = await self._notion.send(scope, Call("GET", path))
        if reply.status == 404:
            return None
        if not reply.ok or not isinstance(reply.body, dict):
            raise _Denied if _is_final(reply) else ReadFailed(reply)
        return reply.body


def _is_unchanged(block: Block, expected: str) -> bool:
    """Return whether the block is as it was sent, apart from children of later chunks."""
    return expected in (fingerprint.of(block), fingerprint.of({**block, "has_children": False}))


def _is_trashed(item: Mapping[str, Any]) -> bool:
    return bool(item.get("in_trash") or item.get("archived"))


def _is_final(reply: Reply) -> bool:
    return reply.status >= 400 and not reply.is_transient


def _editor(item: Mapping[str, Any]) -> str | None:
    editor = item.get("last_edited_by") or {}
    return editor.get("id") if isinstance(editor, dict) else None
