"""Content as a client sent it to blocks that can be planned: the one door into this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from clipperd.content import native
from clipperd.content.fitting import fit
from clipperd.content.limits import HEADINGS
from clipperd.content.links import is_web, utf16_units
from clipperd.content.losses import Loss, Losses
from clipperd.content.richtext import checked_text, escaped, refusal
from clipperd.content.runs import plain, text_run
from clipperd.content.trees import walk
from clipperd.errors import FormatUnsupported
from clipperd.model import Block

__all__ = ["Loss", "Prepared", "prepare"]

_TITLE = 100
_PREVIEW = 200
_LATER = frozenset({"html", "image", "file", "clipboard"})


class Prepared(msgspec.Struct, frozen=True):
    """Content ready to be planned.

    ``format`` is that of the content, or ``mixed`` for an array of several. ``title`` (at most 100
    characters) is the first heading or line, ``preview`` (at most 200) the beginning of the text.
    ``demotable``: its headings may be pushed below a section's level (never so when it holds
    Notion blocks, which are delivered as they came). ``losses``: what Notion cannot hold.
    """

    format: str
    title: str
    preview: str
    blocks: list[Block]
    demotable: bool
    losses: list[Loss]


class _Part(msgspec.Struct, frozen=True):
    blocks: list[Block]
    title: str = ""  # where the content names one beside its text


def prepare(content: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Prepared:
    """Convert one content object, or an array of them in order, to blocks.

    Formats: ``blocks``, ``markdown`` (with optional ``base_url``), ``text``, ``url`` (with optional
    ``title``); each may carry ``headings`` (``demote`` or ``keep``). Raises ContentInvalid (places
    as JSON pointers below ``/content``) and FormatUnsupported. CPU only, no I/O; for large content
    run it in a thread.
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
        part = _FORMATS[kind](item, at, losses)
        blocks += part.blocks
        title = title or part.title
        formats[kind] = None
        demotable = demotable and kind != "blocks" and _headings(item, at) != "keep"
    if not blocks:
        raise refusal("/content", "empty", "There is nothing to clip here")
    blocks = fit(blocks, losses)
    return Prepared(
        format=next(iter(formats)) if len(formats) == 1 else "mixed",
        title=(title or _title(blocks))[:_TITLE],
        preview=_preview(blocks),
        blocks=blocks,
        demotable=demotable,
        losses=losses.report(),
    )


def _format(item: Any, at: str) -> str:
    if not isinstance(item, Mapping):
        raise refusal(at, "not_an_object", "Content is an object or an array of objects")
    kind = item.get("format")
    if not isinstance(kind, str):
        raise refusal(f"{at}/format", "format_missing", "Content needs its format")
    if kind in _LATER:
        raise FormatUnsupported(
            f"This version cannot convert the format {kind} yet.",
            hint="Send markdown, text, url or blocks.",
            params={"format": kind},
            errors=[{"pointer": f"{at}/format", "code": "format_unsupported"}],
        )
    if kind not in _FORMATS:
        raise refusal(f"{at}/format", "format_unknown", "There is no such content format")
    if unknown := item.keys() - _KEYS[kind] - {"format", "headings"}:
        where = f"{at}/{escaped(min(unknown))}"
        raise refusal(where, "unknown_key", "Content of this format has no such key")
    return kind


def _headings(item: Mapping[str, Any], at: str) -> str | None:
    value = item.get("headings")
    if value not in (None, "demote", "keep"):
        raise refusal(f"{at}/headings", "invalid", "headings is demote or keep")
    return None if value is None else str(value)


def _blocks(item: Mapping[str, Any], at: str, losses: Losses) -> _Part:
    return _Part(native.blocks(item.get("blocks"), f"{at}/blocks", losses))


def _markdown(item: Mapping[str, Any], at: str, losses: Losses) -> _Part:
    from clipperd.content import markdown  # markdown-it costs 40 ms, so not at the daemon's start

    source = checked_text(item.get("markdown"), f"{at}/markdown").lstrip("\ufeff")
    base = item.get("base_url")
    if base is not None and not is_web(checked_text(base, f"{at}/base_url")):
        raise refusal(f"{at}/base_url", "invalid_url", "An absolute http(s) URL is due")
    converted = markdown.convert(source, losses, base)
    return _Part(converted.blocks, converted.title)


def _text(item: Mapping[str, Any], at: str, losses: Losses) -> _Part:  # noqa: ARG001 - as the others
    source = checked_text(item.get("text"), f"{at}/text").lstrip("\ufeff")
    blocks: list[Block] = []
    lines: list[str] = []
    for line in [*source.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            runs = [text_run("\n".join(lines))]
            blocks.append({"type": "paragraph", "paragraph": {"rich_text": runs}})
            lines = []
    return _Part(blocks)


def _url(item: Mapping[str, Any], at: str, losses: Losses) -> _Part:
    url = checked_text(item.get("url"), f"{at}/url").strip()
    caption = checked_text(item.get("title") or "", f"{at}/title").strip()
    if not is_web(url):
        if not url.lower().startswith(("http://", "https://")) or utf16_units(url) <= _SHORT:
            raise refusal(f"{at}/url", "invalid_url", "An absolute http(s) URL is due")
        losses.add("link_dropped", "A URL longer than Notion takes became text", url)
        runs = [text_run(f"{caption}\n{url}" if caption else url)]
        return _Part([{"type": "paragraph", "paragraph": {"rich_text": runs}}])
    body: dict[str, Any] = {"url": url}
    if caption:
        body["caption"] = [text_run(caption)]
    return _Part([{"type": "bookmark", "bookmark": body}])


_SHORT = 2000  # a URL up to here is refused for its form, not for its length
_FORMATS: dict[str, Callable[[Mapping[str, Any], str, Losses], _Part]] = {
    "blocks": _blocks,
    "markdown": _markdown,
    "text": _text,
    "url": _url,
}
_KEYS: dict[str, set[str]] = {
    "blocks": {"blocks"},
    "markdown": {"markdown", "base_url"},
    "text": {"text"},
    "url": {"url", "title"},
}


def _title(blocks: Sequence[Block]) -> str:
    for block in blocks:
        if block["type"] in HEADINGS and (text := _line(block)):
            return text
    return next((text for block in walk(blocks) if (text := _line(block))), "")


def _line(block: Block) -> str:
    """The beginning of the first line that shows anything; a paragraph may be one long line."""
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
    """The text of one block, without its children, that a reader of the page sees."""
    body = block[block["type"]]
    if "cells" in body:
        return "\n".join(plain(cell) for cell in body["cells"])
    text = plain(body.get("rich_text", ())) + plain(body.get("caption", ()))
    return text or str(body.get("expression") or body.get("url") or "")
