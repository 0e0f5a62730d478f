"""Converts Markdown to Notion blocks, from the tokens of the parser; all visible text is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from markdown_it.token import Token

from clipperd.content.dialect import Parsed, cells_beyond, parse
from clipperd.content.inline import Inline, image_of
from clipperd.content.languages import PLAIN, notion_language
from clipperd.content.limits import HEADINGS, TABLE_WIDTH
from clipperd.content.links import is_web
from clipperd.content.losses import Losses
from clipperd.content.markup import paragraphs, segments
from clipperd.content.richtext import checked_text, refusal
from clipperd.content.runs import Run, plain, text_run
from clipperd.model import Block

_DETAILS = re.compile(
    r"\s*<details\b[^<>]*>\s*(?:<summary\b[^<>]*>(.*?)</summary>)?", re.IGNORECASE | re.DOTALL
)
_DETAILS_END = re.compile(r"\s*</details>\s*", re.IGNORECASE)
_TITLE = re.compile(r"^title[ \t]*:[ \t]*(.+)$", re.MULTILINE)
_DEEPEST = len(HEADINGS)
_ALERT = re.compile(r"\[!([A-Za-z]+)\][+-]?[ \t]*")

_ALERT_STYLES: dict[str, tuple[str, str]] = {
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
"""Icon and colour of the callout for GitHub's alerts and Obsidian's callouts, by name."""


class _Frame(msgspec.Struct):
    """An open container: the kind of block that it becomes, and its content so far."""

    kind: str
    blocks: list[Block] = msgspec.field(default_factory=list)
    runs: list[Run] = msgspec.field(default_factory=list)
    checked: bool | None = None
    alert: str | None = None
    label: str = ""


def from_content(item: Mapping[str, Any], at: str, losses: Losses) -> tuple[list[Block], str]:
    """Convert a ``markdown`` object; relative links resolve against its ``base_url``.

    Runs, equations and tables may still exceed Notion's limits; ``fitting.fit`` cuts them.
    """
    source = checked_text(item.get("markdown"), f"{at}/markdown").lstrip("\ufeff")
    base_url = item.get("base_url")
    if base_url is not None and not is_web(checked_text(base_url, f"{at}/base_url")):
        raise refusal(f"{at}/base_url", "invalid_url", "Send an absolute http(s) URL")
    try:
        parsed = parse(source)
    except RecursionError:
        losses.add("too_complex", "The Markdown nests too deeply and was kept as plain text")
        return [_paragraph([text_run(p)]) for p in paragraphs(source)], ""
    if parsed.env.get("too_deep"):
        losses.add("nesting", "Very deeply nested parts were kept as plain text")
    builder = _Builder(losses, base_url, parsed)
    return builder.build(parsed.tokens), builder.title


def _paragraph(runs: list[Run]) -> Block:
    return {"type": "paragraph", "paragraph": {"rich_text": runs}}


class _Builder:
    def __init__(self, losses: Losses, base_url: str | None, parsed: Parsed) -> None:
        self.title = ""
        self._losses = losses
        self._base = base_url
        self._parsed = parsed
        self._frames = [_Frame("root")]
        self._lists: list[str] = []
        self._table: _Table | None = None
        self._context = ""
        self._line = ""
        self._notes: dict[str, list[Block]] = {}

    def build(self, tokens: Sequence[Token]) -> list[Block]:
        handlers = self._handlers()
        for token in tokens:
            handler = handlers.get(token.type)
            if handler is not None:
                handler(token)
            elif token.content and token.nesting == 0:
                self._put(_paragraph([text_run(token.content)]))
        while len(self._frames) > 1:
            self._close_frame()
        return self._frames[0].blocks + self._footnotes()

    def _handlers(self) -> dict[str, Callable[[Token], None]]:
        return {
            "inline": self._inline,
            "literal": lambda t: self._put(_paragraph([text_run(t.content)])),
            "heading_open": self._heading,
            "paragraph_open": lambda _: self._set_context("paragraph"),
            "fence": self._fence,
            "code_block": lambda t: self._code(t.content, PLAIN),
            "hr": lambda _: self._put({"type": "divider", "divider": {}}),
            "html_block": lambda t: self._html(t.content),
            "math_block": lambda t: self._equation(t.content),
            "front_matter": self._front_matter,
            "blockquote_open": lambda _: self._frames.append(_Frame("quote")),
            "blockquote_close": lambda _: self._close("quote"),
            "bullet_list_open": lambda _: self._lists.append("bulleted_list_item"),
            "ordered_list_open": self._ordered,
            "bullet_list_close": lambda _: self._end_list(),
            "ordered_list_close": lambda _: self._end_list(),
            "list_item_open": self._item,
            "list_item_close": lambda _: self._close("item"),
            "table_open": lambda _: self._start_table(),
            "tr_open": self._row,
            "tr_close": lambda _: self._end_row(),
            "th_open": lambda _: self._set_context("cell"),
            "td_open": lambda _: self._set_context("cell"),
            "table_close": lambda _: self._end_table(),
            "footnote_reference_open": self._note,
            "footnote_reference_close": lambda _: self._close("note"),
        }

    def _put(self, block: Block) -> None:
        self._frames[-1].blocks.append(block)

    def _set_context(self, context: str) -> None:
        self._context = context

    # --- text ---------------------------------------------------------------------------------

    def _inline(self, token: Token) -> None:
        children = list(token.children or ())
        frame = self._frames[-1]
        if frame.kind == "quote" and not frame.blocks and frame.alert is None:
            frame.alert, children = _alert_of(children)
        if frame.checked is not None and not frame.blocks and children:
            frame.checked = 'checked="checked"' in children[0].content
            children = children[1:]  # the checkbox that the tasklists plugin inserted
        if self._context == "cell" and self._table is not None:
            inline = Inline(self._losses, self._base, images=False)
            self._table.cell(inline.pieces(children))
            return
        pieces = Inline(self._losses, self._base).pieces(children)
        if self._context.startswith("heading"):
            self._heading_text(pieces)
        else:
            self._paragraphs(pieces)

    def _paragraphs(self, pieces: list[dict[str, Any]]) -> None:
        """Add text and images in order: an image ends the paragraph before it."""
        runs: list[Run] = []
        for piece in pieces:
            if piece["type"] != "image":
                runs.append(piece)
                continue
            self._flush_text(runs, before_image=True)
            self._put(piece)
            runs = []
        self._flush_text(runs)

    def _flush_text(self, runs: list[Run], *, before_image: bool = False) -> None:
        if plain(runs).strip():
            self._put(_paragraph(_trimmed(runs, end=before_image)))

    def _heading(self, token: Token) -> None:
        level = int(token.tag[1:])
        if level > _DEEPEST:
            self._losses.add("heading_level", "Headings below level 4 became level 4")
        self._context = f"heading_{min(level, _DEEPEST)}"

    def _heading_text(self, pieces: list[dict[str, Any]]) -> None:
        """Add a heading, followed by its images: Notion allows text only in headings."""
        kind = self._context
        runs = [p for p in pieces if p["type"] != "image"]
        if plain(runs).strip():
            self._put({"type": kind, kind: {"rich_text": _trimmed(runs, end=True)}})
        for piece in pieces:
            if piece["type"] == "image":
                self._put(piece)

    # --- leaves -------------------------------------------------------------------------------

    def _fence(self, token: Token) -> None:
        tag = (token.info or "").strip().split(maxsplit=1)
        name = tag[0].strip("{}.") if tag else ""
        if name.lower() == "math":
            self._equation(token.content)
            return
        name = re.split(r"[,:{]", name, maxsplit=1)[0]
        language = notion_language(name)
        if language is None:
            self._losses.add("code_language", "Notion does not know a code block's language", name)
        self._code(token.content, language or PLAIN)

    def _code(self, content: str, language: str) -> None:
        runs = [text_run(content.removesuffix("\n"))] if content.strip("\n") else []
        self._put({"type": "code", "code": {"rich_text": runs, "language": language}})

    def _equation(self, content: str) -> None:
        if content.strip():
            self._put({"type": "equation", "equation": {"expression": content.strip()}})

    def _front_matter(self, token: Token) -> None:
        found = _TITLE.search(token.content)
        if found is not None:
            self.title = found[1].strip().strip("\"'")
        self._code(token.content, "yaml")

    def _html(self, source: str) -> None:
        if _DETAILS_END.fullmatch(source):
            self._close("toggle")
            return
        opening = _DETAILS.match(source)
        if opening is not None and "</details" not in source.lower():
            summary = [p for p in segments(opening[1] or "") if isinstance(p, str)]
            text = " ".join("".join(summary).split()) or "Details"
            self._frames.append(_Frame("toggle", runs=[text_run(text)]))
            source = source[opening.end() :]
        parts = segments(source)
        if any(isinstance(p, str) and p.strip() for p in parts):
            self._losses.add("html_block", "HTML was reduced to its text", source)
        for part in parts:
            if isinstance(part, str):
                for text in paragraphs(part):
                    self._put(_paragraph([text_run(text)]))
            else:
                self._paragraphs([image_of(part, self._base, self._losses)])

    # --- containers ---------------------------------------------------------------------------

    def _ordered(self, token: Token) -> None:
        if token.attrGet("start") not in (None, 1):
            self._losses.add("list_start", "Notion numbers every list from 1")
        self._lists.append("numbered_list_item")

    def _end_list(self) -> None:
        self._lists.pop()

    def _item(self, token: Token) -> None:
        frame = _Frame("item", label=self._lists[-1])
        if "task-list-item" in str(token.attrGet("class") or ""):
            frame.checked = False
        self._frames.append(frame)

    def _note(self, token: Token) -> None:
        self._frames.append(_Frame("note", label=str(token.meta["label"])))

    def _close(self, kind: str) -> None:
        """Close the innermost frame of ``kind`` and the HTML toggles left open inside it."""
        depth = len(self._frames) - 1
        while depth > 0 and self._frames[depth].kind not in (kind, *_CONTAINERS):
            depth -= 1
        if depth == 0 or self._frames[depth].kind != kind:
            return  # an HTML closing tag without its opening tag
        while len(self._frames) > depth:
            self._close_frame()

    def _close_frame(self) -> None:
        frame = self._frames.pop()
        if frame.kind == "note":
            self._notes[frame.label] = frame.blocks
            return
        runs, children = frame.runs, frame.blocks
        if frame.kind != "toggle":
            runs, children = _lifted(children)
        if frame.kind == "quote" and frame.alert is not None:
            block = _callout(frame.alert, runs)
        elif frame.checked is not None:
            block = {"type": "to_do", "to_do": {"rich_text": runs, "checked": frame.checked}}
        else:
            kind = frame.label if frame.kind == "item" else frame.kind
            block = {"type": kind, kind: {"rich_text": runs}}
        if children:
            block[block["type"]]["children"] = children
        self._put(block)

    # --- tables and footnotes -------------------------------------------------------------------

    def _start_table(self) -> None:
        self._table = _Table()

    def _row(self, token: Token) -> None:
        if self._table is not None:
            self._table.row()
            self._line = self._parsed.lines[token.map[0]] if token.map else ""

    def _end_row(self) -> None:
        """Add the cells that GFM drops because the header is narrower."""
        if self._table is not None:
            for tokens in cells_beyond(self._line, self._table.width):
                inline = Inline(self._losses, self._base, images=False)
                self._table.cell(inline.pieces(tokens))

    def _end_table(self) -> None:
        if self._table is not None:
            self._put(self._table.block(self._losses))
        self._table = None

    def _footnotes(self) -> list[Block]:
        """Return the footnotes in the order of their references, then those without a reference."""
        found: dict[int, dict[str, Any]] = self._parsed.env.get("footnotes", {}).get("list", {})
        result: list[Block] = []
        for number, note in sorted(found.items()):
            if "tokens" in note:
                inner = _Builder(self._losses, self._base, self._parsed)
                inner._context = "paragraph"
                inner._paragraphs(Inline(self._losses, self._base).pieces(note["tokens"]))
                blocks = inner._frames[0].blocks
            else:
                blocks = self._notes.pop(note["label"], [])
            result.append(_note_block(str(number + 1), blocks))
        result += [_note_block(label, blocks) for label, blocks in self._notes.items()]
        return [{"type": "divider", "divider": {}}, *result] if result else []


_CONTAINERS = ("root", "quote", "item", "note")


def _note_block(name: str, blocks: list[Block]) -> Block:
    runs, children = _lifted(blocks)
    block = _paragraph([text_run(f"[{name}] "), *runs])
    if children:
        block["paragraph"]["children"] = children
    return block


def _lifted(blocks: list[Block]) -> tuple[list[Run], list[Block]]:
    """Split off the text of a leading paragraph from the blocks after it."""
    if blocks and blocks[0]["type"] == "paragraph" and "children" not in blocks[0]["paragraph"]:
        return blocks[0]["paragraph"]["rich_text"], blocks[1:]
    return [], blocks


def _trimmed(runs: list[Run], *, end: bool) -> list[Run]:
    """Remove the white space next to an image from the start, or also the ``end``, of the text."""
    result = list(runs)
    if result and "text" in result[0]:
        result[0] = _with_content(result[0], result[0]["text"]["content"].lstrip())
    if end and result and "text" in result[-1]:
        result[-1] = _with_content(result[-1], result[-1]["text"]["content"].rstrip())
    return [r for r in result if "text" not in r or r["text"]["content"]]


def _with_content(run: Run, content: str) -> Run:
    return {**run, "text": {**run["text"], "content": content}}


def _alert_of(tokens: list[Token]) -> tuple[str | None, list[Token]]:
    """Read a leading ``[!NOTE]``: its name in lower case and the tokens without it, or None."""
    if not tokens or tokens[0].type != "text":
        return None, tokens
    match = _ALERT.match(tokens[0].content)
    if match is None or match[1].lower() not in _ALERT_STYLES:
        return None, tokens
    rest = tokens[1:]
    if text := tokens[0].content[match.end() :]:
        rest.insert(0, Token("text", "", 0, content=text))
    elif rest and rest[0].type in ("softbreak", "hardbreak"):
        rest = rest[1:]
    return match[1].lower(), rest


def _callout(name: str, runs: list[Run]) -> Block:
    icon, color = _ALERT_STYLES[name]
    body = {"rich_text": runs, "icon": {"type": "emoji", "emoji": icon}, "color": color}
    return {"type": "callout", "callout": body}


class _Table:
    """Collects the rows of one table; the first row is its header."""

    def __init__(self) -> None:
        self._rows: list[list[list[Run]]] = []

    def row(self) -> None:
        """Begin the next row."""
        self._rows.append([])

    def cell(self, runs: list[Run]) -> None:
        """Add a cell to the row begun last."""
        self._rows[-1].append(runs)

    @property
    def width(self) -> int:
        """Cells in the row begun last."""
        return len(self._rows[-1])

    def block(self, losses: Losses) -> Block:
        """Return the table, its rows padded to the widest; ``chunks.plan`` cuts a long one."""
        width = max(1, *(len(row) for row in self._rows)) if self._rows else 1
        if width > TABLE_WIDTH:
            losses.add("table_width", "Cells beyond the hundredth were joined into the last one")
            width = TABLE_WIDTH
        rows = [_row(_padded(row, width)) for row in self._rows]
        body: dict[str, Any] = {
            "table_width": width,
            "has_column_header": True,
            "has_row_header": False,
            "children": rows or [_row([[]])],
        }
        return {"type": "table", "table": body}


def _padded(row: list[list[Run]], width: int) -> list[list[Run]]:
    if len(row) <= width:
        return row + [[] for _ in range(width - len(row))]
    last: list[Run] = []
    for cell in row[width - 1 :]:
        last += [*cell, text_run(" | ")]
    return [*row[: width - 1], last[:-1]]


def _row(cells: list[list[Run]]) -> Block:
    return {"type": "table_row", "table_row": {"cells": cells}}
