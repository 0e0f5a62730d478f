from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clipperd.outline.sandboxed import Sandboxed, sandboxed
from tests.clipperd.outline.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.close()


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Sandboxed]:
    """The parts under test on a sandbox of their own."""
    async with sandboxed(tmp_path) as made:
        yield made
