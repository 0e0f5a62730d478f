"""Demotes headings below the level of a section, so that a clip does not end its own section."""

from __future__ import annotations

from collections.abc import Sequence

from clipperd.content.limits import HEADINGS
from clipperd.content.trees import children_of, with_children
from clipperd.model import Block

_DEEPEST = len(HEADINGS)


def demote(blocks: Sequence[Block], level: int) -> list[Block]:
    """Return ``blocks`` with their headings deeper than ``level`` (0-4; 0 changes nothing).

    All headings, nested ones too, move by the same number of levels: as many as the highest
    first-level heading needs, because only siblings of the section's heading can end the section.
    They stop at heading_4. Below a heading_4 they become bold paragraphs with the same text and
    children. The input is not changed.
    """
    tops = [HEADINGS.index(b["type"]) + 1 for b in blocks if b["type"] in HEADINGS]
    if level <= 0 or not tops or min(tops) > level:
        return list(blocks)
    shift = level + 1 - min(tops)
    return _rebuilt(blocks, shift, paragraphs=level >= _DEEPEST)


def _rebuilt(blocks: Sequence[Block], shift: int, *, paragraphs: bool) -> list[Block]:
    result: list[Block] = []
    stack: list[tuple[Sequence[Block], list[Block]]] = [(blocks, result)]
    while stack:
        source, target = stack.pop()
        for block in source:
            children = children_of(block)
            moved = _moved(block, shift, paragraphs=paragraphs)
            if children:
                fresh: list[Block] = []
                moved = with_children(moved, children)
                moved[moved["type"]]["children"] = fresh
                stack.append((children, fresh))
            target.append(moved)
    return result


def _moved(block: Block, shift: int, *, paragraphs: bool) -> Block:
    kind = block["type"]
    if kind not in HEADINGS:
        return block
    body = block[kind]
    rest = {k: v for k, v in block.items() if k not in ("type", kind)}
    if paragraphs:
        runs = [
            {**r, "annotations": {**r.get("annotations", {}), "bold": True}}
            for r in body["rich_text"]
        ]
        kept = {k: v for k, v in body.items() if k != "is_toggleable"}
        return {**rest, "type": "paragraph", "paragraph": {**kept, "rich_text": runs}}
    depth = min(HEADINGS.index(kind) + 1 + shift, _DEEPEST)
    deeper = HEADINGS[depth - 1]
    return {**rest, "type": deeper, deeper: body}
