"""Plans the fewest legal append requests for trees of blocks.

An append returns the ids of its first-level blocks only. Children that do not fit into the request
of their parent can therefore follow only under a first-level block: plans cut trees directly below
the first level.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from clipperd.content.limits import CHILDREN, ELEMENTS, REQUEST_BYTES, REQUIRED_CHILDREN
from clipperd.content.trees import MeasuredBlock, encode, measured, with_children
from clipperd.model import Block

__all__ = ["Chunk", "Plan", "encode", "plan"]


class Chunk(msgspec.Struct, frozen=True):
    """The children of one legal append request.

    ``parent`` None: first level of the content; the blocks follow the last block of the previous
    chunk with parent None. ``parent`` (chunk, offset): the blocks are appended to the block that
    the earlier ``chunk`` created at ``offset`` of its own first level.
    """

    blocks: list[Block]
    parent: tuple[int, int] | None


class Plan(msgspec.Struct, frozen=True):
    """The requests that create the content, in order.

    ``encoded``: the chunks as JSON, as they are stored. ``elements``: the number of blocks, nested
    ones included. ``size_bytes``: the size of the blocks as JSON arrays, one for each chunk.
    """

    chunks: list[Chunk]
    encoded: bytes
    elements: int
    size_bytes: int


def plan(blocks: Sequence[Block]) -> Plan:
    """Cut ``blocks`` into requests: the first level in order, then the children cut off from it.

    An array holds at most 100 blocks, nesting is at most 2 levels below the first, a request holds
    at most 1000 blocks and 450 KB. Raises ValueError for a block that no request can create;
    ``convert.prepare`` never returns one.
    """
    roots = measured(blocks)
    chunks: list[Chunk] = []
    arrays: list[bytes] = []
    waiting: deque[tuple[list[MeasuredBlock], tuple[int, int] | None]] = deque([(roots, None)])
    while waiting:
        nodes, parent = waiting.popleft()
        packer = _Packer(chunks, arrays, parent)
        for node in nodes:
            rest = packer.add(node)
            if rest:
                waiting.append((rest, packer.place))
        packer.flush()
    return Plan(
        chunks,
        encoded=_encoded(chunks, arrays),
        elements=sum(root.elements for root in roots),
        size_bytes=sum(len(array) for array in arrays),
    )


def _encoded(chunks: Sequence[Chunk], arrays: Sequence[bytes]) -> bytes:
    items = [
        b'{"blocks":' + array + b',"parent":' + encode(chunk.parent) + b"}"
        for chunk, array in zip(chunks, arrays, strict=True)
    ]
    return b"[" + b",".join(items) + b"]"


class _Packer:
    """Fills one chunk after another with siblings, left to right."""

    def __init__(
        self, chunks: list[Chunk], arrays: list[bytes], parent: tuple[int, int] | None
    ) -> None:
        self._chunks = chunks
        self._arrays = arrays
        self._parent = parent
        self._blocks: list[Block] = []
        self._encoded: list[bytes] = []
        self._elements = 0
        self._bytes = 2  # the brackets of the array

    @property
    def place(self) -> tuple[int, int]:
        """Chunk and offset of the block added last."""
        return len(self._chunks), len(self._blocks) - 1

    def flush(self) -> None:
        """Close the open chunk, if it holds anything."""
        if self._blocks:
            self._chunks.append(Chunk(self._blocks, self._parent))
            self._arrays.append(b"[" + b",".join(self._encoded) + b"]")
        self._blocks, self._encoded, self._elements, self._bytes = [], [], 0, 2

    def add(self, node: MeasuredBlock) -> list[MeasuredBlock]:
        """Place ``node``, whole if one request can hold it; return the children left to send."""
        if node.fits_at(0) and node.bytes + 2 <= REQUEST_BYTES:
            if not self._room(node.elements, node.bytes):
                self.flush()
            self._put(node.block, node.encoded(node.children), node.elements, node.bytes)
            return []
        count = self._carried(node)
        carried = node.children[:count]
        weight = _weight(node, carried)
        if not self._room(*weight):
            self.flush()
        block = with_children(node.block, [c.block for c in carried])
        self._put(block, node.encoded(carried), *weight)
        return node.children[count:]

    def _carried(self, node: MeasuredBlock) -> int:
        """Count the children to send along: those required, or more if that saves a request."""
        least = REQUIRED_CHILDREN.get(node.block["type"], 0)
        if not _carries(node, node.children[:least]):
            raise ValueError("a block cannot be created together with the children it needs")
        if node.block["type"] == "table":
            return _rows(node)
        groups = _groups(node.children)
        if len(groups) < 2 or groups[0] <= least:
            return least
        head = node.children[: groups[0]]
        if not _carries(node, head):
            return least
        return groups[0] if self._room(*_weight(node, head)) or not self._blocks else least

    def _room(self, count: int, size_bytes: int) -> bool:
        return (
            len(self._blocks) < CHILDREN
            and self._elements + count <= ELEMENTS
            and self._bytes + size_bytes + 1 <= REQUEST_BYTES
        )

    def _put(self, block: Block, encoded: bytes, count: int, size_bytes: int) -> None:
        self._blocks.append(block)
        self._encoded.append(encoded)
        self._elements += count
        self._bytes += size_bytes + 1


def _weight(node: MeasuredBlock, carried: Sequence[MeasuredBlock]) -> tuple[int, int]:
    count = 1 + sum(c.elements for c in carried)
    return count, node.bare_bytes + 16 + sum(c.bytes + 1 for c in carried)


def _carries(node: MeasuredBlock, carried: Sequence[MeasuredBlock]) -> bool:
    """Say whether ``node`` and these children are legal as one block of a fresh request."""
    count, size_bytes = _weight(node, carried)
    return (
        len(carried) <= CHILDREN
        and all(c.fits_at(1) for c in carried)
        and count <= ELEMENTS
        and size_bytes + 2 <= REQUEST_BYTES
    )


def _rows(table: MeasuredBlock) -> int:
    """Count the rows that fit one request; rows are leaves, so the rest fills whole requests."""
    count, size_bytes = 0, table.bare_bytes + 18
    for row in table.children[:CHILDREN]:
        size_bytes += row.bytes + 1
        if size_bytes > REQUEST_BYTES:
            break
        count += 1
    return count


def _groups(nodes: Sequence[MeasuredBlock]) -> list[int]:
    """Return the sizes of the requests for ``nodes``, packed from the right: the first group is the
    smallest one that saves a request when it is sent along with the parent.
    """
    sizes: list[int] = []
    count = elements_ = size_bytes = 0
    for node in reversed(nodes):
        whole = node.fits_at(0)
        weight = node.elements if whole else 1
        length = (node.bytes if whole else node.bare_bytes) + 1
        if count and (
            count == CHILDREN
            or elements_ + weight > ELEMENTS
            or size_bytes + length > REQUEST_BYTES
        ):
            sizes.append(count)
            count = elements_ = size_bytes = 0
        count, elements_, size_bytes = count + 1, elements_ + weight, size_bytes + length
    if count:
        sizes.append(count)
    return sizes[::-1]
