"""What a conversion could not keep, said openly instead of silently dropped."""

from __future__ import annotations

import msgspec

_MOST = 200  # a report longer than this helps nobody
_EXCERPT = 80


class Loss(msgspec.Struct, frozen=True):
    """One thing that Notion cannot hold: a stable ``kind`` and a sentence with an excerpt."""

    kind: str
    detail: str


class Losses:
    """Collects losses in order of appearance, each once."""

    def __init__(self) -> None:
        """Start with nothing lost."""
        self._seen: dict[Loss, None] = {}

    def add(self, kind: str, detail: str, excerpt: str = "") -> None:
        """Report one loss; ``excerpt`` is shortened and quoted behind ``detail``."""
        if len(self._seen) >= _MOST:
            return
        if excerpt:
            short = excerpt if len(excerpt) <= _EXCERPT else excerpt[:_EXCERPT] + "…"
            detail = f"{detail}: {' '.join(short.split())}"
        self._seen[Loss(kind, detail)] = None

    def report(self) -> list[Loss]:
        """Everything reported so far."""
        return list(self._seen)
