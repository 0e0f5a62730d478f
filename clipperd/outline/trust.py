"""Which section ends were true a moment ago: in memory only, on the boot clock."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from clipperd.clock import Clock
from clipperd.model import Scope

_WRITE_S = 90.0  # a write that was resolved while vouched for may take this long (65 s + waits)


@dataclass(frozen=True, slots=True)
class Vouched:
    """A section that ended at ``anchor``, a child of ``parent_id``, at boot time ``at``.

    ``lent_at``: when a write was last resolved to it.
    """

    parent_id: str
    anchor: str
    at: float
    lent_at: float


class Trust:
    """Section ends that may be written after without a look, for a few seconds."""

    def __init__(self, clock: Clock, trust_s: float) -> None:
        """``trust_s``: how long nobody else is expected to have changed the section's end."""
        self._clock = clock
        self._trust_s = trust_s
        self._known: dict[tuple[Scope, str], dict[str, Vouched]] = {}

    def vouch(
        self, scope: Scope, page_id: str, heading_id: str, parent_id: str, anchor: str
    ) -> None:
        """The section of the heading was just seen to end at ``anchor``."""
        now = self._clock.boot()
        self._sweep(now)
        page = self._known.setdefault((scope, page_id), {})
        page[heading_id] = Vouched(parent_id, anchor, now, now)

    def anchor(self, scope: Scope, page_id: str, heading_id: str) -> Vouched | None:
        """Where to write at the section's end, when that was true at most ``trust_s`` ago."""
        page = self._known.get((scope, page_id), {})
        known, now = page.get(heading_id), self._clock.boot()
        if known is None or now - known.at > self._trust_s:
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
            fresh = now - known.at <= self._trust_s
            lent = not edge and now - known.lent_at <= _WRITE_S
            if known.anchor == after and (fresh or lent):
                page[heading_id] = Vouched(known.parent_id, end_of(heading_id), now, now)

    def forget(self, scope: Scope, page_id: str, anchors: Collection[str] | None = None) -> None:
        """Trust nothing of the page any more, or nothing that ends at one of ``anchors``."""
        if anchors is None:
            self._known.pop((scope, page_id), None)
            return
        page = self._known.get((scope, page_id), {})
        for heading_id, known in list(page.items()):
            if known.anchor in anchors or heading_id in anchors:
                del page[heading_id]

    def _sweep(self, now: float) -> None:
        for key, page in list(self._known.items()):
            kept = {h: v for h, v in page.items() if now - v.lent_at <= _WRITE_S}
            if kept:
                self._known[key] = kept
            else:
                del self._known[key]
