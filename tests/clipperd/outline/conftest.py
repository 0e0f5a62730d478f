from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clipperd.outline.outline_on_sandbox import OutlineOnSandbox, sandboxed
from tests.clipperd.outline.outline_stage import OutlineStage


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[OutlineStage]:
    world = OutlineStage(tmp_path)
    yield world
    await world.close()


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[OutlineOnSandbox]:
    """The parts under test on a sandbox of their own."""
    async with sandboxed(tmp_path) as made:
        yield made
