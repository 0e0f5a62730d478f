"""What the status says of the queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipperd.clips import Clips
from clipperd.delivery.dispatch import Dispatcher
from clipperd.delivery.terms import Timing
from clipperd.model import Position
from tests.clipperd.delivery.rig import USER, Rig
from tests.clipperd.delivery.world import World
from tests.clipperd.fake_notion import FakeClock


class Accounts:
    """One account."""

    async def current_user(self) -> str:
        return USER


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    clock = FakeClock()
    rig = Rig(tmp_path, World(clock), clock)
    yield rig
    rig.close()


@pytest.fixture
def clips(rig: Rig) -> Clips:
    """Over a dispatcher that sends nothing."""
    dispatcher = Dispatcher(rig.courier, rig.outbox, rig.clock, rig.pace, Timing(), rig.around)
    accounts: Any = Accounts()
    return Clips(rig.outbox, accounts, dispatcher, rig.clock)


async def eta_s(clips: Clips) -> float | None:
    found: float | None = (await clips.status())["eta_s"]
    return found


async def test_the_status_foretells_when_the_queue_is_empty_if_anybody_can_tell(
    rig: Rig, clips: Clips
) -> None:
    page = rig.world.add_page("Notes")
    assert await eta_s(clips) is None
    for number in range(40):  # places by turns: a request each
        await rig.clip(page, position=Position("start" if number % 2 else "end"))
    assert await eta_s(clips) == 2 * 59.25
    await clips.pause(30)
    assert await eta_s(clips) == pytest.approx(30 + 2 * 59.25)
    await clips.pause(None)
    assert await eta_s(clips) is None
    await clips.resume()
    rig.user = "somebody-else"
    assert await eta_s(clips) is None


async def test_clips_for_one_place_are_foretold_as_the_one_request_that_they_are(
    rig: Rig, clips: Clips
) -> None:
    page = rig.world.add_page("Notes")
    for _ in range(100):
        await rig.clip(page)
    assert await eta_s(clips) == 0.0
