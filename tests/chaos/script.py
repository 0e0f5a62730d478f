"""Derives one run from its seed alone: the clips, their places, the faults."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tests.stack.notion import APPEND, Page

Rule = dict[str, Any]

OUTLINE = """Above everything
# Newest
Stood here before
# Inbox
First of the inbox
## Deep
First of the deep
# Later
First of later"""

# Where the clips of a target stand: both sections of the inbox end at the same block.
AREAS = {"start": "top", "end": "end", "inbox": "inbox", "deep": "inbox", "newest": "newest"}

# Kind, share of the calls, parameters. Nothing arrives later than a third of the settle times.
WRITE_FAULTS: tuple[tuple[str, float, Rule], ...] = (
    ("429", 0.04, {"retry_after": 1}),
    ("529", 0.015, {"retry_after": 1}),
    ("409", 0.015, {}),
    ("5xx_before", 0.025, {"status": 500}),
    ("5xx_after", 0.025, {"status": 502}),
    ("committed_503", 0.03, {}),
    ("uncommitted_503", 0.015, {}),
    ("drop_before", 0.025, {}),
    ("drop_after", 0.025, {}),
    ("late", 0.015, {"ms": 900, "answer": "drop"}),
    ("late", 0.01, {"ms": 500, "answer": "504"}),
    ("truncated", 0.015, {}),
    ("garbage", 0.01, {}),
    ("html_502", 0.01, {"applied": False}),
    ("html_502", 0.01, {"applied": True}),
    ("latency", 0.2, {"ms": 50, "jitter_ms": 400}),
)
READ_FAULTS: tuple[tuple[str, float, Rule], ...] = (
    ("429", 0.02, {"retry_after": 1}),
    ("5xx_before", 0.02, {"status": 503}),
    ("drop_before", 0.02, {}),
    ("latency", 0.1, {"ms": 20, "jitter_ms": 200}),
)


@dataclass(frozen=True)
class Piece:
    """One target of a clip: which page, which place there."""

    page_id: str
    place: str


@dataclass(frozen=True)
class Planned:
    """A clip before it is posted; ``texts`` are its first-level blocks."""

    number: int
    pieces: tuple[Piece, ...]
    texts: tuple[str, ...]
    content: dict[str, Any]


@dataclass(frozen=True)
class Weather:
    """How bad the day is: how dense faults, kills and clips come."""

    faults: float
    calm_s: float
    pace_s: float

    @classmethod
    def draw(cls, rng: random.Random) -> Weather:
        """Between a bad day and a very bad one; few kills leave room for more writes."""
        return cls(rng.choice((1.0, 1.5, 2.0)), rng.choice((1.0, 2.0, 5.0)), rng.uniform(0.1, 0.35))

    def rules(self) -> list[Rule]:
        """The faults of the day."""
        writes = [_rule(k, s * self.faults, p, APPEND) for k, s, p in WRITE_FAULTS]
        reads = [_rule(k, s * self.faults, p, "GET *") for k, s, p in READ_FAULTS]
        return writes + reads


class Script:
    """Draws one clip after the other."""

    def __init__(self, rng: random.Random, pages: list[Page], long: float = 0.04) -> None:
        """``pages`` were made from ``OUTLINE``. ``long``: the share of clips of several parts."""
        self._rng = rng
        self._long = long
        self._pages = pages
        self._last: dict[tuple[str, str], str] = {}

    def clip(self, number: int) -> Planned:
        """The next clip."""
        rng = self._rng
        count = rng.choice((2, 3)) if rng.random() < 0.08 else 1
        places = (
            "start",
            "end",
            "end",
            "inbox",
            "inbox",
            "inbox",
            "deep",
            "deep",
            "newest",
            "newest",
        )
        pieces = tuple(
            Piece(page.id, rng.choice(places)) for page in rng.sample(self._pages, count)
        )
        draw = rng.random()
        texts: tuple[str, ...]
        if draw < self._long:
            texts = tuple(f"c{number}.{n}" for n in range(rng.randint(101, 260)))
            return Planned(number, pieces, texts, _blocks(texts))
        if draw < 0.07:
            texts = (f"c{number}.0", f"c{number}.1")
            return Planned(number, pieces, texts, _nested(texts))
        if draw < 0.15:
            return Planned(number, pieces, *_markdown(number))
        if draw < 0.25:
            texts = tuple(f"c{number}.{n}" for n in range(rng.randint(2, 5)))
            return Planned(number, pieces, texts, _blocks(texts))
        text = f"c{number}"
        key = (pieces[0].page_id, AREAS[pieces[0].place])
        if rng.random() < 0.1 and key in self._last:
            text = self._last[key]
        for piece in pieces:
            self._last[(piece.page_id, AREAS[piece.place])] = text
        return Planned(number, pieces, (text,), {"format": "text", "text": text})

    def target(self, piece: Piece) -> dict[str, Any]:
        """The target as the API wants it."""
        page = next(page for page in self._pages if page.id == piece.page_id)
        position = {
            "start": {"type": "start"},
            "end": {"type": "end"},
            "newest": {"type": "after_heading", "heading_id": page.heading("Newest")},
            "inbox": {"type": "end_of_section", "heading_id": page.heading("Inbox")},
            "deep": {"type": "end_of_section", "heading_id": page.heading("Deep")},
        }[piece.place]
        return {"page_id": piece.page_id, "position": position}


def _rule(kind: str, share: float, params: Rule, route: str) -> Rule:
    return {"kind": kind, "route": route, "probability": share, "params": params}


def _blocks(texts: tuple[str, ...]) -> dict[str, Any]:
    return {"format": "blocks", "blocks": [_block("paragraph", text) for text in texts]}


def _markdown(number: int) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Formatted text, which Notion gives back in other runs and other forms than it got it in."""
    text = (
        f"c{number}.0 **bold**, [a link](https://EXAMPLE.org/ä?q={number}&x=1#y) and `code` 😀\n\n"
        f"- c{number}.1 *item*\n- [x] c{number}.2 ~~done~~\n\n> c{number}.3 quote\n\n"
        f"```py\nc{number}.4 = 1\n```\n"
    )
    words = ("bold, a link and code 😀", "item", "done", "quote", "= 1")
    plain = tuple(f"c{number}.{n} {said}" for n, said in enumerate(words))
    return plain, {"format": "markdown", "markdown": text}


def _nested(texts: tuple[str, ...]) -> dict[str, Any]:
    """Lists five levels deep: two more than one request may carry."""
    return {"format": "blocks", "blocks": [_list(text, 4) for text in texts]}


def _list(text: str, deeper: int) -> dict[str, Any]:
    block = _block("bulleted_list_item", text)
    if deeper:
        block["bulleted_list_item"]["children"] = [
            _list(f"{text}.{n}", deeper - 1) for n in range(2)
        ]
    return block


def _block(kind: str, text: str) -> dict[str, Any]:
    body = {"rich_text": [{"type": "text", "text": {"content": text}}]}
    return {"object": "block", "type": kind, kind: body}
