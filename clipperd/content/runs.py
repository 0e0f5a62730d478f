"""Builds rich text: creates runs, merges equal neighbours, cuts runs to Notion's limits.

A run is one element of a ``rich_text`` array in request shape. It leaves out default annotations,
so runs that look the same are equal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any, TypeAlias

from clipperd.content.limits import RUNS, TEXT_UNITS
from clipperd.content.links import utf16_units

Run: TypeAlias = dict[str, Any]

_ZWJ = "\u200d"
_BACK_OFF = 64  # characters; a longer cluster is an attack, not a character


def scrub(text: str) -> str:
    """Remove NUL characters and replace lone surrogates by U+FFFD; Notion accepts neither."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def text_run(
    content: str, *, link: str | None = None, annotations: dict[str, Any] | None = None
) -> Run:
    """Return a text run; ``link`` must have passed ``links.is_link``."""
    text: dict[str, Any] = {"content": content}
    if link is not None:
        text["link"] = {"url": link}
    run: Run = {"type": "text", "text": text}
    if annotations:
        run["annotations"] = dict(annotations)
    return run


def equation_run(expression: str, annotations: dict[str, Any] | None = None) -> Run:
    """Return an inline equation, at most 1000 units long."""
    run: Run = {"type": "equation", "equation": {"expression": expression}}
    if annotations:
        run["annotations"] = dict(annotations)
    return run


def plain(runs: Iterable[Run]) -> str:
    """Return the visible text of ``runs``, with the plain text of mentions where known."""
    parts: list[str] = []
    for run in runs:
        if "text" in run:
            parts.append(run["text"].get("content", ""))
        elif "equation" in run:
            parts.append(run["equation"].get("expression", ""))
        else:
            parts.append(run.get("plain_text", ""))
    return "".join(parts)


def merged(runs: Iterable[Run]) -> list[Run]:
    """Join neighbouring text runs that differ only in content; drop empty ones."""
    result: list[tuple[Run, list[str]]] = []
    for run in runs:
        text = run.get("text")
        if text is None:
            result.append((run, []))
            continue
        if not text["content"]:
            continue
        if result and _alike(result[-1][0], run):
            result[-1][1].append(text["content"])
        else:
            result.append((run, [text["content"]]))
    return [
        run if len(parts) < 2 else {**run, "text": {**run["text"], "content": "".join(parts)}}
        for run, parts in result
    ]


def _alike(one: Run, other: Run) -> bool:
    mine, theirs = one.get("text"), other.get("text")
    return (
        mine is not None
        and theirs is not None
        and mine.get("link") == theirs.get("link")
        and one.get("annotations") == other.get("annotations")
    )


def fitted(runs: list[Run]) -> list[Run]:
    """Cut text runs to 2000 UTF-16 units each; merge neighbours only if there are over 100."""
    if len(runs) > RUNS:
        runs = merged(runs)
    if all("text" not in r or len(r["text"]["content"]) * 2 <= TEXT_UNITS for r in runs):
        return runs
    result: list[Run] = []
    for run in runs:
        text = run.get("text")
        if text is None:
            result.append(run)
            continue
        pieces = pieces_of(text["content"], TEXT_UNITS)
        if len(pieces) == 1:
            result.append(run)
        else:
            result.extend({**run, "text": {**text, "content": piece}} for piece in pieces)
    return result


def pieces_of(text: str, units: int) -> list[str]:
    """Cut ``text`` into pieces of at most ``units`` UTF-16 units whose concatenation is ``text``.

    Cuts after the last newline, else the last space, of the second half of a piece. Never cuts a
    surrogate pair, and avoids cutting a combining sequence, emoji sequence or flag.
    """
    pieces: list[str] = []
    start = 0
    while len(text) - start > units // 2:
        end = _reach(text, start, units)
        if end == len(text):
            break
        cut = _cut(text, start, end)
        pieces.append(text[start:cut])
        start = cut
    if start < len(text) or not pieces:
        pieces.append(text[start:])
    return pieces


def _reach(text: str, start: int, units: int) -> int:
    end = min(len(text), start + units)
    excess = utf16_units(text[start:end]) - units
    while excess > 0:
        end -= max(1, excess // 2)
        excess = utf16_units(text[start:end]) - units
    return end


def _cut(text: str, start: int, end: int) -> int:
    half = start + (end - start) // 2
    for mark in ("\n", " "):
        at = text.rfind(mark, half, end)
        if at >= 0:
            return at + 1
    if text[end - 1].isascii() and text[end].isascii():
        return end
    cut = end
    while cut > max(start + 1, end - _BACK_OFF) and _joined(text, cut):
        cut -= 1
    return cut if not _joined(text, cut) else end


def _joined(text: str, at: int) -> bool:
    """Say whether the characters before and at ``at`` display as one character."""
    after, before = text[at], text[at - 1]
    if after == _ZWJ or before == _ZWJ or after in "\ufe0e\ufe0f" or before + after == "\r\n":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True  # skin tones and tag sequences
    if unicodedata.category(after) in ("Mn", "Me", "Mc"):
        return True
    if _is_flag_half(after) and _is_flag_half(before):
        run = at - 1
        while run > 0 and at - run < _BACK_OFF and _is_flag_half(text[run - 1]):
            run -= 1
        return (at - run) % 2 == 1
    return False


def _is_flag_half(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def groups_of(runs: list[Run]) -> list[list[Run]]:
    """Split fitted ``runs`` into lists of at most 100; never empty."""
    return [runs[i : i + RUNS] for i in range(0, len(runs), RUNS)] or [[]]
