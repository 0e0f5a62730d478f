"""Markdown to Notion blocks: block tokens in, trees of blocks out, nothing visible lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from markdown_it.token import Token

from clipperd.content import callouts
from clipperd.content.dialect import Parsed, cells_beyond, parse
from clipperd.content.inline import Inline, image_of
from clipperd.content.languages import PLAIN, notion_language
from clipperd.content.losses import Losses
from clipperd.content.markup import paragraphs, segments
from clipperd.content.runs import Run, plain, text_run
from clipperd.content.tables import TableBuilder
from clipperd.model import Block

_DETAILS = re.compile(
    r"\s*<details\b[^<>]*>\s*(?:<summary\b[^<>]*>(.*?)</summary>)?", re.IGNORECASE | re.DOTALL
)
_DETAILS_END = re.compile(r"\s*</details>\s*", re.IGNORECASE)
_TITLE = re.compile(r"^title[ \t]*:[ \t]*(.+)$", re.MULTILINE)
_DEEPEST = 4


class Converted(msgspec.Struct, frozen=True):
    """Blocks before they are fitted, and the title that front matter gives."""

    blocks: list[Block]
    title: str = ""


class _Frame(msgspec.Struct):
    """An open container: its blocks so far, and what it will become."""

    kind: str
    blocks: list[Block] = msgspec.field(default_factory=list)
    runs: list[Run] = msgspec.field(default_factory=list)
    checked: bool | None = None
    alert: str | None = None
    label: str = ""


def convert(source: str, losses: Losses, base_url: str | None = None) -> Converted:
    """Convert ``source``; relative links resolve against ``base_url`` where it is given.

    Runs, equations and tables may still exceed Notion's limits: ``fitting.fit`` sees to that.
    """
    try:
        parsed = parse(source)
    except RecursionError:
        losses.add("too_complex", "The Markdown nests too deeply and was kept as plain text")
        return Converted([_paragraph([text_run(p)]) for p in paragraphs(source)])
    if parsed.env.get("too_deep"):
        losses.add("nesting", "Very deeply nested parts were kept as plain text")
    builder = _Builder(losses, base_url, parsed)
    return Converted(builder.build(parsed.tokens), builder.title)


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
        self._table: TableBuilder | None = None
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
            frame.alert, children = callouts.alert_of(children)
        if frame.checked is not None and not frame.blocks and children:
            frame.checked = 'checked="checked"' in children[0].content
            children = children[1:]  # the checkbox that the tasklists plugin put there
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
        """Text and images in their order: an image stands between two paragraphs."""
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
        """A heading holds text only; its images follow it."""
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
            return  # a closing tag of HTML that nothing opened here
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
            block = callouts.callout(frame.alert, runs)
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
        self._table = TableBuilder()

    def _row(self, token: Token) -> None:
        if self._table is not None:
            self._table.row()
            self._line = self._parsed.lines[token.map[0]] if token.map else ""

    def _end_row(self) -> None:
        """Keep the cells that GFM ignores because the header is narrower."""
        if self._table is not None:
            for tokens in cells_beyond(self._line, self._table.width):
                inline = Inline(self._losses, self._base, images=False)
                self._table.cell(inline.pieces(tokens))

    def _end_table(self) -> None:
        if self._table is not None:
            self._put(self._table.block(self._losses))
        self._table = None

    def _footnotes(self) -> list[Block]:
        """The notes in the order in which the text refers to them, then those it never does."""
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
    """The text of a leading paragraph, and the blocks after it."""
    if blocks and blocks[0]["type"] == "paragraph" and "children" not in blocks[0]["paragraph"]:
        return blocks[0]["paragraph"]["rich_text"], blocks[1:]
    return [], blocks


def _trimmed(runs: list[Run], *, end: bool) -> list[Run]:
    """Without the white space that an image left at the edges of its neighbours."""
    result = list(runs)
    if result and "text" in result[0]:
        result[0] = _with_content(result[0], result[0]["text"]["content"].lstrip())
    if end and result and "text" in result[-1]:
        result[-1] = _with_content(result[-1], result[-1]["text"]["content"].rstrip())
    return [r for r in result if "text" not in r or r["text"]["content"]]


def _with_content(run: Run, content: str) -> Run:
    return {**run, "text": {**run["text"], "content": content}}
