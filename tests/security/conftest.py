"""A whole system in one process, and its daemon with a signed-in user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.security.whole_system import Daemon, WholeSystem, a_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[WholeSystem]:
    async with a_house(tmp_path) as running:
        yield running


@pytest.fixture
async def daemon(house: WholeSystem) -> AsyncIterator[Daemon]:
    async with house.daemon() as running:
        assert "You can close this window" in await running.sign_in()
        yield running
