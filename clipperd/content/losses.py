"""Collects the parts of a clip that a conversion could not keep, to report them to the user."""

from __future__ import annotations

import msgspec

_MOST = 200  # losses in a report; a user does not read more
_EXCERPT = 80  # characters


class Loss(msgspec.Struct, frozen=True):
    """One thing that Notion cannot hold: a stable ``kind`` and a sentence with an excerpt."""

    kind: str
    detail: str


class Losses:
    """Collects losses in order of appearance, each once."""

    def __init__(self) -> None:
        self._seen: dict[Loss, None] = {}

    def add(self, kind: str, detail: str, excerpt: str = "") -> None:
        """Add a loss; a shortened ``excerpt`` follows its ``detail``."""
        if len(self._seen) >= _MOST:
            return
        if excerpt:
            short = excerpt if len(excerpt) <= _EXCERPT else excerpt[:_EXCERPT] + "…"
            detail = f"{detail}: {' '.join(short.split())}"
        self._seen[Loss(kind, detail)] = None

    def report(self) -> list[Loss]:
        """Return all losses so far."""
        return list(self._seen)
