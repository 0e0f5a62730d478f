"""Formats text for a terminal: aligned and without control characters. Does no I/O."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def plain(text: object, width: int | None = None) -> str:
    """Return ``text`` on one line without control characters, cut to ``width`` columns.

    Anyone who can edit a shared page sets its title; an escape sequence in a title must not reach
    the terminal.
    """
    shown = "" if text is None else str(text)
    line = "".join(" " if c.isspace() else c for c in shown)
    line = "".join(c for c in line if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    if width is None or columns(line) <= width:
        return line
    while columns(line) > width - 1:
        line = line[:-1]
    return line + "…"


def columns(text: str) -> int:
    """Count the terminal columns of ``text``: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]], widest: int = 60) -> str:
    """Return lines with aligned columns under ``head``; cells wider than ``widest`` are cut."""
    cells = [list(head)] + [[plain(cell, widest) for cell in row] for row in rows]
    widths = [max(columns(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for row in cells:
        padded = [cell + " " * (widths[i] - columns(cell)) for i, cell in enumerate(row)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def facts(pairs: Sequence[tuple[str, object]]) -> str:
    """Return ``name  value`` lines with the values aligned; None values are left out."""
    shown = [(name, plain(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in shown)


def span(seconds: float) -> str:
    """Return a duration in its largest unit: ``3 minutes``."""
    for size, name in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count != 1 else ''}"
    return "less than a second"


def count(number: int, noun: str) -> str:
    """Return ``1 clip``, ``2 clips``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def ago(now: float, then: float) -> str:
    """Return the age of the epoch time ``then`` at ``now``: ``3 minutes ago``."""
    return "just now" if now - then < 1 else span(now - then) + " ago"


def other_accounts(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each account whose clips wait for its sign-in."""
    lines = []
    for each in found:
        number = int(each["waiting"]) + int(each["needs_attention"])
        owner = plain(each.get("email") or each["user_id"])
        lines.append(
            f"{count(number, 'clip')} of {owner} {'waits' if number == 1 else 'wait'} for that"
            " account. List them with: clipperd queue list --all-accounts"
        )
    return lines
