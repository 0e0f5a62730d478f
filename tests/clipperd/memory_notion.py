"""A small Notion in memory, with a clock that the test moves: pages, blocks, search, counting."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

from clipperd.broker.reply import Reply
from clipperd.clock import rfc3339
from clipperd.errors import BrokerUnreachable
from clipperd.model import Block, Scope
from clipperd.notion.port import Call, Notion
from tests.clocks import SkippingClock

SCOPE = Scope("user-1", "workspace-1")
OTHER = Scope("user-2", "workspace-2")


class MemoryNotion:
    """Answers as Notion does for what the page index and outlines read."""

    def __init__(self, clock: SkippingClock) -> None:
        self.clock = clock
        self.calls: list[tuple[str, str]] = []
        self.offline = False
        self.fail_next: list[Reply | Exception] = []
        self.pages: dict[str, dict[str, Any]] = {}
        self.blocks: dict[str, Block] = {}
        self.children: dict[str, list[str]] = {}
        self.hidden: set[str] = set()  # pages that search leaves out
        self.server_ahead_s = 0.0
        self.meanwhile: Callable[[], None] | None = None  # after reading, before the answer's Date
        self.gate: asyncio.Event | None = None
        self._ids = 0

    # --- what the test does at Notion

    def new_id(self) -> str:
        self._ids += 1
        return str(uuid.UUID(int=self._ids))

    def stamp(self) -> str:
        server = self.clock.now() + self.server_ahead_s
        return rfc3339(server - server % 60)

    def add_page(
        self, title: str, *, parent: dict[str, Any] | None = None, kind: str = "page"
    ) -> str:
        page_id = self.new_id()
        runs = [{"type": "text", "plain_text": part} for part in (title[:3], title[3:]) if part]
        thing: dict[str, Any] = {
            "object": kind,
            "id": page_id,
            "url": f"https://app.notion.com/p/{page_id.replace('-', '')}",
            "icon": {"type": "emoji", "emoji": "📄"},
            "parent": parent or {"type": "workspace", "workspace": True},
            "in_trash": False,
            "last_edited_time": self.stamp(),
        }
        if kind == "page":
            thing["properties"] = {"Name": {"id": "title", "type": "title", "title": runs}}
        else:
            thing["title"] = runs
            thing["properties"] = {"Name": {"id": "title", "type": "title", "title": {}}}
        self.pages[page_id] = thing
        self.children[page_id] = []
        return page_id

    def rename(self, page_id: str, title: str) -> None:
        runs = [{"type": "text", "plain_text": title}]
        self.pages[page_id]["properties"]["Name"]["title"] = runs
        self.edit(page_id)

    def edit(self, page_id: str) -> None:
        self.pages[page_id]["last_edited_time"] = self.stamp()

    def add(
        self,
        parent_id: str,
        kind: str = "paragraph",
        text: str = "",
        *,
        after: str | None = None,
        toggleable: bool = False,
        body: dict[str, Any] | None = None,
    ) -> str:
        """Append one block (or put it after a sibling) as a person would, and move the stamp."""
        block_id = self.new_id()
        runs = [{"type": "text", "plain_text": part} for part in (text[:2], text[2:]) if part]
        content: dict[str, Any] = {"rich_text": runs, **(body or {})}
        if kind.startswith("heading"):
            content["is_toggleable"] = toggleable
        self.blocks[block_id] = {
            "object": "block",
            "id": block_id,
            "type": kind,
            kind: content,
            "has_children": False,
            "in_trash": False,
            "last_edited_time": self.stamp(),
            "parent": self._parent(parent_id),
        }
        siblings = self.children[parent_id]
        at = len(siblings) if after is None else siblings.index(after) + 1
        siblings.insert(at, block_id)
        self.children[block_id] = []
        if parent_id in self.blocks:
            self.blocks[parent_id]["has_children"] = True
        self.edit(self.page_of(parent_id))
        return block_id

    def remove(self, block_id: str) -> None:
        """Move a block to the trash."""
        block = self.blocks[block_id]
        parent_id = self.parent_of(block_id)
        block["in_trash"] = True
        self.children[parent_id].remove(block_id)
        self.edit(self.page_of(parent_id))

    def change(self, block_id: str, kind: str, text: str, *, toggleable: bool = False) -> None:
        """Turn a block into another type or text."""
        block = self.blocks[block_id]
        del block[block["type"]]
        block["type"] = kind
        block[kind] = {
            "rich_text": [{"type": "text", "plain_text": text}],
            "is_toggleable": toggleable,
        }
        self.edit(self.page_of(block_id))

    def trash(self, page_id: str) -> None:
        self.pages[page_id]["in_trash"] = True

    def unshare(self, page_id: str) -> None:
        del self.pages[page_id]

    def parent_of(self, block_id: str) -> str:
        parent = self.blocks[block_id]["parent"]
        return str(parent[parent["type"]])

    def page_of(self, block_id: str) -> str:
        while block_id in self.blocks:
            block_id = self.parent_of(block_id)
        return block_id

    def take_calls(self) -> list[str]:
        """The calls since the last time, as METHOD path with ids left out."""
        calls, self.calls = self.calls, []
        return [f"{method} {_shape(path)}" for method, path in calls]

    # --- the Notion protocol

    async def send(self, scope: Scope, call: Call) -> Reply:
        method, path, body = call.method, call.path, call.body
        if self.offline:
            raise BrokerUnreachable("The service cannot be reached.", sent=False)
        self.calls.append((method, path))
        if self.gate is not None:
            await self.gate.wait()
        if self.fail_next:
            failure = self.fail_next.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        parts = path.split("/")
        if scope != SCOPE:
            return self._answer({"object": "list", "results": [], "has_more": False})
        match method, parts:
            case "POST", ["search"]:
                return self._search(json.loads(body or b"{}"))
            case "GET", ["pages" | "data_sources", page_id]:
                return self._page(page_id, parts[0])
            case "GET", ["blocks", block_id]:
                return self._block(block_id)
            case "GET", ["blocks", parent_id, "children"]:
                return self._children(parent_id, dict(call.query or {}))
            case _:
                raise AssertionError(f"unexpected {method} {path}")

    def _answer(self, body: Any, status: int = 200, code: str | None = None) -> Reply:
        copy = json.loads(json.dumps(body))
        if self.meanwhile is not None:
            self.meanwhile()
        date = float(int(self.clock.now() + self.server_ahead_s))
        return Reply(status=status, body=copy, code=code, date=date)

    def _error(self, status: int, code: str) -> Reply:
        body = {"object": "error", "status": status, "code": code, "message": code}
        return self._answer(body, status, code)

    def _page(self, page_id: str, noun: str) -> Reply:
        page = self.pages.get(page_id)
        if page is None or page["object"] + "s" != noun:
            return self._error(404, "object_not_found")
        return self._answer(page)

    def _block(self, block_id: str) -> Reply:
        if block_id not in self.blocks or self.page_of(block_id) not in self.pages:
            return self._error(404, "object_not_found")
        return self._answer(self.blocks[block_id])

    def _children(self, parent_id: str, query: dict[str, str]) -> Reply:
        page = self.pages.get(self.page_of(parent_id))
        held = self.blocks.get(parent_id)
        if page is None or page["in_trash"] or (held is not None and held["in_trash"]):
            return self._error(404, "object_not_found")
        ids = self.children.get(parent_id, [])
        start = query.get("start_cursor")
        if start is not None and start not in ids:
            return self._error(400, "validation_error")
        first = ids.index(start) if start else 0
        size = int(query.get("page_size", "100"))
        shown, rest = ids[first : first + size], ids[first + size :]
        blocks = [self.blocks[i] for i in shown]
        return self._answer(_listing(blocks, rest[0] if rest else None))

    def _search(self, body: dict[str, Any]) -> Reply:
        wanted = body.get("query", "").casefold()
        found = [p for p in self.pages.values() if not p["in_trash"] and p["id"] not in self.hidden]
        found = [p for p in found if wanted in _title(p).casefold()]
        found.sort(key=lambda p: (p["last_edited_time"], p["id"]), reverse=True)
        ids = [p["id"] for p in found]
        start = body.get("start_cursor")
        if start is not None and start not in ids:
            return self._error(400, "validation_error")
        first = ids.index(start) if start else 0
        size = body.get("page_size", 100)
        shown, rest = found[first : first + size], ids[first + size :]
        return self._answer(_listing(shown, rest[0] if rest else None))

    def _parent(self, parent_id: str) -> dict[str, str]:
        kind = "block_id" if parent_id in self.blocks else "page_id"
        return {"type": kind, kind: parent_id}


class Heard:
    """The events that were published."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.users: set[str | None] = set()
        self.observer: Callable[[str, dict[str, Any]], object] = lambda *_: None

    def __call__(self, kind: str, data: dict[str, Any], user_id: str | None = None) -> None:
        self.events.append((kind, data))
        self.users.add(user_id)
        self.observer(kind, data)


def _title(page: dict[str, Any]) -> str:
    runs = page["title"] if "title" in page else page["properties"]["Name"]["title"]
    return "".join(run["plain_text"] for run in runs)


def _listing(results: list[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
    return {
        "object": "list",
        "results": results,
        "next_cursor": cursor,
        "has_more": cursor is not None,
    }


def _shape(path: str) -> str:
    return "/".join("ID" if len(part) == 36 else part for part in path.split("/"))


_: type[Notion] = MemoryNotion
