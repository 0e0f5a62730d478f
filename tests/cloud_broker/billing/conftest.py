"""A broker that accepts Stripe's events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cloud_broker.billing.stripe_events import a_billed_broker
from tests.cloud_broker.broker_stage import BrokerStage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[BrokerStage]:
    async with a_billed_broker(tmp_path) as started:
        yield started
