"""Detects sleep and network changes, after a notification of the OS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec

from clipperd.clock import Clock
from clipperd.machine import source_address
from clipperd.machine.os_events import OsEvents

SETTLE_S = 0.5
"""A link comes up in several steps, each with a notification; one check covers them all."""

_MIN_SLEEP_S = 1.0  # ignores the time between reading two clocks; no suspend is as short


class Change(msgspec.Struct, frozen=True):
    """The result of a check: seconds of sleep, and whether the source addresses changed."""

    slept_s: float = 0.0
    network_changed: bool = False

    @property
    def breaks_connections(self) -> bool:
        """Return whether open connections must be assumed dead."""
        return self.slept_s > 0 or self.network_changed


class Watch:
    """Checks the machine whenever the OS reports an event."""

    def __init__(
        self,
        os_events: OsEvents,
        clock: Clock,
        *,
        slept: Callable[[], float],
        host: str | None,
    ) -> None:
        """``slept``: returns the total seconds of sleep; ``host``: the broker's host."""
        self._os_events = os_events
        self._clock = clock
        self._slept = slept
        self._host = host
        self._slept_before = slept()
        self._addresses: frozenset[str] = frozenset()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield the result of every check, also without a change."""
        notified = asyncio.Event()
        self._addresses = source_address.source_addresses(self._host)
        self._os_events.open(notified.set)
        try:
            while True:
                await notified.wait()
                await self._clock.sleep(SETTLE_S)
                notified.clear()
                yield self._check()
        finally:
            self._os_events.close()

    def _check(self) -> Change:
        slept_before, self._slept_before = self._slept_before, self._slept()
        before, self._addresses = self._addresses, source_address.source_addresses(self._host)
        slept_s = self._slept_before - slept_before
        return Change(
            slept_s=slept_s if slept_s > _MIN_SLEEP_S else 0.0,
            network_changed=before != self._addresses,
        )
