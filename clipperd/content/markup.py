"""Extracts the visible text of HTML inside Markdown: it removes tags and keeps text and images.

Takes linear time on any input: a tag ends at the next ``<`` or ``>``, and the end of a comment is
searched once.
"""

from __future__ import annotations

import html
import re

import msgspec

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)((?:\s[^<>]*)?)/?>|<[!?][^<>]*>")
_ATTRIBUTE = re.compile(r"""([A-Za-z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_BLANK = re.compile(r"\n[ \t]*\n\s*")
_LINES = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote br dd details div dl dt figcaption figure footer form h1"
        " h2 h3 h4 h5 h6 header hr li main nav ol p pre section summary table tr ul",
    )
)
_CELLS = frozenset({"td", "th"})
_HIDDEN = re.compile(
    r"<!--|<(script|style|template|head|noscript)\b[^<>]*>", re.IGNORECASE
)  # elements that browsers do not show

MARKS: dict[str, tuple[str, object]] = {
    **dict.fromkeys(("b", "strong"), ("bold", True)),
    **dict.fromkeys(("i", "em", "cite", "dfn", "var"), ("italic", True)),
    **dict.fromkeys(("u", "ins"), ("underline", True)),
    **dict.fromkeys(("s", "del", "strike"), ("strikethrough", True)),
    **dict.fromkeys(("code", "kbd", "samp", "tt"), ("code", True)),
    "mark": ("color", "yellow_background"),
}
"""Inline tags with the Notion annotation that they become."""


class Tag(msgspec.Struct, frozen=True):
    """One tag: lower-case name, whether it closes, and its attributes' raw text."""

    name: str
    closes: bool
    raw: str

    def attribute(self, name: str) -> str:
        """Return an attribute's value with entities decoded, or an empty string."""
        for match in _ATTRIBUTE.finditer(self.raw):
            if match[1].lower() == name:
                return html.unescape(match[2] or match[3] or match[4] or "")
        return ""


def tag_of(text: str) -> Tag | None:
    """Read one inline tag; None for comments, declarations and anything else."""
    match = _TAG.fullmatch(text.strip())
    if match is None or match[2] is None:
        return None
    return Tag(match[2].lower(), bool(match[1]), match[3])


def segments(source: str) -> list[str | Tag]:
    """Split ``source`` into visible text, with block tags as line breaks, and its img tags."""
    source = _without_hidden(source)
    parts: list[str | Tag] = []
    text: list[str] = []
    last = 0
    for match in _TAG.finditer(source):
        text.append(html.unescape(source[last : match.start()]))
        last = match.end()
        name = (match[2] or "").lower()
        if name == "img":
            parts += ["".join(text), Tag("img", False, match[3])]
            text = []
        elif name in _LINES:
            text.append("\n")
        elif name in _CELLS:
            text.append(" ")
    text.append(html.unescape(source[last:]))
    parts.append("".join(text))
    return [_tidy(p) if isinstance(p, str) else p for p in parts]


def paragraphs(text: str) -> list[str]:
    """Split at blank lines and drop empty parts."""
    return [p.strip() for p in _BLANK.split(text) if p.strip()]


def _tidy(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.split("\n"))


def _without_hidden(source: str) -> str:
    """Drop comments and the elements that browsers do not show."""
    kept: list[str] = []
    at = 0
    lower = source.lower()
    while (hidden := _HIDDEN.search(source, at)) is not None:
        kept.append(source[at : hidden.start()])
        if hidden[1] is None:
            found = source.find("-->", hidden.start() + 4)
            end = found + 2 if found >= 0 else -1
        else:
            found = lower.find(f"</{hidden[1].lower()}", hidden.end())
            end = lower.find(">", found) if found >= 0 else -1
        if end < 0:  # never closed: keep the rest of the text
            return "".join([*kept, source[hidden.end() :]])
        at = end + 1
    return "".join([*kept, source[at:]])
