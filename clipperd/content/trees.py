"""Walking blocks without recursion: where children live, and how much a subtree weighs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from clipperd.content.limits import CHILDREN, DEPTH, ELEMENTS, REQUEST_BYTES
from clipperd.model import Block

_FRAME = len(b',"children":[]')


def encode(obj: Any) -> bytes:
    """Compact UTF-8 JSON, byte for byte what a request carries."""
    return msgspec.json.encode(obj)


def children_of(block: Block) -> list[Block]:
    """The children inside the type object; an empty list when there are none."""
    body = block.get(block["type"])
    children = body.get("children") if isinstance(body, dict) else None
    return children or []


def with_children(block: Block, children: list[Block]) -> Block:
    """A copy of ``block`` with exactly ``children``; the key is absent when there are none."""
    kind = block["type"]
    body = {k: v for k, v in block[kind].items() if k != "children"}
    if children:
        body["children"] = children
    return {**block, kind: body}


def walk(blocks: Sequence[Block]) -> Iterator[Block]:
    """Every block of the trees, parents before children, in reading order."""
    stack = list(reversed(blocks))
    while stack:
        block = stack.pop()
        yield block
        stack.extend(reversed(children_of(block)))


class Node:
    """A block with the weight of its subtree; ``bytes`` is its JSON size, ``depth`` its levels
    below itself, ``wide`` whether any array in it is longer than one request may carry.
    """

    __slots__ = ("bare_bytes", "block", "bytes", "children", "depth", "elements", "wide")

    def __init__(self, block: Block) -> None:
        """Weigh ``block`` alone; ``grow`` weighs it with its children."""
        self.block = block
        self.children: list[Node] = []
        self.bare_bytes = 0
        self.bytes = 0
        self.elements = 1
        self.depth = 0
        self.wide = False

    def grow(self) -> None:
        """Add up the children, which must have been grown before."""
        bare = with_children(self.block, []) if self.children else self.block
        self.bare_bytes = self.bytes = len(encode(bare))
        for child in self.children:
            self.bytes += child.bytes + 1
            self.elements += child.elements
            self.depth = max(self.depth, child.depth + 1)
            self.wide = self.wide or child.wide
        if self.children:
            self.bytes += _FRAME
            self.wide = self.wide or len(self.children) > CHILDREN

    def fits_at(self, level: int) -> bool:
        """Say whether the whole subtree may stand at nesting ``level`` of some request."""
        return (
            not self.wide
            and level + self.depth <= DEPTH
            and self.elements <= ELEMENTS
            and self.bytes <= REQUEST_BYTES
        )


def measured(blocks: Sequence[Block]) -> list[Node]:
    """Weigh whole trees, each block once."""
    roots = [Node(b) for b in blocks]
    order: list[Node] = []
    stack = list(roots)
    while stack:
        node = stack.pop()
        order.append(node)
        node.children = [Node(c) for c in children_of(node.block)]
        stack.extend(node.children)
    for node in reversed(order):
        node.grow()
    return roots
