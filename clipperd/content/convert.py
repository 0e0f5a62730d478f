"""Converts a client's content to blocks within Notion's limits: the entry point of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec

from clipperd.content.fitting import fit
from clipperd.content.formats import FORMATS, SUPPORTED, json_schema
from clipperd.content.limits import HEADINGS
from clipperd.content.losses import Loss, Losses
from clipperd.content.richtext import escaped, refusal
from clipperd.content.runs import plain
from clipperd.content.trees import walk
from clipperd.errors import FormatUnsupported
from clipperd.model import Block

_TITLE = 100  # characters
_PREVIEW = 200  # characters

ContentObject: TypeAlias = Annotated[
    dict[str, Any], msgspec.Meta(title="ContentObject", extra_json_schema=json_schema())
]
Content: TypeAlias = ContentObject | list[ContentObject]
"""Content as the API takes it; :func:`prepare` checks it, with more exact errors than msgspec."""


class Prepared(msgspec.Struct, frozen=True):
    """Content ready to be planned.

    ``format`` is that of the content, or ``mixed`` for an array of several. ``title`` (at most 100
    characters) is the first heading or line, ``preview`` (at most 200) the beginning of the text.
    ``demotable``: its headings may be moved below a section's level (never when it holds Notion
    blocks, which are delivered unchanged). ``losses``: the parts that Notion cannot hold.
    """

    format: str
    title: str
    preview: str
    blocks: list[Block]
    demotable: bool
    losses: list[Loss] = []


def prepare(content: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Prepared:
    """Convert one content object, or an array of them in order, to blocks.

    Any object may carry ``headings`` (``demote`` or ``keep``). Raises ContentInvalid, with JSON
    pointers below ``/content``, and FormatUnsupported. Uses the CPU only: call it in a thread
    unless :func:`is_quick`.
    """
    losses = Losses()
    objects = [content] if isinstance(content, Mapping) else list(content)
    single = isinstance(content, Mapping)
    blocks: list[Block] = []
    formats: dict[str, None] = {}
    title, demotable = "", True
    for index, item in enumerate(objects):
        at = "/content" if single else f"/content/{index}"
        kind = _format(item, at)
        load = FORMATS[kind].load
        assert load is not None, "_format refuses the others"
        part, named = load()(item, at, losses)
        blocks += part
        title = title or named
        formats[kind] = None
        demotable = demotable and kind != "blocks" and _headings(item, at) != "keep"
    if not blocks:
        raise refusal("/content", "empty", "There is nothing to clip")
    blocks = fit(blocks, losses)
    return Prepared(
        format=next(iter(formats)) if len(formats) == 1 else "mixed",
        title=(title or _title(blocks))[:_TITLE],
        preview=_preview(blocks),
        blocks=blocks,
        demotable=demotable,
        losses=losses.report(),
    )


def is_quick(content: Content, size_bytes: int) -> bool:
    """Say whether content of this JSON size converts fast enough for the event loop."""
    objects = content if isinstance(content, list) else [content]
    rows = [FORMATS.get(str(each.get("format"))) for each in objects]
    return size_bytes <= min((row.quick_bytes for row in rows if row), default=0)


def _format(item: Any, at: str) -> str:
    if not isinstance(item, Mapping):
        raise refusal(at, "not_an_object", "Send content as an object or an array of objects")
    kind = item.get("format")
    if not isinstance(kind, str):
        raise refusal(f"{at}/format", "format_missing", "Name the format of the content")
    row = FORMATS.get(kind)
    if row is None:
        raise refusal(f"{at}/format", "format_unknown", "There is no such content format")
    if row.load is None:
        raise FormatUnsupported(
            f"This version cannot convert the format {kind} yet.",
            hint=f"Send one of these formats: {', '.join(SUPPORTED)}.",
            params={"format": kind},
            errors=[{"pointer": f"{at}/format", "code": "format_unsupported"}],
        )
    if unknown := item.keys() - row.keys.keys() - {"format", "headings"}:
        where = f"{at}/{escaped(min(unknown))}"
        raise refusal(where, "unknown_key", "Content of this format has no such key")
    return kind


def _headings(item: Mapping[str, Any], at: str) -> str | None:
    value = item.get("headings")
    if value not in (None, "demote", "keep"):
        raise refusal(f"{at}/headings", "invalid", "headings is demote or keep")
    return None if value is None else str(value)


def row_title(blocks: Sequence[Block], source: Mapping[str, Any], otherwise: str) -> str:
    """Return the title of a clip that becomes a row: its first heading, its source's, or a line."""
    given = source.get("title")
    named = " ".join(given[: 4 * _TITLE].split()) if isinstance(given, str) else ""
    return _heading(blocks) or named or otherwise


def _title(blocks: Sequence[Block]) -> str:
    found = _heading(blocks)
    return found or next((text for block in walk(blocks) if (text := _line(block))), "")


def _heading(blocks: Sequence[Block]) -> str:
    return next((text for b in blocks if b["type"] in HEADINGS and (text := _line(b))), "")


def _line(block: Block) -> str:
    """Return the beginning of the first visible line; a paragraph may be one long line."""
    lines = shown(block).lstrip()[: 4 * _TITLE].splitlines()
    return " ".join(lines[0].split()) if lines else ""


def _preview(blocks: Sequence[Block]) -> str:
    parts: list[str] = []
    length = 0
    for block in walk(blocks):
        text = " ".join(shown(block)[: 4 * _PREVIEW].split())
        if text:
            parts.append(text)
            length += len(text) + 1
        if length > _PREVIEW:
            break
    return " ".join(parts)[:_PREVIEW]


def shown(block: Block) -> str:
    """Return the visible text of one block, without its children."""
    body = block[block["type"]]
    if "cells" in body:
        return "\n".join(plain(cell) for cell in body["cells"])
    text = plain(body.get("rich_text", ())) + plain(body.get("caption", ()))
    return text or str(body.get("expression") or body.get("url") or "")
