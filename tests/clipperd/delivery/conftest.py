"""A world and a delivery engine for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clipperd.delivery.rig import Rig
from tests.clipperd.memory_notion import FakeClock
from tests.clipperd.writable_notion import WritableNotion


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock: FakeClock) -> WritableNotion:
    return WritableNotion(clock)


@pytest.fixture
def rig(tmp_path: Path, world: WritableNotion, clock: FakeClock) -> Iterator[Rig]:
    rig = Rig(tmp_path, world, clock)
    yield rig
    rig.close()
