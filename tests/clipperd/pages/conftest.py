from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clipperd.pages.page_index_stage import PageIndexStage


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[PageIndexStage]:
    world = PageIndexStage(tmp_path)
    yield world
    await world.close()
