"""Walks and measures trees of blocks without recursion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from clipperd.content.limits import CHILDREN, DEPTH, ELEMENTS, REQUEST_BYTES
from clipperd.model import Block

_FRAME = len(b',"children":[]')


def encode(obj: Any) -> bytes:
    """Return compact UTF-8 JSON, byte for byte as in the request."""
    return msgspec.json.encode(obj)


def children_of(block: Block) -> list[Block]:
    """Return the children inside the type object; an empty list when there are none."""
    body = block.get(block["type"])
    children = body.get("children") if isinstance(body, dict) else None
    return children or []


def with_children(block: Block, children: list[Block]) -> Block:
    """Return a copy of ``block`` with exactly ``children``; without the key if there are none."""
    kind = block["type"]
    body = {k: v for k, v in block[kind].items() if k != "children"}
    if children:
        body["children"] = children
    return {**block, kind: body}


def walk(blocks: Sequence[Block]) -> Iterator[Block]:
    """Yield every block of the trees in reading order, parents before children."""
    stack = list(reversed(blocks))
    while stack:
        block = stack.pop()
        yield block
        stack.extend(reversed(children_of(block)))


class MeasuredBlock:
    """A block with its JSON and the measures of its subtree.

    ``bytes``: JSON size. ``depth``: levels below the block. ``wide``: some array in it is longer
    than a request may hold.
    """

    __slots__ = (
        "_body",
        "_frame",
        "bare_bytes",
        "block",
        "bytes",
        "children",
        "depth",
        "elements",
        "wide",
    )

    def __init__(self, block: Block) -> None:
        self.block = block
        self.children: list[MeasuredBlock] = []
        self.bare_bytes = 0
        self.bytes = 0
        self.elements = 1
        self.depth = 0
        self.wide = False
        kind = block["type"]
        body = block[kind]
        if children_of(block):
            body = {key: value for key, value in body.items() if key != "children"}
        self._body = encode(body)
        rest = encode({key: value for key, value in block.items() if key != kind})
        self._frame = rest[:-1] + b"," + encode(kind) + b":"

    def encoded(self, children: Sequence[MeasuredBlock]) -> bytes:
        """Return the block's JSON with these of its children, each of them whole.

        Joins the encoded parts; encodes nothing again.
        """
        body = self._body
        if children:
            inner = b",".join(child.encoded(child.children) for child in children)
            comma = b"," if len(body) > 2 else b""
            body = body[:-1] + comma + b'"children":[' + inner + b"]}"
        return self._frame + body + b"}"

    def measure(self) -> None:
        """Measure the subtree; the children must have been measured."""
        self.bare_bytes = self.bytes = len(self._frame) + len(self._body) + 1
        for child in self.children:
            self.bytes += child.bytes + 1
            self.elements += child.elements
            self.depth = max(self.depth, child.depth + 1)
            self.wide = self.wide or child.wide
        if self.children:
            self.bytes += _FRAME
            self.wide = self.wide or len(self.children) > CHILDREN

    def fits_at(self, level: int) -> bool:
        """Say whether a request may hold the whole subtree at nesting ``level``."""
        return (
            not self.wide
            and level + self.depth <= DEPTH
            and self.elements <= ELEMENTS
            and self.bytes <= REQUEST_BYTES
        )


def measured(blocks: Sequence[Block]) -> list[MeasuredBlock]:
    """Measure whole trees, each block once."""
    roots = [MeasuredBlock(b) for b in blocks]
    order: list[MeasuredBlock] = []
    stack = list(roots)
    while stack:
        node = stack.pop()
        order.append(node)
        node.children = [MeasuredBlock(c) for c in children_of(node.block)]
        stack.extend(node.children)
    for node in reversed(order):
        node.measure()
    return roots
