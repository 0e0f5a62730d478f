"""Computes a fingerprint that is equal for a block as requested and as Notion returns it.

Notion merges and splits runs, adds ``plain_text``, ``href``, default annotations and colours,
rewrites URLs slightly, gives callouts an icon and files a name. The fingerprint leaves these out
and covers all that a reader would notice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from clipperd.content.links import canonical
from clipperd.model import Block, notion_id

_MARKS = ("bold", "code", "italic", "strikethrough", "underline")
_MEDIA = frozenset({"audio", "file", "image", "pdf", "video"})


def of(block: Block) -> str:
    """Return the fingerprint of one block (32 hex digits): content, and whether it has children.

    Takes request shape and response shape. Ignores the children of a synced block and the bodies of
    unknown types.
    """
    kind = block.get("type") or next((k for k in block if isinstance(block[k], dict)), "")
    body = block.get(kind)
    if not isinstance(body, dict):
        body = {}
    special = _SPECIAL.get(kind)
    form: list[Any] = [kind, _rich(body.get("rich_text")), _colour(body.get("color"))]
    if kind in _MEDIA:
        form.append(_media(body))
    elif special is not None:
        form.append(special(body))
    if kind != "synced_block":
        form.append(_has_children(block, body))
    return hashlib.sha256(msgspec.json.encode(form)).hexdigest()[:32]


def _has_children(block: Block, body: dict[str, Any]) -> bool:
    if "has_children" in block:
        return bool(block["has_children"])
    return bool(body.get("children") or block.get("children"))


def _colour(value: Any) -> str:
    return "" if value in (None, "default", "default_background") else str(value)


def _rich(runs: Any) -> list[Any]:
    """Return runs as [kind, marks, text], with equal neighbours joined and empty ones dropped."""
    joined: list[list[Any]] = []
    for run in runs or ():
        kind, content = _kind_of(run)
        key = [kind, _marks(run.get("annotations"))]
        if kind[0] == "text" and not content:
            continue
        if joined and kind[0] == "text" and joined[-1][:2] == key:
            joined[-1][2] += content
        else:
            joined.append([*key, content])
    return joined


def _kind_of(run: dict[str, Any]) -> tuple[list[str], str]:
    if isinstance(run.get("text"), dict):
        link = run["text"].get("link") or {}
        return ["text", canonical(link.get("url") or "")], run["text"].get("content") or ""
    if isinstance(run.get("equation"), dict):
        return ["equation"], (run["equation"].get("expression") or "").strip()
    return ["mention", *_mention(run.get("mention") or {})], ""


def _mention(mention: dict[str, Any]) -> list[str]:
    """Return the kind and the id if Notion keeps it; dates come back in another notation."""
    for kind in ("page", "database", "custom_emoji"):
        if isinstance(mention.get(kind), dict):
            return [kind, _id(mention[kind].get("id"))]
    template = mention.get("template_mention")
    if isinstance(template, dict):  # resolved by Notion when the block is made
        return ["user" if "template_mention_user" in template else "date"]
    return ["user" if "user" in mention else "date" if "date" in mention else "other"]


def _marks(annotations: Any) -> list[str]:
    marks = annotations or {}
    return [m for m in _MARKS if marks.get(m)] + [_colour(marks.get("color"))]


def _id(value: Any) -> str:
    return notion_id(str(value)) or str(value)


def _media(body: dict[str, Any]) -> list[Any]:
    """Return the external URL, or "notion": Notion's own storage changes its URLs."""
    external = body.get("external")
    place = canonical(external.get("url") or "") if isinstance(external, dict) else "notion"
    return [place, _rich(body.get("caption"))]


def _linked(body: dict[str, Any]) -> list[Any]:
    return [canonical(body.get("url") or ""), _rich(body.get("caption"))]


def _target(body: dict[str, Any]) -> list[str]:
    keys = ("page_id", "database_id", "comment_id")
    return [f"{key}:{_id(body[key])}" for key in keys if body.get(key)]


_SPECIAL: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bookmark": _linked,
    "embed": _linked,
    "code": lambda body: [body.get("language") or "plain text", _rich(body.get("caption"))],
    "equation": lambda body: (body.get("expression") or "").strip(),
    "link_to_page": _target,
    "synced_block": lambda body: _id((body.get("synced_from") or {}).get("block_id", "")),
    "table": lambda body: [
        body.get("table_width"),
        bool(body.get("has_column_header")),
        bool(body.get("has_row_header")),
    ],
    "table_row": lambda body: [_rich(cell) for cell in body.get("cells") or ()],
    "to_do": lambda body: bool(body.get("checked")),
    **{f"heading_{n}": lambda body: bool(body.get("is_toggleable")) for n in (1, 2, 3, 4)},
}
