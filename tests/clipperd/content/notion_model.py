"""Pages that accept what Notion accepts, remember it, and answer with ids.

The sandbox's own checks decide; the daemon's smaller limit of a request's size comes on top.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from clipperd.content.chunks import Chunk
from clipperd.model import Block
from cloud_broker.sandbox import model
from cloud_broker.sandbox.shapes.blocks import may_hold_children, read_children
from cloud_broker.sandbox.shapes.rich_text import Reading

MOST_BYTES = 450_000  # of an append's children; Notion refuses bodies of 500 kB
READING = Reading(name_of=lambda kind, id_: id_, upload=lambda path, id_: None)
NODE: dict[str, Any] = {
    "id": "",
    "workspace_id": "",
    "parent": model.Parent("workspace", ""),
    "created_at": 0.0,
    "edited_at": 0.0,
    "created_by": "",
    "edited_by": "",
}


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
        check(children, None if parent is None else self._ids[parent])
        made = [Stored(c) for c in children]
        (self.blocks if parent is None else self._ids[parent].children).extend(made)
        ids = [f"id-{next(self._next)}" for _ in made]
        self._ids.update(zip(ids, made, strict=True))
        return ids


def check(children: list[Block], parent: Stored | None) -> None:
    """Raise NotionError for an append that Notion refuses."""
    size = len(json.dumps(children, ensure_ascii=False, separators=(",", ":")).encode())
    assert size <= MOST_BYTES
    assert children
    node: model.Node = model.Page(**NODE, properties={})
    if parent is not None:
        node = model.Block(**NODE, type=parent.kind, body=parent.body)
    assert may_hold_children(node)
    read_children(children, "body.children", node, READING)


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
