"""A model of broker and Notion for writes, with faults at every point where an answer can go lost.

It extends the reading fake: appends, page creation, trash, and the broker's memory of keys. Time
is the test's, so a fault schedule with settle times of a minute runs in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipperd.broker.reply import Reply
from clipperd.errors import BrokerUnreachable
from clipperd.model import Block, Scope
from clipperd.notion.port import Call, Remembered, Write
from tests.clipperd.memory_notion import SCOPE, MemoryNotion
from tests.clocks import SkippingClock

BOT = "00000000-0000-4000-8000-00000000b0b0"
REFUSALS = {
    "529": (529, "service_overload"),
    "401": (401, "unauthorized"),
    "403": (403, "restricted_resource"),
}
PERSON = "00000000-0000-4000-8000-0000000000aa"


@dataclass
class Late:
    """A write that Notion applies although everybody has stopped waiting."""

    at: float
    path: str
    body: bytes


class Record:
    """The broker's record of the account's writes; ``told`` is what was found out by reading."""

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


class WritableNotion(MemoryNotion):
    """Notion behind a broker. ``fault(method, path)`` names what goes wrong, or None."""

    def __init__(self, clock: SkippingClock) -> None:
        super().__init__(clock)
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.memory: dict[str, tuple[bytes, Reply]] = {}
        self.late: list[Late] = []
        self.trashed: dict[str, tuple[str, int]] = {}
        self.record = Record()
        self.writes: list[tuple[str, str, str | None]] = []
        self.poison: str | None = None
        self.poison_words = "body failed validation: something is poisoned."

    def add(self, *args: Any, **kwargs: Any) -> str:
        block_id = super().add(*args, **kwargs)
        self._sign(block_id, PERSON)
        return block_id

    def _sign(self, block_id: str, who: str) -> None:
        self.blocks[block_id] |= {
            "created_by": {"object": "user", "id": who},
            "last_edited_by": {"object": "user", "id": who},
            "created_time": self.stamp(),
        }

    def another_program(self, page_id: str, text: str) -> str:
        """Another daemon of the same account appends a paragraph as the same bot."""
        runs = [{"type": "text", "text": {"content": text}}]
        block_id = self._make(page_id, {"type": "paragraph", "paragraph": {"rich_text": runs}})
        self.children[page_id].append(block_id)
        return block_id

    def edit_text(self, block_id: str, text: str) -> None:
        """A person rewrites a block."""
        block = self.blocks[block_id]
        block[block["type"]]["rich_text"] = [{"type": "text", "text": {"content": text}}]
        block["last_edited_by"] = {"object": "user", "id": PERSON}

    def texts(self, parent_id: str) -> list[str]:
        """The plain text of a parent's children, in order."""
        return [text_of(self.blocks[child]) for child in self.children[parent_id]]

    def texts_of(self, block_id: str) -> str:
        """The plain text of one block."""
        return text_of(self.blocks[block_id])

    async def send(self, scope: Scope, call: Call) -> Reply:
        method, path, body, key = call.method, call.path, call.body, call.key
        self._apply_late()
        if method == "GET" or path.endswith(("/query", "search")):
            if self.fault(method, path) == "connect":
                raise BrokerUnreachable("no route", sent=False)
            return await super().send(scope, call)
        if self.offline:
            raise BrokerUnreachable("no route", sent=False)
        assert scope == SCOPE
        self.writes.append((method, path, key))
        return self._write(method, path, body or b"", key)

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
        if fault == "429":
            return self._refusal(429, "rate_limited", retry_after=2.0)
        if fault in REFUSALS:
            return self._refusal(*REFUSALS[fault])
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
            self.late.append(Late(self.clock.boot() + 40.0, path, body))
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
            date=self.clock.now(),
        )
        if key is not None:
            self.memory[key] = (body, reply)
        return reply

    def _apply_late(self) -> None:
        due = [item for item in self.late if item.at <= self.clock.boot()]
        self.late = [item for item in self.late if item not in due]
        for item in due:
            self._execute("PATCH", item.path, item.body)

    def _refusal(self, status: int, code: str, retry_after: float | None = None) -> Reply:
        body = {"object": "error", "code": code, "message": code}
        return Reply(status, body, code=code, retry_after_s=retry_after, date=self.clock.now())

    def _invalid(self, message: str) -> Reply:
        body = {"object": "error", "code": "validation_error", "message": message}
        return Reply(400, body, code="validation_error", date=self.clock.now())

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
        return self._answer(
            {"object": "list", "results": [self.blocks[i] for i in listed], "has_more": False}
        )

    def _make(self, parent_id: str, block: Block) -> str:
        block_id = self.new_id()
        kind = block["type"]
        content = dict(block[kind])
        inner = content.pop("children", [])
        self.blocks[block_id] = {
            "object": "block",
            "id": block_id,
            "type": kind,
            kind: content,
            "has_children": bool(inner),
            "in_trash": False,
            "last_edited_time": self.stamp(),
            "parent": self._parent(parent_id),
        }
        self._sign(block_id, BOT)
        self.children[block_id] = []
        self.children[block_id] = [self._make(block_id, child) for child in inner]
        if parent_id in self.blocks:
            self.blocks[parent_id]["has_children"] = True
        return block_id

    def _create(self, body: dict[str, Any]) -> Reply:
        kind, parent = next(iter(body["parent"].items()))
        if parent not in self.pages:
            return self._error(404, "object_not_found")
        title = body["properties"]["title"]["title"][0]["text"]["content"]
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
            "last_edited_time": self.stamp(),
            "parent": self._parent(parent),
        }
        self.markers = getattr(self, "markers", {})
        self.markers.setdefault(parent, []).append(marker)
        marker |= {
            "created_by": {"id": BOT},
            "last_edited_by": {"id": BOT},
            "created_time": self.stamp(),
        }
        return self._answer(self.pages[page_id])

    def _children(self, parent_id: str, query: dict[str, str]) -> Reply:
        reply = super()._children(parent_id, query)
        extra = getattr(self, "markers", {}).get(parent_id, [])
        if reply.ok and extra and not reply.body["has_more"]:
            reply.body["results"] += json.loads(json.dumps(extra))
        return reply

    def _restore(self, block_id: str) -> Reply:
        """Back to where it stood: Notion keeps the place of what is in the trash."""
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


def text_of(block: Mapping[str, Any]) -> str:
    """The plain text of a block."""
    runs = block.get(block["type"], {}).get("rich_text", [])
    return "".join(run.get("plain_text") or run.get("text", {}).get("content", "") for run in runs)
