"""What the event stream vouches for: in memory only, on the boot clock.

While the stream is up, a page that was looked at, and of which no change was told since, is as it
was. Notion's webhooks are best effort, so that is believed for ten minutes after the look.
"""

from __future__ import annotations

from clipperd.clock import Clock
from clipperd.model import Scope

BELIEVED_S = 600.0
SILENT_S = 60.0  # the broker's line says something every 25 s
ECHO_S = 360.0  # webhooks come within five minutes (Notion: reference/webhooks-events-delivery)
_REMEMBERED = 1_000

Page = tuple[Scope, str]


class FreshnessTracker:
    """Which pages are known to be unchanged. Never up without a stream."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is vouched for."""
        self._clock = clock
        self._is_up = False
        self._since: float | None = None  # nothing told was missed since
        self._heard_at = 0.0
        self._looked: dict[Page, float] = {}
        self._doubted: dict[Page, float] = {}
        self._written: dict[Page, float] = {}

    @property
    def is_up(self) -> bool:
        """Whether changes are told now; a line that went silent (sleep) is not up."""
        return self._is_up and self._clock.boot() - self._heard_at <= SILENT_S

    def ready(self) -> None:
        """What was missed has been told; from here on everything is."""
        self._is_up = True
        self.heard()
        if self._since is None:
            self._since = self._heard_at

    def heard(self) -> None:
        """The line has shown that it stands."""
        self._heard_at = self._clock.boot()

    def down(self) -> None:
        """Nothing is told now; what was believed may be believed again after a resume."""
        self._is_up = False

    def reset(self) -> None:
        """Something was missed, or somebody else is signed in: believe nothing seen so far."""
        self._since = None
        self._looked.clear()

    def looked(self, page: Page, began: float) -> None:
        """The page was read whole; ``began``: boot time before anything of it was read."""
        if self.is_unchanged(page, began) and began > self._written.get(page, -1.0):
            self._doubted.pop(page, None)
            if self._since is not None and began >= self._since:
                self._looked[page] = began
                _trim(self._looked)

    def doubt(self, page: Page) -> None:
        """Somebody changed the page."""
        self.unsure(page)
        self._doubted[page] = self._clock.boot()
        _trim(self._doubted)

    def unsure(self, page: Page) -> None:
        """What is stored of the page is not known to be exact any more."""
        self._looked.pop(page, None)

    def wrote(self, page: Page) -> None:
        """We changed the page: what is being read may lack that, and an echo will come."""
        self._written[page] = self._clock.boot()
        _trim(self._written)

    def is_echo(self, page: Page) -> bool:
        """Whether a change that our bot made is taken for what we wrote ourselves."""
        at = self._written.get(page)
        return at is not None and self._clock.boot() - at <= ECHO_S

    def is_doubted(self, page: Page) -> bool:
        """Whether a change was told that nobody has looked at."""
        return page in self._doubted

    def is_unchanged(self, page: Page, since: float) -> bool:
        """Whether no change was told after boot time ``since``."""
        return since > self._doubted.get(page, -1.0)

    def holds(self, page: Page) -> bool:
        """Whether what is stored of the page is vouched for now."""
        at = self._looked.get(page)
        return at is not None and self.covers(at)

    def covers(self, at: float) -> bool:
        """Whether everything since boot time ``at`` was told, and that was not too long ago."""
        if not self.is_up or self._since is None or at < self._since:
            return False
        return self._clock.boot() - at <= BELIEVED_S


def _trim(kept: dict[Page, float]) -> None:
    """Forget the oldest entries beyond what is remembered."""
    while len(kept) > _REMEMBERED:
        del kept[min(kept, key=kept.__getitem__)]
