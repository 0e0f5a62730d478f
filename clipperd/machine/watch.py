"""What has become of the machine since the last look: has it slept, is its way out another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec

from clipperd.clock import Clock
from clipperd.machine import source_address
from clipperd.machine.os_events import OsEvents

SETTLE_S = 0.5
"""A link comes up in several steps, each of which is told; one look is for all of them."""

_SLEPT_S = 1.0  # the two clocks are read one after the other; no suspend is as short


class Change(msgspec.Struct, frozen=True):
    """What was found. ``slept_s``: so long the machine stood still, in seconds.

    ``is_moved``: the world is reached from other addresses than before, or again, or no more.
    """

    slept_s: float = 0.0
    is_moved: bool = False

    @property
    def ends_connections(self) -> bool:
        """Whether nothing that was open before can be believed to stand."""
        return self.slept_s > 0 or self.is_moved


class Watch:
    """Looks when the system tells that something happened, and at no other time."""

    def __init__(
        self,
        notices: OsEvents,
        clock: Clock,
        *,
        slept: Callable[[], float],
        host: str | None,
    ) -> None:
        """``slept``: seconds that the machine has ever stood still; ``host``: the broker's."""
        self._notices = notices
        self._clock = clock
        self._slept = slept
        self._host = host
        self._slept_before = slept()
        self._sources: frozenset[str] = frozenset()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield what was found each time, also when it was nothing."""
        told = asyncio.Event()
        self._sources = source_address.sources(self._host)
        self._notices.open(told.set)
        try:
            while True:
                await told.wait()
                await self._clock.sleep(SETTLE_S)
                told.clear()
                yield self._look()
        finally:
            self._notices.close()

    def _look(self) -> Change:
        before, self._slept_before = self._slept_before, self._slept()
        known, self._sources = self._sources, source_address.sources(self._host)
        slept_s = self._slept_before - before
        return Change(
            slept_s=slept_s if slept_s > _SLEPT_S else 0.0,
            is_moved=known != self._sources,
        )
