"""Quotes that mean a callout: GitHub's alerts and Obsidian's callouts."""

from __future__ import annotations

import re

from markdown_it.token import Token

from clipperd.content.runs import Run
from clipperd.model import Block

_MARKER = re.compile(r"\[!([A-Za-z]+)\][+-]?[ \t]*")

_STYLES: dict[str, tuple[str, str]] = {
    name: style
    for names, style in {
        "note info": ("ℹ️", "blue_background"),
        "tip hint success check done": ("💡", "green_background"),
        "important abstract summary tldr": ("📌", "purple_background"),
        "warning attention": ("⚠️", "yellow_background"),
        "caution danger error failure fail missing bug": ("🛑", "red_background"),
        "question help faq": ("❓", "yellow_background"),
        "example": ("🧪", "purple_background"),
        "quote cite": ("💬", "gray_background"),
        "todo": ("☑️", "blue_background"),
    }.items()
    for name in names.split()
}


def alert_of(tokens: list[Token]) -> tuple[str | None, list[Token]]:
    """Read a leading ``[!NOTE]``: its name in lower case and the tokens without it, or None."""
    if not tokens or tokens[0].type != "text":
        return None, tokens
    match = _MARKER.match(tokens[0].content)
    if match is None or match[1].lower() not in _STYLES:
        return None, tokens
    rest = tokens[1:]
    if text := tokens[0].content[match.end() :]:
        rest.insert(0, Token("text", "", 0, content=text))
    elif rest and rest[0].type in ("softbreak", "hardbreak"):
        rest = rest[1:]
    return match[1].lower(), rest


def callout(name: str, runs: list[Run]) -> Block:
    """The callout of an alert's name, with its icon and colour."""
    icon, color = _STYLES[name]
    body = {"rich_text": runs, "icon": {"type": "emoji", "emoji": icon}, "color": color}
    return {"type": "callout", "callout": body}
