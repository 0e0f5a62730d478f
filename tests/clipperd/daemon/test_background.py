"""The background tasks keep the index fresh and use the network's return immediately."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from clipperd.broker.connectivity import ConnectivityStatus
from clipperd.daemon.background import ActiveAccount, Background
from clipperd.machine.watch import Watch
from tests.clipperd.machine.fake_os_events import FakeOsEvents
from tests.clipperd.memory_notion import SCOPE
from tests.clocks import SkippingClock


class Timers(SkippingClock):
    """Sleepers wait until the test lets one round of them go on."""

    def __init__(self) -> None:
        super().__init__()
        self.naps: dict[float, asyncio.Event] = {}

    async def sleep(self, seconds: float) -> None:
        await self.naps.setdefault(seconds, asyncio.Event()).wait()

    async def ring(self, seconds: float) -> None:
        self.naps.pop(seconds, asyncio.Event()).set()
        await rest()


async def rest() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Parts:
    """Stand-ins that note what they are told."""

    def __init__(self) -> None:
        self.clock = Timers()
        self.pokes = self.hurries = self.listener_hurries = self.drops = 0
        self.os_events, self.slept = FakeOsEvents(), 0.0
        self.signed_in = True
        never = asyncio.Event().wait

        async def view() -> Any:
            state = "signed_in" if self.signed_in else "signed_out"
            return SimpleNamespace(state=state, user=SimpleNamespace(id=SCOPE.user_id))

        async def scope(_: object) -> Any:
            return SCOPE

        async def nothing(*_: object) -> None:
            return None

        async def forever(*_: object) -> None:
            await never()

        session: Any = SimpleNamespace(
            view=view, check=nothing, accounts=SimpleNamespace(scope=scope)
        )
        dispatcher: Any = SimpleNamespace(run=forever, hurry=self.hurry)
        self.looked_for_lost: list[object] = []

        async def find_lost(scope: object) -> int:
            self.looked_for_lost.append(scope)
            return 0

        pages: Any = SimpleNamespace(run=forever, poke=self.poke, find_lost=find_lost)
        self.index_is_current = False
        self.erasures, self.is_erased = 0, True
        purge: Any = SimpleNamespace(once=self.erase)
        listener: Any = SimpleNamespace(
            run=forever,
            retry_now=self.hurry_listener,
            account_changed=lambda: None,
            is_index_current=lambda _: self.index_is_current,
        )
        self.background = Background(
            session=session,
            dispatcher=dispatcher,
            pages=pages,
            listener=listener,
            clock=self.clock,
            active=ActiveAccount(),
            backups=SimpleNamespace(),  # type: ignore[arg-type]  # none is due in a test
            watch=Watch(self.os_events, SkippingClock(), slept=lambda: self.slept, host=None),
            drop_connections=self.drop,
            purge=purge,
            refresh_s=300.0,
        )

    async def erase(self) -> bool:
        self.erasures += 1
        return self.is_erased

    def poke(self, _scope: object) -> None:
        self.pokes += 1

    def hurry(self) -> None:
        self.hurries += 1

    def hurry_listener(self) -> None:
        self.listener_hurries += 1

    async def drop(self) -> None:
        self.drops += 1

    async def after_an_event(self) -> tuple[int, int, int]:
        """Drops, and hurries of queue and stream, that a notice led to."""
        before = (self.drops, self.hurries, self.listener_hurries)
        self.os_events.happen()
        await rest()
        after = (self.drops, self.hurries, self.listener_hurries)
        return (after[0] - before[0], after[1] - before[1], after[2] - before[2])

    def link(self, state: Any) -> None:
        self.background.link_changed(ConnectivityStatus(state, 0.0, None))


@pytest.fixture
def parts() -> Parts:
    return Parts()


async def test_the_index_is_refreshed_now_and_then_while_signed_in(parts: Parts) -> None:
    async with parts.background.running():
        await rest()
        for round_ in (1, 2):
            await parts.clock.ring(300.0)
            assert parts.pokes == round_
        parts.signed_in = False
        parts.background.session_changed()
        await rest()
        await parts.clock.ring(300.0)
        assert parts.pokes == 2


async def test_offline_no_timer_runs_and_the_networks_return_is_used_at_once(parts: Parts) -> None:
    async with parts.background.running():
        await rest()
        parts.link("offline")
        await parts.clock.ring(300.0)
        assert (parts.pokes, 300.0 in parts.clock.naps) == (0, False)
        before = parts.hurries
        parts.link("online")
        parts.link("degraded")
        await rest()
        assert (parts.pokes, parts.hurries - before, 300.0 in parts.clock.naps) == (1, 1, True)


async def test_no_refresh_is_asked_for_while_the_stream_vouches_for_the_index(
    parts: Parts,
) -> None:
    async with parts.background.running():
        await rest()
        parts.index_is_current = True
        await parts.clock.ring(300.0)
        assert parts.pokes == 0
        assert parts.looked_for_lost == [SCOPE]  # no event reports a page that is shared again
        parts.index_is_current = False
        await parts.clock.ring(300.0)
        assert parts.pokes == 1


async def test_after_a_sleep_connections_are_dropped_and_queue_and_stream_go_on(
    parts: Parts,
) -> None:
    async with parts.background.running():
        await rest()
        parts.slept = 3600.0
        assert await parts.after_an_event() == (1, 1, 1)
        assert await parts.after_an_event() == (0, 0, 0)


async def test_a_change_of_the_network_ends_the_wait_of_who_is_offline(parts: Parts) -> None:
    async with parts.background.running():
        await rest()
        assert await parts.after_an_event() == (0, 0, 0)
        parts.link("offline")
        assert await parts.after_an_event() == (0, 1, 1)


async def test_what_has_had_its_time_is_erased_after_the_start_and_every_six_hours(
    parts: Parts,
) -> None:
    async with parts.background.running():
        await rest()
        assert parts.erasures == 0  # the start is busy enough
        parts.is_erased = False
        await parts.clock.ring(110.0)
        assert parts.erasures == 1
        parts.is_erased = True
        await parts.clock.ring(600.0)  # something was in the way
        assert parts.erasures == 2
        await parts.clock.ring(6 * 3600.0)
        assert parts.erasures == 3
