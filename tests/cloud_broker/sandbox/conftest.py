"""A fresh sandbox for each test, in either version."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.cloud_broker.sandbox.sandbox_stage import OLD, SandboxStage, staged


@pytest.fixture
async def stage() -> AsyncIterator[SandboxStage]:
    """A sandbox asked with the latest version."""
    async with staged() as made:
        yield made


@pytest.fixture
async def old() -> AsyncIterator[SandboxStage]:
    """A sandbox asked with 2025-09-03, the default of Notion's SDKs."""
    async with staged(OLD) as made:
        yield made
