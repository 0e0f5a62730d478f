"""Holds a page's blocks for its outline: ids, types, headings, order, parents (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from clipperd.pages.entries import plain_text

_HEADINGS = {"heading_1": 1, "heading_2": 2, "heading_3": 3, "heading_4": 4}
UNKNOWN = "unknown"
"""The type of a block that we wrote and have not read back."""


class Node(msgspec.Struct, frozen=True, array_like=True):
    """One block; ``level`` is 1-4 for a heading, else 0; only headings have a ``text``."""

    id: str
    type: str
    has_children: bool = False
    level: int = 0
    text: str = ""
    toggleable: bool = False


def to_node(block: Mapping[str, Any], block_id: str | None = None) -> Node:
    """Convert a block object; ``block_id`` is the id of one in request shape."""
    kind = str(block.get("type") or UNKNOWN)
    level = _HEADINGS.get(kind, 0)
    body = block.get(kind)
    body = body if isinstance(body, dict) else {}
    if kind == "synced_block" and body.get("synced_from"):
        kind = "synced_copy"  # its children belong to the original, so no block can be added
    return Node(
        id=block_id or str(block["id"]),
        type=kind,
        has_children=bool(block.get("has_children") or body.get("children")),
        level=level,
        text=plain_text(body.get("rich_text")) if level else "",
        toggleable=bool(level and body.get("is_toggleable")),
    )


class Tree(msgspec.Struct, frozen=True):
    """The children of the page, and of the containers that were listed, by parent id."""

    page_id: str
    lists: dict[str, tuple[Node, ...]] = msgspec.field(default_factory=dict)

    @property
    def top(self) -> tuple[Node, ...]:
        """The direct children of the page."""
        return self.lists.get(self.page_id, ())

    def find(self, block_id: str) -> tuple[str, int, Node] | None:
        """Return (parent id, index, node) of a block, or None."""
        for parent_id, nodes in self.lists.items():
            for index, node in enumerate(nodes):
                if node.id == block_id:
                    return parent_id, index, node
        return None

    def with_list(self, parent_id: str, nodes: Iterable[Node]) -> Tree:
        """Return the tree with new children of one parent, without lists of lost parents."""
        lists = {**self.lists, parent_id: tuple(nodes)}
        kept = {self.page_id}
        waiting = [self.page_id]
        while waiting:
            for node in lists.get(waiting.pop(), ()):
                if node.id in lists and node.id not in kept:
                    kept.add(node.id)
                    waiting.append(node.id)
        return Tree(self.page_id, {p: nodes for p, nodes in lists.items() if p in kept})

    def inserted(
        self, parent_id: str, after: str | None, edge: str, nodes: Sequence[Node]
    ) -> Tree | None:
        """Return the tree with appended ``nodes``, or None if their place is not in it."""
        siblings = self.lists.get(parent_id)
        held = self.find(parent_id)
        if held is not None and not held[2].has_children:
            return self._opened(held).inserted(parent_id, after, edge, nodes)
        if siblings is None:
            return None
        new = {node.id for node in nodes}
        kept = [
            node for node in siblings if node.id not in new
        ]  # a repeated report must not insert twice
        if after is None:
            at = len(kept) if edge == "end" else 0
        else:
            found = [i for i, node in enumerate(kept) if node.id == after]
            if not found:
                return None
            at = found[0] + 1
        return self.with_list(parent_id, [*kept[:at], *nodes, *kept[at:]])

    def _opened(self, held: tuple[str, int, Node]) -> Tree:
        """Return the tree with an empty list of children for a block without one."""
        parent_id, index, node = held
        nodes = list(self.lists[parent_id])
        nodes[index] = msgspec.structs.replace(node, has_children=True)
        return self.with_list(parent_id, nodes).with_list(node.id, ())

    def without(self, block_ids: Iterable[str]) -> Tree:
        """Return the tree without these blocks and their children."""
        gone = set(block_ids)
        tree = self
        for parent_id, nodes in self.lists.items():
            if any(node.id in gone for node in nodes):
                tree = tree.with_list(parent_id, [n for n in nodes if n.id not in gone])
        return tree

    def spliced(self, parent_id: str, fresh: Sequence[Node], *, to_end: bool) -> Tree:
        """Return the tree with a freshly listed run of siblings instead of the old one.

        Replaces the siblings from the first block of the run to the last one that both lists have,
        or to the end if the listing reached it (``to_end``). Blocks of the run that were under
        another parent have moved.
        """
        ids = {node.id for node in fresh}
        for other, nodes in self.lists.items():
            if other != parent_id and any(node.id in ids for node in nodes):
                left = [node for node in nodes if node.id not in ids]
                return self.with_list(other, left).spliced(parent_id, fresh, to_end=to_end)
        old = self.lists.get(parent_id, ())
        start = next((i for i, node in enumerate(old) if node.id == fresh[0].id), len(old))
        last = max((i for i, node in enumerate(old) if node.id in ids), default=start)
        head = [node for node in old[:start] if node.id not in ids]
        tail = [] if to_end else [node for node in old[last + 1 :] if node.id not in ids]
        return self.with_list(parent_id, [*head, *fresh, *tail])


_DECODER = msgspec.msgpack.Decoder(dict[str, tuple[Node, ...]])


def encode(tree: Tree) -> bytes:
    """Pack the lists for the store."""
    return msgspec.msgpack.encode(tree.lists)


def decode(page_id: str, raw: bytes) -> Tree | None:
    """Unpack the lists, or return None if they are damaged (the caller fetches the page again)."""
    try:
        return Tree(page_id, _DECODER.decode(raw))
    except msgspec.MsgspecError:
        return None
