"""Tracks the pages that the event stream shows to be unchanged; in memory, on the boot clock.

While the stream is up, a page without a change event since its last read is unchanged. Notion's
webhooks are best effort, so this holds for ten minutes after the read.
"""

from __future__ import annotations

from clipperd.clock import Clock
from clipperd.model import Scope

BELIEVED_S = 600.0  # seconds after a read without an event; webhooks may get lost
SILENT_S = 60.0  # seconds; the broker sends something every 25 s
ECHO_S = 360.0  # webhooks come within five minutes (Notion: reference/webhooks-events-delivery)
_REMEMBERED = 1_000  # pages in each table, to bound memory

Page = tuple[Scope, str]


class FreshnessTracker:
    """Knows which pages are unchanged since they were read; none without an event stream."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_up = False
        self._since: float | None = None  # no event was missed since this boot time
        self._active_at = 0.0
        self._read: dict[Page, float] = {}
        self._changed: dict[Page, float] = {}
        self._written: dict[Page, float] = {}

    @property
    def is_up(self) -> bool:
        """Whether events arrive; a stream that is silent for too long (sleep) is not up."""
        return self._is_up and self._clock.boot() - self._active_at <= SILENT_S

    def on_ready(self) -> None:
        """Note that the stream has replayed missed events and is live."""
        self._is_up = True
        self.on_activity()
        if self._since is None:
            self._since = self._active_at

    def on_activity(self) -> None:
        """Note that the stream delivered something."""
        self._active_at = self._clock.boot()

    def on_disconnect(self) -> None:
        """Note that the stream is down; earlier reads count again after a resume."""
        self._is_up = False

    def reset(self) -> None:
        """Forget all reads: events were missed, or the account changed."""
        self._since = None
        self._read.clear()

    def record_read(self, page: Page, began: float) -> None:
        """Note that the whole page was read; ``began``: boot time before the first request."""
        if self.is_unchanged(page, began) and began > self._written.get(page, -1.0):
            self._changed.pop(page, None)
            if self._since is not None and began >= self._since:
                self._read[page] = began
                _trim(self._read)

    def mark_changed(self, page: Page) -> None:
        """Note a change event of the page that was not our own write."""
        self.invalidate(page)
        self._changed[page] = self._clock.boot()
        _trim(self._changed)

    def invalidate(self, page: Page) -> None:
        """Forget the read: the stored outline may differ from the page."""
        self._read.pop(page, None)

    def record_write(self, page: Page) -> None:
        """Note our own write: a read in progress may miss it, and its event follows."""
        self._written[page] = self._clock.boot()
        _trim(self._written)

    def is_echo(self, page: Page) -> bool:
        """Whether a change event of our bot is the echo of our own write."""
        at = self._written.get(page)
        return at is not None and self._clock.boot() - at <= ECHO_S

    def has_unread_change(self, page: Page) -> bool:
        """Whether a change event arrived after the last read."""
        return page in self._changed

    def is_unchanged(self, page: Page, since: float) -> bool:
        """Whether no change event arrived after boot time ``since``."""
        return since > self._changed.get(page, -1.0)

    def is_fresh(self, page: Page) -> bool:
        """Whether the page is unchanged since it was read."""
        at = self._read.get(page)
        return at is not None and self.covers(at)

    def covers(self, at: float) -> bool:
        """Whether all events since boot time ``at`` arrived and ``at`` is recent enough."""
        if not self.is_up or self._since is None or at < self._since:
            return False
        return self._clock.boot() - at <= BELIEVED_S


def _trim(kept: dict[Page, float]) -> None:
    """Drop the oldest entries above the limit."""
    while len(kept) > _REMEMBERED:
        del kept[min(kept, key=kept.__getitem__)]
