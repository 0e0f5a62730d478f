"""A Notion model and a delivery engine for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clipperd.delivery.rig import Rig
from tests.clipperd.memory_notion import MemoryNotion
from tests.clocks import SkippingClock


@pytest.fixture
def clock() -> SkippingClock:
    return SkippingClock()


@pytest.fixture
def world(clock: SkippingClock) -> MemoryNotion:
    return MemoryNotion(clock)


@pytest.fixture
def rig(tmp_path: Path, world: MemoryNotion, clock: SkippingClock) -> Iterator[Rig]:
    rig = Rig(tmp_path, world, clock)
    yield rig
    rig.close()


@pytest.fixture
def page(world: MemoryNotion) -> str:
    return world.add_page("Notes")
