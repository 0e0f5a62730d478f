"""Parses Markdown: CommonMark with GFM tables, strikethrough and tasks, footnotes, dollar math and
front matter. The only module that configures markdown-it.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.table import escapedSplit
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from mdit_py_plugins.tasklists import tasklists_plugin

_BLOCK_NESTING = 300  # levels; markdown-it drops deeper blocks, and 500 exceed Python's stack
_INLINE_NESTING = 20  # levels, CommonMark's preset; text in deeper brackets stays literal
_READABLE = 200  # levels; a block nested deeper becomes literal text
_QUOTES = re.compile(r"[\s>]*")
_YAML = re.compile(r"(?:[\w.-]+[ \t]*:.*|[ \t]+.*|[ \t]*-.*|#.*|[\]}].*|[ \t]*)")


class _Parser(MarkdownIt):
    """Keeps links of every scheme; ``richtext.usable_link`` drops and reports them later."""

    def validateLink(self, url: str) -> bool:  # noqa: N802, ARG002 - markdown-it's name
        return True


class Parsed(msgspec.Struct, frozen=True):
    """Block tokens, markdown-it's environment, and the source lines that token maps count."""

    tokens: list[Token]
    env: dict[str, Any]
    lines: list[str]


def parse(source: str) -> Parsed:
    """Parse Markdown; ``env`` holds the footnotes, and ``too_deep`` if nested text stayed literal.

    Raises RecursionError on extremely nested images.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    if source.startswith("---") and not _has_front_matter(source):
        source = "\n" + source  # a rule and a heading, not metadata
    env: dict[str, Any] = {}
    outer, inner = _parsers()
    state = StateCore(source, inner, env)
    state.tokens = outer.parse(source, env)
    inner.core.process(state)
    return Parsed(state.tokens, env, source.split("\n"))


def cells_beyond(line: str, width: int) -> list[list[Token]]:
    """Return the cells of a table's source line after the first ``width``, as inline tokens."""
    if line.count("|") < width:
        return []
    cells = escapedSplit(_QUOTES.sub("", line, count=1).strip())
    if cells and not cells[0]:
        cells = cells[1:]
    if cells and not cells[-1]:
        cells = cells[:-1]
    _, inner = _parsers()
    result: list[list[Token]] = []
    for cell in cells[width:]:
        tokens: list[Token] = []
        inner.inline.parse(cell.strip(), inner, {}, tokens)
        result.append(tokens)
    return result


@functools.cache
def _parsers() -> tuple[MarkdownIt, MarkdownIt]:
    """Return one parser for blocks and one for inline text.

    They need different nesting limits: inline, the time for unclosed brackets grows with the limit.
    """
    outer = _configured(_BLOCK_NESTING)
    outer.core.ruler.enableOnly(["normalize", "block"])
    inner = _configured(_INLINE_NESTING)
    inner.core.ruler.disable(["normalize", "block"])
    return outer, inner


def _configured(nesting: int) -> MarkdownIt:
    parser = _Parser("commonmark", {"maxNesting": nesting, "html": True, "linkify": False})
    parser.enable(["table", "strikethrough"])
    parser.use(front_matter_plugin)
    parser.use(footnote_plugin, move_to_end=False)
    parser.use(dollarmath_plugin, allow_labels=False, allow_digits=False, allow_space=False)
    parser.use(tasklists_plugin)
    parser.block.ruler.before("front_matter", "literal_tail", _literal_tail)
    return parser


def _literal_tail(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Keep the text of a block nested too deeply as one paragraph."""
    if state.level < _READABLE or silent:
        return False
    line = start_line
    while line < end_line and (state.isEmpty(line) or state.sCount[line] >= state.blkIndent):
        line += 1
    state.env["too_deep"] = True
    state.push("paragraph_open", "p", 1)
    text = state.push("literal", "", 0)
    text.content = state.getLines(start_line, line, state.blkIndent, False).strip()
    state.push("paragraph_close", "p", -1)
    state.line = line
    return True


def _has_front_matter(source: str) -> bool:
    lines = source.split("\n", 400)
    for line in lines[1:]:
        if line.rstrip() in ("---", "..."):
            return True
        if not _YAML.fullmatch(line.rstrip("\r")):
            return False
    return False
