"""Splits blocks to fit Notion's limits, for every content format.

Content too long for one block continues in a sibling of the same type. Columns and tabs that no
request can create become a sequence of blocks, reported as a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipperd.content.limits import (
    BLOCK_BYTES,
    CHILDREN,
    ELEMENTS,
    EXPRESSION_UNITS,
    REQUEST_BYTES,
    REQUIRED_CHILDREN,
)
from clipperd.content.links import utf16_units
from clipperd.content.losses import Losses
from clipperd.content.runs import Run, fitted, groups_of, text_run
from clipperd.content.trees import MeasuredBlock, children_of, encode, measured, with_children
from clipperd.model import Block

_LAYOUT = frozenset({"column_list", "tab"})


def fit(blocks: Sequence[Block], losses: Losses) -> list[Block]:
    """Return ``blocks`` with every rich text, equation and block within Notion's limits."""
    result: list[Block] = []
    stack: list[tuple[Sequence[Block], list[Block]]] = [(blocks, result)]
    layouts = False
    while stack:
        source, target = stack.pop()
        for block in source:
            pieces = _pieces(block, losses)
            children = children_of(block)
            if children:
                fresh: list[Block] = []
                pieces[-1] = with_children(pieces[-1], children)
                pieces[-1][pieces[-1]["type"]]["children"] = fresh
                stack.append((children, fresh))
            layouts = layouts or block["type"] in _LAYOUT
            target.extend(pieces)
    return _laid_out(result, losses) if layouts else result


def _pieces(block: Block, losses: Losses) -> list[Block]:
    """Return the block or its pieces; the caller attaches the children to the last one."""
    kind = block["type"]
    body = block[kind]
    if kind == "equation":
        return [_equation(block, losses)]
    if kind == "table_row":
        return _rows(block, losses)
    if "rich_text" in body:
        groups = _fitting_groups(body["rich_text"], losses)
        if len(groups) > 1 or groups[0] is not body["rich_text"]:
            bare = with_children(block, [])
            parts = [{**bare, kind: {**bare[kind], "rich_text": g}} for g in groups]
        else:
            parts = [block]
        return _captioned(parts, kind, losses)
    return _captioned([block], kind, losses)


def _captioned(parts: list[Block], kind: str, losses: Losses) -> list[Block]:
    """Fit the caption of the last part; the rest of it goes into paragraphs below."""
    caption = parts[-1][kind].get("caption")
    if not caption:
        return parts
    groups = _fitting_groups(caption, losses)
    last = parts[-1]
    paragraphs: list[Block] = [
        {"type": "paragraph", "paragraph": {"rich_text": g}} for g in groups[1:]
    ]
    bare = [with_caption(p, kind, []) for p in parts[:-1]]  # one caption, at the end of the content
    return [*bare, with_caption(last, kind, groups[0]), *paragraphs]


def with_caption(block: Block, kind: str, caption: list[Run]) -> Block:
    """Return a copy of ``block`` with exactly this caption."""
    body = {k: v for k, v in block[kind].items() if k != "caption"}
    if caption:
        body["caption"] = caption
    return {**block, kind: body}


def _fitting_groups(runs: list[Run], losses: Losses) -> list[list[Run]]:
    """Return runs within their limits, in groups that fit one block each; never empty."""
    if any("equation" in run for run in runs):
        runs = [_inline_equation(run, losses) for run in runs]
    runs = fitted(runs)
    if len(runs) <= CHILDREN and sum(_bound(r) for r in runs) <= BLOCK_BYTES:
        return [runs]
    groups: list[list[Run]] = []
    for group in groups_of(runs):
        part: list[Run] = []
        weight = 0
        for run in group:
            length = len(encode(run)) + 1
            if part and weight + length > BLOCK_BYTES:
                groups.append(part)
                part, weight = [], 0
            part.append(run)
            weight += length
        groups.append(part)
    return groups


def _bound(run: Run) -> int:
    """Return a quick upper bound of the run's JSON size; an escaped unit takes six bytes."""
    text = run.get("text")
    if text is None:
        return 8000
    link = text.get("link")
    return 6 * len(text["content"]) + 300 + (6 * len(link["url"]) if link else 0)


def _inline_equation(run: Run, losses: Losses) -> Run:
    equation = run.get("equation")
    if equation is None or utf16_units(equation["expression"]) <= EXPRESSION_UNITS:
        return run
    losses.add("equation_too_long", "An equation is longer than 1000 characters and became code")
    marks = {**run.get("annotations", {}), "code": True}
    return text_run(equation["expression"], annotations=marks)


def _equation(block: Block, losses: Losses) -> Block:
    expression = block["equation"]["expression"]
    if utf16_units(expression) <= EXPRESSION_UNITS:
        return block
    losses.add("equation_too_long", "An equation is longer than 1000 characters and became code")
    runs = fitted([text_run(expression)])
    return {"type": "code", "code": {"rich_text": runs, "language": "latex"}}


def _rows(row: Block, losses: Losses) -> list[Block]:
    """Return the table row, or several rows if a cell exceeds its limit."""
    cells: list[list[list[Run]]] = [
        _fitting_groups(cell, losses) for cell in row["table_row"]["cells"]
    ]
    rows: list[Block] = []
    for index in range(max((len(groups) for groups in cells), default=1)):
        parts = [groups[index] if index < len(groups) else [] for groups in cells]
        rows.extend(_row_parts(parts))
    return rows


def _row_parts(cells: list[list[Run]]) -> list[Block]:
    """Split a row above the size limit, keeping each cell in its column."""
    if sum(_bound(r) for cell in cells for r in cell) <= BLOCK_BYTES:
        return [_row(cells)]
    rows: list[Block] = []
    open_: list[list[Run]] = [[] for _ in cells]
    weight = 0
    for column, cell in enumerate(cells):
        length = len(encode(cell))
        if weight and weight + length > BLOCK_BYTES:
            rows.append(_row(open_))
            open_, weight = [[] for _ in cells], 0
        open_[column] = cell
        weight += length
    return [*rows, _row(open_)]


def _row(cells: list[list[Run]]) -> Block:
    return {"type": "table_row", "table_row": {"cells": cells}}


def _laid_out(blocks: list[Block], losses: Losses) -> list[Block]:
    """Replace columns and tabs that no sequence of requests can build by their content.

    Notion requires the first columns in the same request and returns no ids for them, so these may
    hold neither more than 100 blocks nor a second level.
    """
    result: list[Block] = []
    stack: list[tuple[Sequence[Block], list[Block]]] = [(blocks, result)]
    while stack:
        source, target = stack.pop()
        for block in source:
            if block["type"] in _LAYOUT and not _creatable(block):
                losses.add(
                    "layout_flattened",
                    "Columns or tabs that Notion cannot create became a sequence",
                )
                inner = [p for part in children_of(block) for p in _unwrapped(part)]
                flat: list[Block] = []
                stack.append((inner, flat))
                target.append({"type": "", "": flat})  # _spliced replaces it when it is filled
            elif children_of(block):
                fresh: list[Block] = []
                copy = with_children(block, [])
                copy[block["type"]]["children"] = fresh
                stack.append((children_of(block), fresh))
                target.append(copy)
            else:
                target.append(block)
    return _spliced(result)


def _unwrapped(part: Block) -> list[Block]:
    if part["type"] == "column":
        return children_of(part)
    body = {k: v for k, v in part["paragraph"].items() if k != "icon"}  # icons are for tabs only
    return [{**part, "paragraph": body}]


def _spliced(blocks: list[Block]) -> list[Block]:
    result: list[Block] = []
    pending: list[tuple[list[Block], list[Block]]] = [(blocks, result)]
    while pending:
        source, target = pending.pop()
        stack = list(reversed(source))
        while stack:
            block = stack.pop()
            if block["type"] == "":
                stack.extend(reversed(block[""]))
                continue
            target.append(block)
            children: list[Any] = children_of(block)
            if children:
                filled: list[Block] = []
                block[block["type"]]["children"] = filled
                pending.append((children, filled))
    return result


def _creatable(layout: Block) -> bool:
    """Say whether requests can build this column list or tab block."""
    (root,) = measured([layout])
    if root.fits_at(0) and root.bytes + 2 <= REQUEST_BYTES:
        return True
    first = REQUIRED_CHILDREN[layout["type"]]
    head, later = root.children[:first], root.children[first:]
    if not all(part.fits_at(1) for part in head):
        return False
    weight = root.bare_bytes + 18 + sum(part.bytes + 1 for part in head)
    if weight > REQUEST_BYTES or 1 + sum(part.elements for part in head) > ELEMENTS:
        return False
    return all(part.fits_at(0) or part.block["type"] != "column" or _opens(part) for part in later)


def _opens(column: MeasuredBlock) -> bool:
    """Say whether a later column can be created with its first child and the rest appended."""
    first = column.children[0]
    return first.fits_at(1) and column.bare_bytes + first.bytes + 20 <= REQUEST_BYTES
