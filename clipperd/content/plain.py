"""Converts plain text to paragraphs, and a URL to a bookmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipperd.content.limits import URL_UNITS
from clipperd.content.links import is_web, utf16_units
from clipperd.content.losses import Losses
from clipperd.content.richtext import checked_text, refusal
from clipperd.content.runs import text_run
from clipperd.model import Block


def from_text(item: Mapping[str, Any], at: str, _losses: Losses) -> tuple[list[Block], str]:
    """Convert a ``text`` object: blank lines separate the paragraphs, all else is literal."""
    source = checked_text(item.get("text"), f"{at}/text").lstrip("\ufeff")
    blocks: list[Block] = []
    lines: list[str] = []
    for line in [*source.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            blocks.append(_paragraph("\n".join(lines)))
            lines = []
    return blocks, ""


def from_url(item: Mapping[str, Any], at: str, losses: Losses) -> tuple[list[Block], str]:
    """Convert a ``url`` object; a URL longer than Notion takes becomes text."""
    url = checked_text(item.get("url"), f"{at}/url").strip()
    title = item.get("title")
    caption = "" if title is None else checked_text(title, f"{at}/title").strip()
    if not is_web(url):
        if not url.lower().startswith(("http://", "https://")) or utf16_units(url) <= URL_UNITS:
            raise refusal(f"{at}/url", "invalid_url", "Send an absolute http(s) URL")
        losses.add("link_dropped", "A URL longer than Notion takes became text", url)
        return [_paragraph(f"{caption}\n{url}" if caption else url)], ""
    body: dict[str, Any] = {"url": url}
    if caption:
        body["caption"] = [text_run(caption)]
    return [{"type": "bookmark", "bookmark": body}], ""


def _paragraph(text: str) -> Block:
    return {"type": "paragraph", "paragraph": {"rich_text": [text_run(text)]}}
