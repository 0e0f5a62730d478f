"""A world and a delivery engine for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clipperd.delivery.rig import Rig
from tests.clipperd.delivery.world import World
from tests.clipperd.fake_notion import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock: FakeClock) -> World:
    return World(clock)


@pytest.fixture
def rig(tmp_path: Path, world: World, clock: FakeClock) -> Iterator[Rig]:
    rig = Rig(tmp_path, world, clock)
    yield rig
    rig.close()
