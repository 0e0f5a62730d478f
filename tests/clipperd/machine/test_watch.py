"""Checks after an OS event: sleep, a lost or changed network, or no change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clipperd.machine import source_address
from clipperd.machine.watch import Change, Watch
from tests.clipperd.machine.fake_os_events import FakeOsEvents
from tests.clocks import SkippingClock
from tests.stack.cable import Cable, laid


class Machine:
    """OS events, the two clocks' difference, and a watch over both."""

    def __init__(self, host: str | None = None) -> None:
        self.os_events = FakeOsEvents()
        self.slept = 5.0
        self.watch = Watch(self.os_events, SkippingClock(), slept=lambda: self.slept, host=host)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Machine]:
        self.changes = self.watch.changes()
        self._next = asyncio.ensure_future(anext(self.changes))
        await self.os_events.opened.wait()
        yield self
        self._next.cancel()
        await asyncio.gather(self._next, return_exceptions=True)
        await self.changes.aclose()

    async def after_an_event(self) -> Change:
        self.os_events.happen()
        change = await self._next
        self._next = asyncio.ensure_future(anext(self.changes))
        await asyncio.sleep(0)
        return change


async def test_a_sleep_ends_every_connection_once() -> None:
    async with Machine().watched() as machine:
        machine.slept += 3600.0
        woke = await machine.after_an_event()
        assert (woke.slept_s, woke.breaks_connections) == (3600.0, True)
        assert not (await machine.after_an_event()).breaks_connections


async def test_a_clock_that_was_set_is_no_sleep() -> None:
    async with Machine().watched() as machine:
        machine.slept += 0.01  # the two clocks are never read at the same instant
        assert await machine.after_an_event() == Change()


async def test_many_events_of_a_moment_are_one_check() -> None:
    async with Machine().watched() as machine:
        for _ in range(5):
            machine.os_events.happen()
        assert await machine.after_an_event() == Change()
        await asyncio.sleep(0)
        assert not machine._next.done()


async def test_the_end_of_a_watch_closes_the_source() -> None:
    machine = Machine()
    async with machine.watched():
        assert machine.os_events.opened.is_set()
    assert not machine.os_events.opened.is_set()


async def test_a_changed_network_ends_every_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pull a virtual cable if the test may create one; otherwise fake a source address."""
    with laid() as cable:
        if cable is not None:
            await _pulled(cable)
            return
    ways = [frozenset({"198.51.100.7"}), frozenset({"127.0.0.1"})]
    monkeypatch.setattr(source_address, "source_addresses", lambda _: ways.pop(0))
    async with Machine().watched() as machine:
        assert (await machine.after_an_event()).breaks_connections


async def _pulled(cable: Cable) -> None:
    with cable.at_the_far_end():
        async with Machine(cable.near).watched() as machine:
            assert await machine.after_an_event() == Change()
            cable.pull()
            assert await machine.after_an_event() == Change(network_changed=True)
            cable.plug()
            assert await machine.after_an_event() == Change(network_changed=True)
            cable.renumber()
            assert await machine.after_an_event() == Change(network_changed=True)
            assert await machine.after_an_event() == Change()


def test_this_machine_reaches_itself_from_an_address_of_its_own() -> None:
    assert "127.0.0.1" in source_address.source_addresses("127.0.0.1")


def test_a_name_is_not_looked_up() -> None:
    assert source_address.source_addresses(
        "a-name-that-nobody-may-ask-for.invalid"
    ) == source_address.source_addresses(None)
