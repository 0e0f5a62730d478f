"""Every source of OS events keeps the same contract; the kernel's sources are real."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipperd.machine.linux import EventSources, system_events
from clipperd.machine.netlink import NetworkEvents
from clipperd.machine.os_events import Notify, OsEvents
from clipperd.machine.timerfd import ClockEvents
from tests.clipperd.machine.fake_os_events import FakeOsEvents
from tests.stack.cable import Cable, laid

# A header and an ifinfomsg: RTM_GETLINK as a dump of all links (rtnetlink(7)).
_GET_LINKS = struct.pack("=IHHIIBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0)


class Nowhere:
    """A source that this system does not offer."""

    def open(self, notify: Notify) -> None:
        raise PermissionError(1, "not here")

    def close(self) -> None:
        """Nothing was opened."""


@dataclass
class Case:
    """A source, a function that triggers an event, and the network namespace of the source."""

    source: OsEvents
    happen: Callable[[], None]
    cable: Cable | None = None

    def open(self, notify: Notify) -> None:
        with self.cable.at_the_far_end() if self.cable else nullcontext():
            self.source.open(notify)


def set_the_clock_to_what_it_is() -> None:
    """Set the clock by less than a microsecond: an event. Raises PermissionError."""
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))


def of_the_clock(record_property: Callable[[str, object], None]) -> Case | None:
    try:
        set_the_clock_to_what_it_is()
    except PermissionError:
        record_property("table: NOT RUN", "a clock that is set: this user may not set it")
        return None
    return Case(ClockEvents(), set_the_clock_to_what_it_is)


def of_the_network(cable: Cable | None, record_property: Callable[[str, object], None]) -> Case:
    source = NetworkEvents()
    if cable is not None:
        return Case(source, cable.pull, cable)
    record_property("table: NOT RUN", "a link that goes down: this user may not lay one")

    def ask() -> None:
        assert source._socket is not None  # the one seam where links can be heard of without root
        source._socket.send(_GET_LINKS)

    return Case(source, ask)


@pytest.fixture(params=["fake", "several", "network", "clock"])
def case(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[Case]:
    fake = FakeOsEvents()
    simple = Case(fake, fake.happen)
    match request.param:
        case "fake":
            yield simple
        case "several":
            yield Case(EventSources(Nowhere, lambda: fake), fake.happen)
        case "network":
            with laid() as cable:
                yield of_the_network(cable, record_property)
        case _:
            yield of_the_clock(record_property) or simple


async def test_a_source_notifies_of_events_only_while_it_is_open(case: Case) -> None:
    told = asyncio.Event()
    case.open(told.set)
    await asyncio.sleep(0)
    assert not told.is_set()
    case.happen()
    async with asyncio.timeout(20):
        await told.wait()
    case.source.close()
    case.source.close()
    told.clear()
    if case.cable is not None:
        case.cable.plug()
    elif isinstance(case.source, ClockEvents | FakeOsEvents):
        case.happen()
    await asyncio.sleep(0)
    assert not told.is_set()


async def test_a_closed_source_can_be_opened_again(case: Case) -> None:
    told = asyncio.Event()
    case.open(lambda: None)
    case.source.close()
    case.open(told.set)
    case.happen()
    async with asyncio.timeout(20):
        await told.wait()
    case.source.close()


async def test_an_expired_timer_is_set_again_and_notifies_of_nothing() -> None:
    told, before = asyncio.Event(), timers()
    source = ClockEvents(far_s=0.02)
    source.open(told.set)
    (made,) = timers() - before
    async with asyncio.timeout(30):
        await set_again(made)
    source.close()
    assert not told.is_set()


async def set_again(timer: Path) -> None:
    """Wait until the time left of a timer grows: it has expired and runs again."""
    left = left_of(timer)
    while (now := left_of(timer)) <= left:
        left = now
        await asyncio.sleep(0.005)


def left_of(timer: Path) -> tuple[int, int]:
    """Return the seconds and nanoseconds left of a timer (proc(5), fdinfo)."""
    found = re.search(r"it_value: \((\d+), (\d+)\)", timer.read_text())
    assert found is not None
    return int(found[1]), int(found[2])


def timers() -> set[Path]:
    """Return the kernel's description of each timer of this process (proc(5), fdinfo)."""
    handles = Path("/proc/self/fd").iterdir()
    return {
        Path("/proc/self/fdinfo") / handle.name
        for handle in handles
        if handle.is_symlink() and "timerfd" in str(handle.readlink())
    }


async def test_this_system_has_its_sources() -> None:
    told: list[None] = []
    source = system_events()
    source.open(lambda: told.append(None))
    source.close()
    assert told == []


async def test_a_clock_set_between_read_and_set_again_is_an_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = asyncio.Event()
    source = ClockEvents(far_s=0.02)
    source.open(told.set)
    settime = source._libc.timerfd_settime

    def canceled(*args: object) -> int:
        settime(*args)
        ctypes.set_errno(errno.ECANCELED)
        return -1

    monkeypatch.setattr(source._libc, "timerfd_settime", canceled)
    async with asyncio.timeout(30):
        await told.wait()
    source.close()
