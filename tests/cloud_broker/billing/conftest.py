"""A broker that takes Stripe's events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cloud_broker.billing.scene import a_billed_broker
from tests.cloud_broker.stage import Stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with a_billed_broker(tmp_path) as started:
        yield started
