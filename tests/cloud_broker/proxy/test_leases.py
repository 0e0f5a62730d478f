"""A broker dies or sleeps in the middle of a write, and another takes over its lease."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloud_broker.clock import from_rfc3339
from cloud_broker.proxy.keys import forget_at
from cloud_broker.storage.idempotency import Idempotency, KeyId, Lease
from tests.cloud_broker.proxy.proxy_stage import (
    WORKSPACE,
    Held,
    ProxyStage,
    Upstream,
    a_database,
    a_proxy,
    says,
)


async def _under_way(proxy: ProxyStage, key: str) -> asyncio.Event:
    """Begin a write that Notion holds back, and return what lets it go."""
    held = Held(proxy.upstream)
    caller = asyncio.ensure_future(proxy.append(key))
    await held.arrived.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    return held.gate


async def test_the_lease_of_a_dead_broker_ends_as_unknown(tmp_path: Path) -> None:
    # Closing with drain_s=0 cancels the write where a kill would cut it: the row stays.
    async with a_proxy(tmp_path, speed=1, drain_s=0) as first:
        key = first.key()
        gate = await _under_way(first, key)
        fenced_until = first.clock.now() + 10
    async with a_proxy(tmp_path, speed=1) as second:
        soon = await second.append(key)
        assert soon.headers["X-Broker-Code"] == "in_progress"
        second.clock.shift += 21
        late = await second.append(key)
        assert late.headers["X-Broker-Code"] == "write_outcome_unknown"
        data = (await late.json())["additional_data"]
        assert data["answered"] == "false"
        assert from_rfc3339(data["latest_sent_at"]) == pytest.approx(fenced_until, abs=2)
        assert (await (await second.append(key)).json())["additional_data"] == data
        assert second.upstream.seen == []
    gate.set()


async def test_a_living_broker_renews_its_lease(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, speed=20) as proxy:
        key = proxy.key()
        gate = await _under_way(proxy, key)
        await proxy.clock.sleep(30)  # longer than a lease
        assert (await proxy.append(key)).headers["X-Broker-Code"] == "in_progress"
        gate.set()


async def test_a_broker_that_wakes_after_its_fence_sends_nothing(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, asleep_s=15) as proxy:
        answer = await proxy.append(proxy.key())
        assert (answer.status, answer.headers["X-Broker-Code"]) == (529, "upstream_unavailable")
        assert proxy.upstream.seen == []


async def test_a_broker_that_wakes_before_its_fence_sends(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, asleep_s=5) as proxy:
        assert (await proxy.append(proxy.key())).status == 200


async def test_two_brokers_on_one_database_execute_a_key_once(tmp_path: Path) -> None:
    upstream = Upstream()
    async with (
        a_proxy(tmp_path, upstream=upstream) as one,
        a_proxy(tmp_path, upstream=upstream, seed=2) as two,
    ):
        key = one.key()
        answers = await asyncio.gather(*(p.append(key) for p in (one, two) for _ in range(5)))
        assert len(upstream.applied) == 1
        assert {a.status for a in answers} <= {200, 409}
        for broker in (one, two):
            assert (await broker.append(key)).headers["Idempotency-Replayed"] == "true"


async def test_a_broker_whose_lease_was_taken_does_not_send_again(tmp_path: Path) -> None:
    upstream = Upstream()
    async with (
        a_proxy(tmp_path, speed=10, upstream=upstream) as slow,
        a_proxy(tmp_path, speed=10, upstream=upstream) as ahead,
    ):
        key = slow.key()
        upstream.script = [says(429, Retry_After="4")]
        first = asyncio.ensure_future(slow.append(key))
        await upstream.arrived.wait()
        ahead.clock.shift += 30  # to it the other one's lease has ended
        told = await ahead.append(key)
        assert told.headers["X-Broker-Code"] == "write_outcome_unknown"
        assert (await first).headers["X-Broker-Code"] == "upstream_unavailable"
        assert (len(upstream.seen), upstream.applied) == (1, [])


async def test_a_claim_is_won_once(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        rows, who = Idempotency(database), KeyId("u", WORKSPACE, "k")
        leases = [Lease(f"owner-{i}", 10, 20) for i in range(20)]
        found = await asyncio.gather(*(rows.claim(who, "f", lease, 99) for lease in leases))
        assert sum(record is None for record in found) == 1


async def test_a_lease_that_ended_cannot_be_renewed(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        rows, who = Idempotency(database), KeyId("u", WORKSPACE, "k")
        await rows.claim(who, "f", Lease("me", 10, 20), 99)
        assert await rows.renew(who, Lease("me", 25, 30), 15)
        assert not await rows.renew(who, Lease("other", 25, 40), 16)
        assert not await rows.renew(who, Lease("me", 35, 40), 30)


async def test_a_late_success_corrects_an_unknown(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        rows, who = Idempotency(database), KeyId("u", WORKSPACE, "k")
        await rows.claim(who, "f", Lease("me", 10, 20), 99)
        abandoned = await rows.abandon(who, 20)
        assert abandoned is not None
        assert (abandoned.state, abandoned.latest_sent_at) == ("unknown", 10)
        await rows.release(who, "me")
        await rows.done(who, "me", 200, ["a"])
        found = await rows.find(who)
        assert found is not None
        assert (found.state, found.created) == ("done", ("a",))


async def test_old_rows_go_when_their_keys_are_refused(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        rows, who = Idempotency(database), KeyId("u", WORKSPACE, "0" * 8 + "-0000-7000-8000-0")
        until = forget_at(who.key, 0)
        await rows.claim(who, "f", Lease("me", 10, 20), until)
        assert await rows.purge(until - 1) == 0
        assert await rows.purge(until) == 1


async def test_a_late_heartbeat_does_not_take_the_fence_back(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        rows, who = Idempotency(database), KeyId("ada", WORKSPACE, "k")
        await rows.claim(who, "print", Lease("me", 1_000, 2_000), 9_000)
        assert await rows.renew(who, Lease("me", 5_000, 6_000), 1_500)  # the next attempt's fence
        assert await rows.renew(who, Lease("me", 1_000, 3_000), 1_500)  # a heartbeat from before
        found = await rows.find(who)
        assert found is not None
        assert (found.send_by, found.lease_until) == (5_000, 6_000)
