"""Brokers count each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.cluster.instances import BEAT_S, GONE_S, Instances
from cloud_broker.randomness import SystemRandomness
from cloud_broker.storage.database import Database
from cloud_broker.storage.migrations import migrate
from tests.clocks import ManualClock
from tests.servers.broker_database import open_kept


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_kept(tmp_path)
    await migrate(opened, SystemClock())
    yield opened
    await opened.close()


async def test_who_is_not_seen_for_a_while_counts_no_more(database: Database) -> None:
    clock = ManualClock()
    one, two = (Instances(database, clock, SystemRandomness()) for _ in range(2))
    await two.count()
    await one.count()
    assert one.alive == 2
    clock.advance(GONE_S - BEAT_S)
    await one.count()
    assert one.alive == 2
    clock.advance(2 * BEAT_S)
    await one.count()
    assert one.alive == 1
    await two.count()
    await two.leave()
    await one.count()
    assert one.alive == 1


async def test_the_number_is_brought_up_to_date_when_it_is_about_to_matter(
    database: Database,
) -> None:
    one, two = (Instances(database, ManualClock(), SystemRandomness()) for _ in range(2))
    await one.count()
    await two.count()
    assert one.alive == 1
    one.count_soon()
    one.count_soon()
    await asyncio.wait_for(one.run_once(), 20)  # counts, and does not wait for its clock
    assert one.alive == 2
