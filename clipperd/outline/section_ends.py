"""Caches section ends that are known to be fresh; in memory, on the boot clock."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
from msgspec.structs import replace

from clipperd.clock import Clock
from clipperd.model import Scope
from clipperd.outline.freshness import BELIEVED_S

_WRITE_S = 90.0  # seconds that a write to a fresh section end may take (65 s, plus waits)


class SectionEnd(msgspec.Struct, frozen=True):
    """A section that ended at ``anchor``, a child of ``parent_id``, at boot time ``at``.

    ``used_at``: boot time when a write was last resolved to it. ``seen_at``: boot time when it was
    last read from Notion, to compare with the event stream.
    """

    parent_id: str
    anchor: str
    at: float
    used_at: float
    seen_at: float


class SectionEnds:
    """Section ends that a write may follow without another read, for a few seconds."""

    def __init__(self, clock: Clock, trust_s: float, is_covered: Callable[[float], bool]) -> None:
        """``trust_s``: seconds for which a section end stays fresh without an event stream.

        ``is_covered``: says whether the event stream delivered all changes since a boot time.
        """
        self._is_covered = is_covered
        self._clock = clock
        self._trust_s = trust_s
        self._known: dict[tuple[Scope, str], dict[str, SectionEnd]] = {}

    def record(
        self,
        scope: Scope,
        page_id: str,
        heading_id: str,
        parent_id: str,
        anchor: str,
        *,
        seen_at: float,
    ) -> None:
        """Store that the section of the heading was just read to end at ``anchor``."""
        now = self._clock.boot()
        self._sweep(now)
        page = self._known.setdefault((scope, page_id), {})
        page[heading_id] = SectionEnd(parent_id, anchor, now, now, seen_at)

    def fresh(self, scope: Scope, page_id: str, heading_id: str) -> SectionEnd | None:
        """Return the end of the section if it is fresh."""
        page = self._known.get((scope, page_id), {})
        known, now = page.get(heading_id), self._clock.boot()
        if known is None or not self._is_fresh(known, now):
            return None
        page[heading_id] = replace(known, used_at=now)
        return known

    def advance(
        self, scope: Scope, page_id: str, after: str, end_of: Callable[[str], str], *, edge: bool
    ) -> None:
        """Move sections that ended at ``after`` to ``end_of(heading)``: we wrote directly after it.

        A section end that is not fresh is dropped: another client may have added blocks after the
        anchor, so our blocks may be in the middle of the section. ``edge``: we wrote at the end of
        the parent and assume that ``after`` was its last block, so no write was resolved to it.
        """
        now = self._clock.boot()
        page = self._known.get((scope, page_id), {})
        for heading_id, known in list(page.items()):
            if known.anchor != after:
                continue
            in_use = not edge and now - known.used_at <= _WRITE_S
            if in_use or self._is_fresh(known, now):
                end = end_of(heading_id)
                page[heading_id] = replace(known, anchor=end, at=now, used_at=now)
            else:
                del page[heading_id]  # its end has moved and is unknown

    def forget(self, scope: Scope, page_id: str, anchors: Collection[str] | None = None) -> None:
        """Drop the section ends of the page, or only those at one of ``anchors``."""
        if anchors is None:
            self._known.pop((scope, page_id), None)
            return
        page = self._known.get((scope, page_id), {})
        for heading_id, known in list(page.items()):
            if known.anchor in anchors or heading_id in anchors:
                del page[heading_id]

    def forget_children(self, scope: Scope, page_id: str, parent_id: str) -> None:
        """Drop the section ends among the direct children of the parent."""
        page = self._known.get((scope, page_id), {})
        for heading_id, known in list(page.items()):
            if known.parent_id == parent_id:
                del page[heading_id]

    def _is_fresh(self, known: SectionEnd, now: float) -> bool:
        return now - known.at <= self._trust_s or self._is_covered(known.seen_at)

    def _sweep(self, now: float) -> None:
        for key, page in list(self._known.items()):
            kept = {h: v for h, v in page.items() if now - v.used_at <= BELIEVED_S}
            if kept:
                self._known[key] = kept
            else:
                del self._known[key]
