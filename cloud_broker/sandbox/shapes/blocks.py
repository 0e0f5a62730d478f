"""Validates arrays of blocks: types, nesting and number.

At most 100 in any array, two levels below the top one, 1000 in all
(https://developers.notion.com/reference/request-limits, /reference/patch-block-children).
"""

from __future__ import annotations

from typing import Any

from cloud_broker.sandbox.errors import validation
from cloud_broker.sandbox.model import HEADINGS, HOLDS_CHILDREN, Block, Draft, Json, Node, Page
from cloud_broker.sandbox.shapes.block_types import LABEL, TYPES, BlockType, read_payload
from cloud_broker.sandbox.shapes.checks import (
    MOST_ITEMS,
    fail,
    fail_one_of,
    get,
    only,
    want_array,
    want_object,
    want_one_of,
)
from cloud_broker.sandbox.shapes.rich_text import Reading

MOST_BLOCKS = 1000
LEVELS_BELOW_TOP = 2
UNSUPPORTED_PARENT = "Block does not support children"
# Notion creates these by other routes, or not at all.
_WIDTH_MISMATCH = "Number of cells in table row must match the table width of the parent table"


def read_children(value: Any, path: str, parent: Node, reading: Reading) -> list[Draft]:
    """Validate the blocks to be created directly under ``parent``. Raises NotionError."""
    items = want_array(value, path)
    inside = parent.type if isinstance(parent, Block) else ""
    drafts = [
        _read_block(item, f"{path}[{i}]", reading, LEVELS_BELOW_TOP, inside)
        for i, item in enumerate(items)
    ]
    total = sum(draft.count() for draft in drafts)
    if total > MOST_BLOCKS:
        raise validation(
            f"body failed validation: the number of blocks in {path}, nested ones included, "
            f"should be ≤ `{MOST_BLOCKS}`, instead was `{total}`."
        )
    _fit_parent(parent, drafts)
    return drafts


def read_update(block: Block, value: Any, path: str, reading: Reading) -> Json:
    """Validate the payload of PATCH /blocks/{id} and return the block's new body."""
    body = want_object(value, path)
    if block.type == "table":
        only(body, path, {"has_column_header", "has_row_header"})
    return read_payload(TYPES[block.type], body, path, reading, old=block.body)


def may_hold_children(node: Node) -> bool:
    """Return whether blocks can be appended to ``node``."""
    if isinstance(node, Page):
        return True
    if not isinstance(node, Block):
        return False
    if node.type in HEADINGS:
        return bool(node.body.get("is_toggleable"))
    if node.type == "synced_block":
        return node.body.get("synced_from") is None
    return node.type in HOLDS_CHILDREN


def _read_block(item: Any, path: str, reading: Reading, below: int, inside: str) -> Draft:
    """Parse one block; it may have ``below`` more levels; ``inside`` is the parent's type."""
    block = want_object(item, path)
    name = _type_of(block, path)
    only(block, path, {"object", "type", name})
    if "object" in block:
        want_one_of(block["object"], f"{path}.object", ("block",))
    place = f"{path}.{name}"
    _refuse_by_level(name, block, place, below)
    kind = LABEL if inside == "tab" and name == "paragraph" else TYPES[name]
    body = dict(want_object(get(block, name), place))
    children = body.pop("children", None) if "children" in body else ()
    if children != () and (kind.holds == "nothing" or (below == 0 and name != "table_row")):
        fail(f"{place}.children", "not present", children)
    payload = read_payload(kind, body, place, reading)
    drafts = _read_nested(name, kind, payload, children, f"{place}.children", reading, below)
    return Draft(name, payload, tuple(drafts))


def _type_of(block: Json, path: str) -> str:
    asked = [block["type"]] if "type" in block else list(block)
    for name in asked:
        if isinstance(name, str) and name in TYPES:
            return name
    return fail_one_of((f"{path}.{known}", "defined", get(block, known)) for known in TYPES)


def _refuse_by_level(name: str, block: Json, place: str, below: int) -> None:
    # The SDK's request types: columns only at the top of a request, no table on the last level.
    if name == "column_list" and below < LEVELS_BELOW_TOP:
        fail(place, "not present", block.get(name))
    if name == "table" and below == 0:
        fail(place, "not present", block.get(name))


def _read_nested(
    name: str, kind: BlockType, payload: Json, value: Any, path: str, reading: Reading, below: int
) -> list[Draft]:
    given = value != ()
    if kind.holds == "columns":
        columns = want_array(value if given else get({}, ""), path, least=2)
        return [
            _only_type(
                _read_block(item, f"{path}[{i}]", reading, below, name), "column", f"{path}[{i}]"
            )
            for i, item in enumerate(columns)
        ]
    if kind.holds == "rows":
        rows = want_array(value if given else get({}, ""), path, least=1)
        drafts = [
            _only_type(
                _read_block(item, f"{path}[{i}]", reading, 0, name), "table_row", f"{path}[{i}]"
            )
            for i, item in enumerate(rows)
        ]
        _fit_width(payload["table_width"], drafts)
        return drafts
    if name == "column":
        items = want_array(value if given else get({}, ""), path, least=1)
    elif not given:
        return []
    else:
        items = want_array(value, path, MOST_ITEMS)
    if items and kind.holds == "toggled" and not payload["is_toggleable"]:
        raise validation("Cannot create children on a heading that is not toggleable.")
    if items and kind.holds == "original" and payload["synced_from"] is not None:
        fail(path, "not present", value)
    drafts = [
        _read_block(item, f"{path}[{i}]", reading, below - 1, name) for i, item in enumerate(items)
    ]
    for i, draft in enumerate(drafts):
        if draft.type in ("column", "table_row"):
            fail(f"{path}[{i}].{draft.type}", "not present", items[i].get(draft.type))
        if kind.holds == "labels":
            _only_type(draft, "paragraph", f"{path}[{i}]")
    return drafts


def _only_type(draft: Draft, wanted: str, path: str) -> Draft:
    if draft.type != wanted:
        fail(f"{path}.{wanted}", "defined", get({}, wanted))
    return draft


def _fit_width(width: int, rows: list[Draft]) -> None:
    if any(len(row.body["cells"]) != width for row in rows):
        raise validation(_WIDTH_MISMATCH)


def _fit_parent(parent: Node, drafts: list[Draft]) -> None:
    """Refuse wrong children of a column list, table or tab, and columns or rows elsewhere."""
    inside = parent.type if isinstance(parent, Block) else ""
    wanted = {"column_list": "column", "table": "table_row", "tab": "paragraph"}.get(inside)
    for i, draft in enumerate(drafts):
        if wanted is not None:
            _only_type(draft, wanted, f"body.children[{i}]")
        elif draft.type in ("column", "table_row"):
            fail(f"body.children[{i}].{draft.type}", "not present", {})
        elif inside == "column" and draft.type == "column_list":
            fail(f"body.children[{i}].column_list", "not present", {})
    if inside == "table" and isinstance(parent, Block):
        _fit_width(parent.body["table_width"], drafts)
