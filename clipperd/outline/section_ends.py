"""Which section ends were true a moment ago: in memory only, on the boot clock."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
from msgspec.structs import replace

from clipperd.clock import Clock
from clipperd.model import Scope
from clipperd.outline.freshness import BELIEVED_S

_WRITE_S = 90.0  # a write that was resolved while vouched for may take this long (65 s + waits)


class Vouched(msgspec.Struct, frozen=True):
    """A section that ended at ``anchor``, a child of ``parent_id``, at boot time ``at``.

    ``lent_at``: when a write was last resolved to it. ``seen_at``: when it was last read at
    Notion, for what the event stream vouches for.
    """

    parent_id: str
    anchor: str
    at: float
    lent_at: float
    seen_at: float


class SectionEnds:
    """Section ends that may be written after without a look, for a few seconds."""

    def __init__(self, clock: Clock, trust_s: float, is_covered: Callable[[float], bool]) -> None:
        """``trust_s``: how long nobody else is expected to have changed the section's end.

        ``is_covered``: whether every change since that boot time was told (and is forgotten here).
        """
        self._is_covered = is_covered
        self._clock = clock
        self._trust_s = trust_s
        self._known: dict[tuple[Scope, str], dict[str, Vouched]] = {}

    def vouch(
        self,
        scope: Scope,
        page_id: str,
        heading_id: str,
        parent_id: str,
        anchor: str,
        *,
        seen_at: float,
    ) -> None:
        """The section of the heading was just seen to end at ``anchor``."""
        now = self._clock.boot()
        self._sweep(now)
        page = self._known.setdefault((scope, page_id), {})
        page[heading_id] = Vouched(parent_id, anchor, now, now, seen_at)

    def anchor(self, scope: Scope, page_id: str, heading_id: str) -> Vouched | None:
        """Where to write at the section's end, when that was true just now or is vouched for."""
        page = self._known.get((scope, page_id), {})
        known, now = page.get(heading_id), self._clock.boot()
        if known is None or not self._is_fresh(known, now):
            return None
        page[heading_id] = replace(known, lent_at=now)
        return known

    def advance(
        self, scope: Scope, page_id: str, after: str, end_of: Callable[[str], str], *, edge: bool
    ) -> None:
        """We wrote right after ``after``: sections that ended there end at ``end_of(heading)``.

        A section that was not vouched for stays so: somebody may have added to it behind the
        anchor, and what we wrote then stands in its middle. ``edge``: we wrote at the parent's
        end and only take ``after`` for its last block, so nothing was resolved to it.
        """
        now = self._clock.boot()
        page = self._known.get((scope, page_id), {})
        for heading_id, known in list(page.items()):
            if known.anchor != after:
                continue
            lent = not edge and now - known.lent_at <= _WRITE_S
            if lent or self._is_fresh(known, now):
                end = end_of(heading_id)
                page[heading_id] = replace(known, anchor=end, at=now, lent_at=now)
            else:
                del page[heading_id]  # its end has moved on: never to be vouched for again

    def forget(self, scope: Scope, page_id: str, anchors: Collection[str] | None = None) -> None:
        """Trust nothing of the page any more, or nothing that ends at one of ``anchors``."""
        if anchors is None:
            self._known.pop((scope, page_id), None)
            return
        page = self._known.get((scope, page_id), {})
        for heading_id, known in list(page.items()):
            if known.anchor in anchors or heading_id in anchors:
                del page[heading_id]

    def forget_children(self, scope: Scope, page_id: str, parent_id: str) -> None:
        """Trust no section whose blocks are the parent's own children."""
        page = self._known.get((scope, page_id), {})
        for heading_id, known in list(page.items()):
            if known.parent_id == parent_id:
                del page[heading_id]

    def _is_fresh(self, known: Vouched, now: float) -> bool:
        return now - known.at <= self._trust_s or self._is_covered(known.seen_at)

    def _sweep(self, now: float) -> None:
        for key, page in list(self._known.items()):
            kept = {h: v for h, v in page.items() if now - v.lent_at <= BELIEVED_S}
            if kept:
                self._known[key] = kept
            else:
                del self._known[key]
