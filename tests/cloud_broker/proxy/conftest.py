"""A proxy with generous limits towards Notion and the default ones towards the user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cloud_broker.proxy.proxy_stage import ProxyStage, a_proxy


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[ProxyStage]:
    async with a_proxy(tmp_path, speed=20) as running:
        yield running
