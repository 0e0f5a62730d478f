"""A fake broker, and a session that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clipperd.fake_broker import FakeBroker, running_broker
from tests.clipperd.session.session_stage import SessionStage, running_world


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """A running fake broker."""
    async with running_broker() as started:
        yield started


@pytest.fixture
async def world(tmp_path: Path, broker: FakeBroker) -> AsyncIterator[SessionStage]:
    """A session on an empty store."""
    async with running_world(tmp_path, broker.url) as started:
        yield started
