"""A model of Notion and its broker in memory: pages, search, writes and faults, on a test clock.

A test acts on it as people do (``add``, ``edit``, ``remove``), the daemon through ``send``. A fault
can hit every point at which an answer is lost. Settle times of a minute pass in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from clipperd.broker.reply import Reply
from clipperd.clock import rfc3339
from clipperd.errors import BrokerUnreachable
from clipperd.model import Block, Scope
from clipperd.notion.port import Call, Notion, Remembered, Write
from tests.clocks import SkippingClock

SCOPE = Scope("user-1", "workspace-1")
OTHER = Scope("user-2", "workspace-2")
BOT = "00000000-0000-4000-8000-00000000b0b0"
PERSON = "00000000-0000-4000-8000-0000000000aa"
REFUSALS = {
    "529": (529, "service_overload", None),
    "429": (429, "rate_limited", 2.0),
    "401": (401, "unauthorized", None),
    "403": (403, "restricted_resource", None),
}
"""Fault to status, code and seconds of Retry-After."""
LATE_S = 40.0  # seconds until Notion applies a late write; less than the daemon's settle time


class Late(NamedTuple):
    """A write that Notion applies after its caller has stopped waiting."""

    at: float
    path: str
    body: bytes


class Record:
    """The broker's record of the account's writes; ``told`` holds the outcomes reported later."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.whole = True
        self.told: dict[str, tuple[str, ...]] = {}
        self.asked_since: list[float] = []

    async def since(self, scope: Scope, at: float) -> Remembered:
        self.asked_since.append(at)
        return Remembered(tuple(self.writes), self.whole)

    async def settled(self, scope: Scope, key: str, created: Sequence[str]) -> None:
        self.told[key] = tuple(created)


class MemoryNotion:
    """Notion behind a broker. ``fault(method, path)`` returns the name of a fault, or None."""

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
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.memory: dict[str, tuple[bytes, Reply]] = {}  # of the broker: key to body and answer
        self.late: list[Late] = []
        self.trashed: dict[str, tuple[str, int]] = {}  # block to parent and place
        self.record = Record()
        self.writes: list[tuple[str, str, str | None]] = []  # method, path, key
        self.poison: str | None = None  # a text that Notion refuses, with ``poison_words``
        self.poison_words = "body failed validation: something is poisoned."
        self._markers: dict[str, list[Block]] = {}  # child_page blocks by parent
        self._ids = 0

    # --- what people and other programs do at Notion

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
        """Append one block, or put it after a sibling, as a person does."""
        runs = [{"type": "text", "plain_text": part} for part in (text[:2], text[2:]) if part]
        content: dict[str, Any] = {"rich_text": runs, **(body or {})}
        if kind.startswith("heading"):
            content["is_toggleable"] = toggleable
        block_id = self._make(parent_id, {"type": kind, kind: content}, PERSON)
        siblings = self.children[parent_id]
        at = len(siblings) if after is None else siblings.index(after) + 1
        siblings.insert(at, block_id)
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
        runs = [{"type": "text", "plain_text": text}]
        block[kind] = {"rich_text": runs, "is_toggleable": toggleable}
        self.edit(self.page_of(block_id))

    def trash(self, page_id: str) -> None:
        self.pages[page_id]["in_trash"] = True

    def unshare(self, page_id: str) -> None:
        del self.pages[page_id]

    def another_program(self, page_id: str, text: str) -> str:
        """Append a paragraph as another daemon of the same account, by the same bot."""
        runs = [{"type": "text", "text": {"content": text}}]
        block_id = self._make(page_id, {"type": "paragraph", "paragraph": {"rich_text": runs}})
        self.children[page_id].append(block_id)
        return block_id

    def edit_text(self, block_id: str, text: str) -> None:
        """Rewrite a block as a person does."""
        block = self.blocks[block_id]
        block[block["type"]]["rich_text"] = [{"type": "text", "text": {"content": text}}]
        block["last_edited_by"] = {"object": "user", "id": PERSON}

    def texts(self, parent_id: str) -> list[str]:
        """Return the plain text of a parent's children, in order."""
        return [text_of(self.blocks[child]) for child in self.children[parent_id]]

    def texts_of(self, block_id: str) -> str:
        """Return the plain text of one block."""
        return text_of(self.blocks[block_id])

    def parent_of(self, block_id: str) -> str:
        parent = self.blocks[block_id]["parent"]
        return str(parent[parent["type"]])

    def page_of(self, block_id: str) -> str:
        while block_id in self.blocks:
            block_id = self.parent_of(block_id)
        return block_id

    def take_calls(self) -> list[str]:
        """Return the calls since the last time, as METHOD path with ids left out."""
        calls, self.calls = self.calls, []
        return [f"{method} {_shape(path)}" for method, path in calls]

    # --- the Notion protocol

    async def send(self, scope: Scope, call: Call) -> Reply:
        method, path = call.method, call.path
        self._apply_late()
        if method == "GET" or path.endswith(("/query", "search")):
            return await self._read(scope, call)
        if self.offline:
            raise BrokerUnreachable("no route", sent=False)
        assert scope == SCOPE
        self.writes.append((method, path, call.key))
        return self._write(method, path, call.body or b"", call.key)

    async def _read(self, scope: Scope, call: Call) -> Reply:
        method, path, body = call.method, call.path, call.body
        if self.offline or self.fault(method, path) == "connect":
            raise BrokerUnreachable("no route", sent=False)
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
            return self._answer(_listing([], None))
        match method, parts:
            case "POST", ["search"]:
                return self._search(json.loads(body or b"{}"))
            case "GET", ["pages" | "data_sources" | "databases", page_id]:
                return self._page(page_id, parts[0])
            case "GET", ["blocks", block_id]:
                return self._block(block_id)
            case "GET", ["blocks", parent_id, "children"]:
                return self._children(parent_id, dict(call.query or {}))
            case _:
                raise AssertionError(f"unexpected {method} {path}")

    def _answer(self, body: Any) -> Reply:
        copy = json.loads(json.dumps(body))
        if self.meanwhile is not None:
            self.meanwhile()
        return Reply(status=200, body=copy, date=self._date())

    def _date(self) -> float:
        return float(int(self.clock.now() + self.server_ahead_s))

    def _error(
        self, status: int, code: str, message: str = "refused", retry_after_s: float | None = None
    ) -> Reply:
        body = {"object": "error", "status": status, "code": code, "message": message}
        return Reply(status, body, code=code, retry_after_s=retry_after_s, date=self._date())

    def _invalid(self, message: str) -> Reply:
        return self._error(400, "validation_error", message)

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
        blocks = [self.blocks[child] for child in self.children.get(parent_id, [])]
        blocks += self._markers.get(parent_id, [])
        return self._part(blocks, query.get("start_cursor"), int(query.get("page_size", "100")))

    def _search(self, body: dict[str, Any]) -> Reply:
        wanted = body.get("query", "").casefold()
        found = [p for p in self.pages.values() if not p["in_trash"] and p["id"] not in self.hidden]
        found = [p for p in found if wanted in _title(p).casefold()]
        found.sort(key=lambda p: (p["last_edited_time"], p["id"]), reverse=True)
        return self._part(found, body.get("start_cursor"), body.get("page_size", 100))

    def _part(self, things: list[dict[str, Any]], start: str | None, size: int) -> Reply:
        ids = [thing["id"] for thing in things]
        if start is not None and start not in ids:
            return self._invalid("The start_cursor is invalid.")
        first = ids.index(start) if start else 0
        rest = ids[first + size :]
        return self._answer(_listing(things[first : first + size], rest[0] if rest else None))

    # --- writes

    def _write(self, method: str, path: str, body: bytes, key: str | None) -> Reply:
        if key is not None and key in self.memory:
            sent, reply = self.memory[key]
            assert sent == body, "a key was reused for other bytes"
            return reply
        fault = self.fault(method, path)
        if fault == "connect":
            raise BrokerUnreachable("no route", sent=False)
        if fault == "lost_before":
            raise BrokerUnreachable("cut on the way", sent=True)
        if fault in REFUSALS:
            status, code, retry_after_s = REFUSALS[fault]
            return self._error(status, code, code, retry_after_s)
        if fault in ("unknown_applied", "unknown_absent", "late", "silent_applied"):
            return self._unknown(fault, method, path, body, key)
        self.calls.append((method, path))
        reply = self._execute(method, path, body)
        if reply.ok and key is not None:
            self.memory[key] = (body, reply)
        if fault == "lost_after":
            raise BrokerUnreachable("cut on the way back", sent=True)
        return reply

    def _unknown(self, fault: str, method: str, path: str, body: bytes, key: str | None) -> Reply:
        self.calls.append((method, path))
        if fault in ("unknown_applied", "silent_applied"):
            self._execute(method, path, body)
        elif fault == "late":
            self.late.append(Late(self.clock.boot() + LATE_S, path, body))
        answered = fault in ("unknown_applied", "unknown_absent")
        reply = Reply(
            504,
            body={
                "object": "error",
                "code": "gateway_timeout",
                "message": "The outcome is unknown.",
                "additional_data": {"answered": str(answered).lower()},
            },
            code="gateway_timeout",
            broker_code="write_outcome_unknown",
            date=self._date(),
        )
        if key is not None:
            self.memory[key] = (body, reply)
        return reply

    def _apply_late(self) -> None:
        due = [item for item in self.late if item.at <= self.clock.boot()]
        self.late = [item for item in self.late if item not in due]
        for item in due:
            self._execute("PATCH", item.path, item.body)

    def _execute(self, method: str, path: str, raw: bytes) -> Reply:
        parts = path.split("/")
        if method == "POST" and path == "pages":
            return self._create(json.loads(raw))
        if method == "PATCH" and parts[0] == "blocks" and parts[-1] == "children":
            return self._append(parts[1], json.loads(raw))
        if method == "DELETE":
            return self._trash(parts[1])
        if method == "PATCH" and json.loads(raw) == {"in_trash": False}:
            return self._restore(parts[1])
        raise AssertionError(f"unexpected {method} {path}")

    def _append(self, parent_id: str, body: dict[str, Any]) -> Reply:
        page = self.pages.get(self.page_of(parent_id))
        if page is None or parent_id not in self.children:
            return self._error(404, "object_not_found")
        if parent_id in self.pages and page["object"] != "page":
            return self._invalid("Block does not support children")
        if self.poison is not None and self.poison in json.dumps(body):
            is_bad = [self.poison in json.dumps(block) for block in body["children"]]
            return self._invalid(self.poison_words.format(at=is_bad.index(True)))
        position = body.get("position") or {"type": "end"}
        siblings = self.children[parent_id]
        at = len(siblings)
        if position["type"] == "start":
            at = 0
        if position["type"] == "after_block":
            anchor = position["after_block"]["id"]
            if anchor not in siblings:
                return self._invalid(
                    f"Block ID ({anchor}) to append children after is not parented by ({parent_id})"
                )
            at = siblings.index(anchor) + 1
        created = [self._make(parent_id, block) for block in body["children"]]
        siblings[at:at] = created
        self.edit(self.page_of(parent_id))
        listed = siblings[at:] if position["type"] != "end" else created
        return self._answer(_listing([self.blocks[i] for i in listed], None))

    def _make(self, parent_id: str, block: Block, author: str = BOT) -> str:
        """Store a block with its children; the caller gives it its place."""
        block_id, kind, at = self.new_id(), block["type"], self.stamp()
        content = dict(block[kind])
        inner = content.pop("children", [])
        self.blocks[block_id] = {
            "object": "block",
            "id": block_id,
            "type": kind,
            kind: content,
            "has_children": bool(inner),
            "in_trash": False,
            "parent": self._parent(parent_id),
            **_signed(author, at),
        }
        self.children[block_id] = []
        self.children[block_id] = [self._make(block_id, child, author) for child in inner]
        if parent_id in self.blocks:
            self.blocks[parent_id]["has_children"] = True
        return block_id

    def _parent(self, parent_id: str) -> dict[str, str]:
        kind = "block_id" if parent_id in self.blocks else "page_id"
        return {"type": kind, kind: parent_id}

    def _create(self, body: dict[str, Any]) -> Reply:
        kind, parent = next(iter(body["parent"].items()))
        if parent not in self.pages:
            return self._error(404, "object_not_found")
        (runs,) = [v["title"] for v in body["properties"].values() if "title" in v]
        title = runs[0]["text"]["content"]
        page_id = self.add_page(title, parent={"type": kind, kind: parent})
        self.pages[page_id]["last_edited_by"] = {"object": "user", "id": BOT}
        self.children[page_id] = [self._make(page_id, b) for b in body.get("children", [])]
        marker = {
            "object": "block",
            "id": page_id,
            "type": "child_page",
            "child_page": {"title": title},
            "has_children": True,
            "in_trash": False,
            "parent": self._parent(parent),
            **_signed(BOT, self.stamp()),
        }
        self._markers.setdefault(parent, []).append(marker)
        return self._answer(self.pages[page_id])

    def _restore(self, block_id: str) -> Reply:
        """Put a block back into its place, which Notion keeps while the block is in the trash."""
        parent, at = self.trashed.pop(block_id)
        self.children[parent].insert(at, block_id)
        self.blocks[block_id]["in_trash"] = False
        return self._answer(self.blocks[block_id])

    def _trash(self, block_id: str) -> Reply:
        if block_id in self.pages:
            self.pages[block_id]["in_trash"] = True
            return self._answer({**self.pages[block_id], "object": "block"})
        if block_id not in self.blocks:
            return self._error(404, "object_not_found")
        if self.blocks[block_id]["in_trash"]:
            return self._invalid("Can't edit block that is archived. You must unarchive it.")
        parent = next(key for key, ids in self.children.items() if block_id in ids)
        self.trashed[block_id] = (parent, self.children[parent].index(block_id))
        self.remove(block_id)
        self.blocks[block_id]["last_edited_by"] = {"object": "user", "id": BOT}
        return self._answer(self.blocks[block_id])


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


def text_of(block: Mapping[str, Any]) -> str:
    """Return the plain text of a block."""
    runs = block.get(block["type"], {}).get("rich_text", [])
    return "".join(run.get("plain_text") or run.get("text", {}).get("content", "") for run in runs)


def _signed(author: str, at: str) -> dict[str, Any]:
    user = {"object": "user", "id": author}
    return {"created_by": user, "last_edited_by": user, "created_time": at, "last_edited_time": at}


def _title(page: dict[str, Any]) -> str:
    runs = page["title"] if "title" in page else page["properties"]["Name"]["title"]
    return "".join(run["plain_text"] for run in runs)


def _listing(results: list[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
    more = {"next_cursor": cursor, "has_more": cursor is not None}
    return {"object": "list", "results": results, **more}


def _shape(path: str) -> str:
    return "/".join("ID" if len(part) == 36 else part for part in path.split("/"))


_: type[Notion] = MemoryNotion
