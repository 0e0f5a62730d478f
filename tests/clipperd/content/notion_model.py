"""Models Notion's appends: checks its limits, keeps the blocks and returns their ids."""

from __future__ import annotations

import itertools
import json
from typing import Any

from clipperd.content.chunks import Chunk
from clipperd.model import Block

NEEDS = {"table": 1, "column_list": 2, "column": 1, "tab": 1}


class Refused(AssertionError):
    """A request that Notion answers with 400."""


class Stored:
    """A block on the page."""

    def __init__(self, block: Block) -> None:
        self.kind: str = block["type"]
        self.body = {k: v for k, v in block[self.kind].items() if k != "children"}
        self.children: list[Stored] = [Stored(c) for c in block[self.kind].get("children", [])]

    def tree(self) -> Any:
        return [self.kind, self.body, [c.tree() for c in self.children]]


class Page:
    """One page and the ids that its appends returned."""

    def __init__(self) -> None:
        self.blocks: list[Stored] = []
        self._ids: dict[str, Stored] = {}
        self._next = itertools.count()

    def append(self, children: list[Block], parent: str | None) -> list[str]:
        check(children)
        made = [Stored(c) for c in children]
        (self.blocks if parent is None else self._ids[parent].children).extend(made)
        ids = [f"id-{next(self._next)}" for _ in made]
        self._ids.update(zip(ids, made, strict=True))
        return ids


def check(children: list[Block]) -> None:
    """Refuse an append that breaks one of Notion's limits."""
    size = len(json.dumps(children, ensure_ascii=False, separators=(",", ":")).encode())
    if size > 450_000 or not 1 <= len(children) <= 100:
        raise Refused(f"{size} bytes, {len(children)} children")
    stack = [(c, 0) for c in children]
    count = 0
    while stack:
        block, level = stack.pop()
        count += 1
        kind = block["type"]
        inner = block[kind].get("children")
        if level > 2 or count > 1000 or (inner is not None and not 1 <= len(inner) <= 100):
            raise Refused(f"{kind} at level {level}")
        if len(inner or ()) < NEEDS.get(kind, 0):
            raise Refused(f"{kind} without its children")
        if kind in ("column_list", "column") and level > ("column_list", "column").index(kind):
            raise Refused(f"{kind} at level {level}")
        check_texts(block[kind])
        stack += [(c, level + 1) for c in inner or ()]


def check_texts(body: dict[str, Any]) -> None:
    for runs in (body.get("rich_text"), body.get("caption"), *body.get("cells", ())):
        if runs is None:
            continue
        if len(runs) > 100:
            raise Refused("more than 100 runs")
        for run in runs:
            content = run.get("text", {}).get("content", "")
            if len(content.encode("utf-16-le")) > 4000:
                raise Refused("a text longer than 2000 units")


def replay(plan: list[Chunk]) -> Page:
    """Send the chunks in order, with the ids of Notion's responses only."""
    page = Page()
    answers: list[list[str]] = []
    for chunk in plan:
        parent = None if chunk.parent is None else answers[chunk.parent[0]][chunk.parent[1]]
        answers.append(page.append(chunk.blocks, parent))
    return page


def tree(blocks: list[Block]) -> Any:
    """Return the shape of blocks as ``Page`` returns it."""
    return [Stored(b).tree() for b in blocks]


def paragraph(text: str = "x", *children: Block) -> Block:
    body: dict[str, Any] = {"rich_text": [{"type": "text", "text": {"content": text}}]}
    if children:
        body["children"] = list(children)
    return {"type": "paragraph", "paragraph": body}


def item(text: str = "x", *children: Block) -> Block:
    return {
        "type": "bulleted_list_item",
        "bulleted_list_item": paragraph(text, *children)["paragraph"],
    }


def table(rows: int, width: int = 2, text: str = "c") -> Block:
    cells = [[{"type": "text", "text": {"content": text}}] for _ in range(width)]
    row = {"type": "table_row", "table_row": {"cells": cells}}
    return {"type": "table", "table": {"table_width": width, "children": [row] * rows}}


def columns(*contents: list[Block]) -> Block:
    parts = [{"type": "column", "column": {"children": c}} for c in contents]
    return {"type": "column_list", "column_list": {"children": parts}}
