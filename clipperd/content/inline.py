"""Converts inline Markdown tokens to rich text, with images as blocks between the runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from markdown_it.token import Token

from clipperd.content.links import is_web, resolve
from clipperd.content.losses import Losses
from clipperd.content.markup import MARKS, Tag, tag_of
from clipperd.content.richtext import usable_link
from clipperd.content.runs import Run, equation_run, text_run
from clipperd.model import Block

_BARE_URL = re.compile(r"(?<![\w@/.-])(?:https?://|www\.)[^\s<>\"`]{1,2100}", re.IGNORECASE)
_OPENING = {
    "strong_open": ("bold", True),
    "em_open": ("italic", True),
    "s_open": ("strikethrough", True),
}
_CLOSING = {name.replace("open", "close"): mark for name, (mark, _) in _OPENING.items()}
_SILENT_TAGS = frozenset({"span", "font", "small", "big", "abbr", "wbr", "p", "div", "center"})


class Inline:
    """Converts the children of one inline token to pieces: runs, with image blocks between them.

    With ``images`` False an image becomes its alternative text with a link, as table cells need.
    """

    def __init__(self, losses: Losses, base_url: str | None, *, images: bool = True) -> None:
        self._losses = losses
        self._base = base_url
        self._images = images
        self._pieces: list[dict[str, Any]] = []
        self._buffer: list[str] = []
        self._marks: dict[str, list[object]] = {}
        self._links: list[str | None] = []

    def pieces(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        """Convert ``tokens``; an element whose type is ``image`` is a block, all others runs."""
        for token in tokens:
            self._add(token)
        self._flush()
        return self._pieces

    def _add(self, token: Token) -> None:
        kind = token.type
        if kind == "text":
            self._text(token.content)
        elif kind == "softbreak":
            self._buffer.append(" ")
        elif kind == "hardbreak":
            self._buffer.append("\n")
        elif kind in _OPENING:
            self._mark(*_OPENING[kind])
        elif kind in _CLOSING:
            self._unmark(_CLOSING[kind])
        elif kind == "code_inline":
            self._mark("code", True)
            self._buffer.append(token.content)
            self._unmark("code")
        elif kind == "link_open":
            self._open_link(str(token.attrGet("href") or ""), "")
        elif kind == "link_close":
            self._close_link()
        elif kind == "image":
            title = str(token.attrGet("title") or "")
            self.image(str(token.attrGet("src") or ""), _alternative(token) or title)
        elif kind == "html_inline":
            self._html(token.content)
        elif kind in ("math_inline", "math_inline_double"):
            self._flush()
            self._pieces.append(equation_run(token.content.strip(), self._annotations()))
        elif kind == "footnote_ref":
            self._buffer.append(f"[{token.meta['id'] + 1}]")
        else:
            self._buffer.append(token.content)

    def _text(self, content: str) -> None:
        if self._links or ("://" not in content and "www." not in content.lower()):
            self._buffer.append(content)
            return
        last = 0
        for start, end, url in _bare_urls(content):
            self._buffer.append(content[last:start])
            self._open_link(url, content[start:end])
            self._buffer.append(content[start:end])
            self._close_link()
            last = end
        self._buffer.append(content[last:])

    def _mark(self, name: str, value: object) -> None:
        self._flush()
        self._marks.setdefault(name, []).append(value)

    def _unmark(self, name: str) -> None:
        self._flush()
        if self._marks.get(name):
            self._marks[name].pop()

    def _open_link(self, url: str, text: str) -> None:
        self._flush()
        resolved = resolve(url, self._base)
        self._links.append(usable_link(resolved, text or resolved, self._losses))

    def _close_link(self) -> None:
        self._flush()
        if self._links:
            self._links.pop()

    def _annotations(self) -> dict[str, Any]:
        return {name: values[-1] for name, values in self._marks.items() if values}

    def _flush(self) -> None:
        if not self._buffer:
            return
        content = "".join(self._buffer)
        self._buffer.clear()
        if content:
            link = self._links[-1] if self._links else None
            self._pieces.append(text_run(content, link=link, annotations=self._annotations()))

    def image(self, source: str, text: str) -> None:
        """Add an image, or its text where Notion cannot load it."""
        url = resolve(source, self._base)
        link = self._links[-1] if self._links else None
        if self._images and is_web(url):
            self._flush()
            self._pieces.append(_image_block(url, text, link))
            return
        shown = text or ("image" if url.lower().startswith("data:") else source)
        why = "An image in a table cell became its text" if is_web(url) else _NO_URL
        self._losses.add("image_as_text", why, shown)
        if is_web(url) and link is None:
            self._open_link(url, shown)
            self._buffer.append(shown)
            self._close_link()
        else:
            self._buffer.append(shown)

    def _html(self, source: str) -> None:
        tag = tag_of(source)
        if tag is None:
            return  # a comment or declaration, which browsers do not show
        if tag.name == "br":
            self._buffer.append("\n")
        elif tag.name == "img":
            self.image(tag.attribute("src"), tag.attribute("alt") or tag.attribute("title"))
        elif tag.name == "a":
            self._anchor(tag)
        elif tag.name in MARKS:
            name, value = MARKS[tag.name]
            if tag.closes:
                self._unmark(name)
            else:
                self._mark(name, value)
        elif tag.name not in _SILENT_TAGS and not tag.closes:
            self._losses.add("html_tag", "HTML was reduced to its text", tag.name)

    def _anchor(self, tag: Tag) -> None:
        if tag.closes:
            self._close_link()
        elif href := tag.attribute("href"):
            self._open_link(href, "")
        else:
            self._flush()
            self._links.append(None)  # a bare anchor still has its closing tag


_NO_URL = "An image without a web address became its text"


def _image_block(url: str, text: str, link: str | None) -> Block:
    body: dict[str, Any] = {"type": "external", "external": {"url": url}}
    caption = text or (link or "")
    if caption:
        body["caption"] = [text_run(caption, link=link)]
    return {"type": "image", "image": body}


def image_of(tag: Tag, base_url: str | None, losses: Losses) -> Block | Run:
    """An HTML img tag as an image block, or as its text where Notion cannot load it."""
    inline = Inline(losses, base_url)
    inline.image(tag.attribute("src"), tag.attribute("alt") or tag.attribute("title"))
    inline._flush()
    return inline._pieces[0]


def _alternative(token: Token) -> str:
    parts = (child.content for child in token.children or ())
    return "".join(parts).strip() or token.content.strip()


def _bare_urls(content: str) -> Iterator[tuple[int, int, str]]:
    """Find the URLs that GitHub would link: (start, end, URL)."""
    for match in _BARE_URL.finditer(content):
        text = match[0]
        while text and (text[-1] in "?!.,:*_~'\";" or (text[-1] == ")" and _unbalanced(text))):
            text = text[:-1]
        url = text if text[:4].lower() != "www." else f"http://{text}"
        if is_web(url) and "." in url:
            yield match.start(), match.start() + len(text), url


def _unbalanced(text: str) -> bool:
    return text.count(")") > text.count("(")
