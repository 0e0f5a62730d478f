"""The outbox of revocations: how often the broker calls Notion, and when it gives up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from cloud_broker.identity.revocations import FIRST_RETRY_S, GIVE_UP_S, LONGEST_RETRY_S
from tests.clocks import ManualClock
from tests.cloud_broker.identity.connected_people import NEW, Broker, Place, a_place


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with a_place(tmp_path) as ready:
        yield ready


async def disconnected(place: Place, broker: Broker) -> None:
    """Somebody connects, and leaves: two tokens wait."""
    user = await place.connect(broker, 1)
    await broker.identity.accounts.disconnect(user, str(UUID(int=2_000_001)))


async def waiting(broker: Broker) -> int:
    async with broker.database.reading() as tx:
        return len(await tx.all("SELECT id FROM pending_revocations"))


async def test_waits_double_from_half_a_minute_to_six_hours(place: Place) -> None:
    clock = ManualClock()
    async with place.broker(NEW, clock=clock) as broker:
        await disconnected(place, broker)
        place.notion.revoke_status = 503
        waits = []
        for _ in range(13):
            await broker.identity.revocations.step()
            async with broker.database.reading() as tx:
                row = await tx.one("SELECT MAX(next_attempt_at) AS at FROM pending_revocations")
            assert row is not None
            waits.append(row["at"] / 1000 - clock.now())
            clock.advance(waits[-1])
    doubling = [min(LONGEST_RETRY_S, FIRST_RETRY_S * 2**n) for n in range(13)]
    assert waits == pytest.approx(doubling, abs=0.01)
    assert (waits[0], waits[-1]) == pytest.approx((30, 21_600), abs=0.01)


async def test_after_thirty_days_it_is_given_up_destroyed_and_noted(place: Place) -> None:
    clock = ManualClock()
    async with place.broker(NEW, clock=clock) as broker:
        await disconnected(place, broker)
        place.notion.revoke_status = 503
        clock.advance(GIVE_UP_S - 1)
        await broker.identity.revocations.step()
        assert await waiting(broker) == 2
        clock.advance(LONGEST_RETRY_S)
        await broker.identity.revocations.step()
        assert await waiting(broker) == 0
        async with broker.database.reading() as tx:
            rows = await tx.all("SELECT facts FROM audit_log WHERE event = 'revocation_given_up'")
        assert [row["facts"] for row in rows] == ['{"why":"notion_unavailable"}'] * 2


async def test_a_token_that_is_dead_already_counts_as_revoked(place: Place) -> None:
    async with place.broker(NEW, clock=ManualClock()) as broker:
        await disconnected(place, broker)
        place.notion.revoke_status = 400
        place.notion.revoke_body = {"error": "invalid_token"}
        await broker.identity.revocations.step()
        assert await waiting(broker) == 0
