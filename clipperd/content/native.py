"""Checks Notion blocks from a client as strictly as Notion does, and removes read-only keys.

Keeps types, order and nesting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from clipperd.content.languages import PLAIN, notion_language
from clipperd.content.limits import HEADINGS, REQUIRED_CHILDREN, TABLE_WIDTH, TREE_DEPTH
from clipperd.content.links import is_web
from clipperd.content.losses import Losses
from clipperd.content.richtext import (
    checked_array,
    checked_color,
    checked_flag,
    checked_id,
    checked_object,
    checked_rich_text,
    checked_text,
    escaped,
    refusal,
)
from clipperd.model import Block

_READ_ONLY = frozenset({
    "archived", "created_by", "created_time", "has_children", "id", "in_trash", "is_archived",
    "last_edited_by", "last_edited_time", "object", "parent", "request_id",
})  # fmt: skip
_TEXT = frozenset({"rich_text", "color"})
_MEDIA = frozenset({"external", "file_upload", "file", "type", "caption"})
_NESTING = frozenset({
    "paragraph", "bulleted_list_item", "numbered_list_item", "to_do", "toggle", "quote",
    "callout", "template", "synced_block", "column", "tab", "column_list", "table",
}) | frozenset(HEADINGS)  # fmt: skip
_ONLY_CHILD = {"column_list": "column", "table": "table_row", "tab": "paragraph"}
_ONLY_PARENT = {"column": "column_list", "table_row": "table"}
_NAME = 100  # characters of a file's shown name
_ANSWERED_ONLY = frozenset({
    "child_page", "child_database", "link_preview", "meeting_notes", "transcription",
    "unsupported",
})  # fmt: skip

_KEYS: dict[str, frozenset[str]] = {
    "paragraph": _TEXT | {"icon"},
    "bulleted_list_item": _TEXT,
    "numbered_list_item": _TEXT | {"list_start_index", "list_format"},
    "to_do": _TEXT | {"checked"},
    "toggle": _TEXT,
    "quote": _TEXT,
    "callout": _TEXT | {"icon"},
    "template": frozenset({"rich_text"}),
    "synced_block": frozenset({"synced_from"}),
    "column_list": frozenset(),
    "column": frozenset({"width_ratio"}),
    "table": frozenset({"table_width", "has_column_header", "has_row_header"}),
    "table_row": frozenset({"cells"}),
    "tab": frozenset(),
    "code": frozenset({"rich_text", "language", "caption"}),
    "equation": frozenset({"expression"}),
    "divider": frozenset(),
    "breadcrumb": frozenset(),
    "table_of_contents": frozenset({"color"}),
    "bookmark": frozenset({"url", "caption"}),
    "embed": frozenset({"url", "caption"}),
    "image": _MEDIA,
    "video": _MEDIA,
    "pdf": _MEDIA,
    "audio": _MEDIA,
    "file": _MEDIA | {"name"},
    "link_to_page": frozenset({"type", "page_id", "database_id", "comment_id"}),
    **dict.fromkeys(HEADINGS, _TEXT | {"is_toggleable"}),
}
"""Body keys of each block type in requests and responses, without ``children``."""

_REQUIRED = frozenset({"rich_text", "expression", "table_width"})
"""Keys that every type that has them requires."""


def from_content(item: Mapping[str, Any], at: str, losses: Losses) -> tuple[list[Block], str]:
    """Convert a ``blocks`` object."""
    return blocks(item.get("blocks"), f"{at}/blocks", losses), ""


def blocks(value: Any, pointer: str, losses: Losses) -> list[Block]:
    """Check an array of Notion blocks and return it in request shape.

    Raises ContentInvalid for the first error; its ``errors`` hold a JSON pointer below ``pointer``
    and a code.
    """
    result: list[Block] = []
    stack: list[tuple[Any, list[Block], str, str | None, int]] = [(value, result, pointer, None, 1)]
    while stack:
        source, target, where, parent, depth = stack.pop()
        if depth > TREE_DEPTH:
            raise refusal(where, "too_deep", f"Blocks nest deeper than {TREE_DEPTH} levels")
        for index, item in enumerate(checked_array(source, where)):
            at = f"{where}/{index}"
            kind, body, children, place = _parts(item, at)
            _check_parent(kind, parent, at)
            clean = _body(kind, body, f"{at}/{kind}", parent, losses)
            _check_children(kind, clean, children, place)
            target.append({"type": kind, kind: clean})
            if children:
                clean["children"] = []
                stack.append((children, clean["children"], place, kind, depth + 1))
    _check_rows(result, pointer)
    return result


def _parts(item: Any, at: str) -> tuple[str, dict[str, Any], Any, str]:
    """Return type, body, children and their pointer; children may be inside or beside the body."""
    block = checked_object(item, at)
    named = [k for k in block if k in _KEYS and block[k] is not None]
    kind = block.get("type") or (named[0] if len(named) == 1 else None)
    if not isinstance(kind, str):
        raise refusal(at, "type_missing", "A block needs its type")
    if kind in _ANSWERED_ONLY:
        raise refusal(f"{at}/type", "not_creatable", f"Notion cannot create a block of type {kind}")
    if kind not in _KEYS:
        raise refusal(f"{at}/type", "unknown_type", "Notion has no such block type")
    if unknown := block.keys() - _READ_ONLY - {"type", "children", kind}:
        raise refusal(f"{at}/{escaped(min(unknown))}", "unknown_key", "Notion has no such key")
    body = checked_object(block.get(kind), f"{at}/{kind}")
    inside, beside = body.get("children"), block.get("children")
    if inside and beside:
        raise refusal(
            f"{at}/children",
            "children_twice",
            "Send the children in one place, inside or beside the body",
        )
    place = f"{at}/children" if beside else f"{at}/{kind}/children"
    return kind, body, checked_array(inside or beside or [], place), place


def _check_parent(kind: str, parent: str | None, at: str) -> None:
    needed = _ONLY_PARENT.get(kind)
    allowed = _ONLY_CHILD.get(parent or "")
    nested = kind == "column_list" and parent == "column"
    if (needed and parent != needed) or (allowed and kind != allowed) or nested:
        raise refusal(at, "misplaced", f"A block of type {kind} is not allowed here")


def _check_children(kind: str, body: dict[str, Any], children: Any, place: str) -> None:
    least = REQUIRED_CHILDREN.get(kind, 0)
    if len(children) < least:
        raise refusal(place, "children_missing", f"A {kind} needs at least {least} children")
    if not children:
        return
    if kind not in _NESTING or (kind == "synced_block" and body["synced_from"] is not None):
        raise refusal(place, "children_not_allowed", f"A {kind} cannot have children")
    if kind in HEADINGS and not body.get("is_toggleable"):
        raise refusal(place, "children_not_allowed", "A heading has children only if toggleable")


def _check_rows(result: list[Block], pointer: str) -> None:
    stack = [(block, f"{pointer}/{index}") for index, block in enumerate(result)]
    while stack:
        block, at = stack.pop()
        kind = block["type"]
        children = block[kind].get("children", [])
        inner = [(c, f"{at}/{kind}/children/{i}") for i, c in enumerate(children)]
        if kind != "table":
            stack.extend(inner)
            continue
        for row, where in inner:
            if len(row["table_row"]["cells"]) != block[kind]["table_width"]:
                cells = f"{where}/table_row/cells"
                raise refusal(
                    cells, "cell_count", "The row has more or fewer cells than table_width"
                )


def _body(
    kind: str, body: dict[str, Any], at: str, parent: str | None, losses: Losses
) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, value in body.items():
        if key == "children" or value is None:
            continue
        if key not in _KEYS[kind]:
            raise refusal(f"{at}/{escaped(key)}", "unknown_key", "Notion has no such key")
        check = _CHECKS.get(key)
        if check is not None:
            clean[key] = check(value, f"{at}/{key}")
        elif key in ("rich_text", "caption"):
            runs = checked_rich_text(value, f"{at}/{key}", losses)
            if runs or key == "rich_text":
                clean[key] = runs
    for key in _REQUIRED & _KEYS[kind]:
        if key not in clean:
            raise refusal(f"{at}/{key}", "missing", f"{key} is required")
    finish = _FINISH.get(kind)
    if finish is not None:
        finish(_Body(body, clean, at, losses))
    if "icon" in body and (kind == "callout" or parent == "tab"):
        _icon(body["icon"], clean, f"{at}/icon", losses)
    elif body.get("icon") is not None:
        losses.add("icon_dropped", "An icon of a paragraph outside tabs was removed")
    if "list_start_index" in body or "list_format" in body:
        losses.add("list_numbering", "Notion sets the start and format of a numbered list itself")
    return clean


class _Body(msgspec.Struct, frozen=True):
    """A type object as received (``raw``) and as it will be sent (``clean``)."""

    raw: dict[str, Any]
    clean: dict[str, Any]
    at: str
    losses: Losses


def _width(value: Any, at: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= TABLE_WIDTH:
        raise refusal(at, "table_width", f"A table is 1 to {TABLE_WIDTH} cells wide")
    return value


def _ratio(value: Any, at: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1:
        raise refusal(at, "width_ratio", "A width ratio lies between 0 and 1")
    return value


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "color": checked_color,
    "checked": checked_flag,
    "is_toggleable": checked_flag,
    "has_column_header": checked_flag,
    "has_row_header": checked_flag,
    "table_width": _width,
    "width_ratio": _ratio,
    "expression": checked_text,
    "name": checked_text,
}


def _web_url(value: Any, at: str) -> str:
    url = checked_text(value, at).strip()
    if not is_web(url):
        raise refusal(at, "invalid_url", "Send an absolute http(s) URL of at most 2000 characters")
    return url


def _code(part: _Body) -> None:
    tag = checked_text(part.raw.get("language") or "", f"{part.at}/language")
    language = notion_language(tag)
    if language is None:
        part.losses.add("code_language", "Notion does not know a code block's language", tag)
    part.clean["language"] = language or PLAIN


def _media(part: _Body) -> None:
    if part.raw.get("file_upload") is not None:
        upload = checked_object(part.raw["file_upload"], f"{part.at}/file_upload")
        part.clean["type"] = "file_upload"
        part.clean["file_upload"] = {
            "id": checked_id(upload.get("id"), f"{part.at}/file_upload/id")
        }
    elif part.raw.get("external") is not None:
        external = checked_object(part.raw["external"], f"{part.at}/external")
        part.clean["type"] = "external"
        part.clean["external"] = {"url": _web_url(external.get("url"), f"{part.at}/external/url")}
    elif part.raw.get("file") is not None:
        raise refusal(
            f"{part.at}/file",
            "notion_hosted_file",
            "Notion hosts this file, and its URL expires: upload the file instead",
        )
    else:
        raise refusal(part.at, "missing", "external or file_upload is required")
    if "name" in part.clean:
        part.clean["name"] = part.clean["name"][:_NAME]


def _linked(part: _Body) -> None:
    part.clean["url"] = _web_url(part.raw.get("url"), f"{part.at}/url")


def _cells(part: _Body) -> None:
    cells = checked_array(part.raw.get("cells"), f"{part.at}/cells")
    part.clean["cells"] = [
        checked_rich_text(cell, f"{part.at}/cells/{index}", part.losses)
        for index, cell in enumerate(cells)
    ]


def _link_to_page(part: _Body) -> None:
    keys = [k for k in ("page_id", "database_id", "comment_id") if part.raw.get(k) is not None]
    if len(keys) != 1:
        raise refusal(
            part.at, "missing", "Exactly one of page_id, database_id, comment_id is required"
        )
    part.clean.update(
        {"type": keys[0], keys[0]: checked_id(part.raw[keys[0]], f"{part.at}/{keys[0]}")}
    )


def _synced(part: _Body) -> None:
    source = part.raw.get("synced_from")
    part.clean["synced_from"] = None  # required, and null for an original
    if source is not None:
        where = f"{part.at}/synced_from"
        original = checked_id(checked_object(source, where).get("block_id"), f"{where}/block_id")
        part.clean["synced_from"] = {"type": "block_id", "block_id": original}


def _icon(value: Any, clean: dict[str, Any], at: str, losses: Losses) -> None:
    if value is None:
        return
    icon = checked_object(value, at)
    if isinstance(icon.get("emoji"), str):
        clean["icon"] = {"type": "emoji", "emoji": checked_text(icon["emoji"], f"{at}/emoji")}
    elif icon.get("external") is not None:
        url = checked_object(icon["external"], f"{at}/external").get("url")
        external = {"url": _web_url(url, f"{at}/external/url")}
        clean["icon"] = {"type": "external", "external": external}
    elif icon.get("icon") is not None:
        noticon = checked_object(icon["icon"], f"{at}/icon")
        named = {
            k: checked_text(noticon[k], f"{at}/icon/{k}") for k in ("name", "color") if k in noticon
        }
        clean["icon"] = {"type": "icon", "icon": named}
    elif kind := next((k for k in ("custom_emoji", "file_upload") if icon.get(k)), None):
        inner = checked_object(icon[kind], f"{at}/{kind}")
        clean["icon"] = {"type": kind, kind: {"id": checked_id(inner.get("id"), f"{at}/{kind}/id")}}
    else:
        losses.add("icon_dropped", "An icon that only Notion can create was removed")


_FINISH: dict[str, Callable[[_Body], None]] = {
    "code": _code,
    "table_row": _cells,
    "link_to_page": _link_to_page,
    "synced_block": _synced,
    **dict.fromkeys(("image", "video", "pdf", "audio", "file"), _media),
    **dict.fromkeys(("bookmark", "embed"), _linked),
}
