"""Single-use keys: a late copy of a refused write is never executed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientResponse, web

from cloud_broker.errors import NoConnection
from cloud_broker.storage.idempotency import SPENT, Idempotency, KeyId, Lease
from tests.cloud_broker.proxy.proxy_stage import (
    PAGE,
    PROXY,
    WORKSPACE,
    Held,
    ProxyStage,
    a_database,
    a_proxy,
    says,
)

NOW = 1_800_000_000_000
ADA = KeyId("ada", WORKSPACE, "key")


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Idempotency]:
    async with a_database(tmp_path) as database:
        yield Idempotency(database)


def lease(owner: str) -> Lease:
    return Lease(owner, NOW + 10_000, NOW + 20_000)


async def once(proxy: ProxyStage, key: str) -> ClientResponse:
    """An append under a key for a single use."""
    headers = {
        "Authorization": "Bearer ada",
        "X-Workspace-Id": WORKSPACE,
        "Idempotency-Key": key,
        "Idempotency-Key-Use": "once",
    }
    body = {"children": [{"paragraph": {"text": "x"}}]}
    path = f"{PROXY}blocks/{PAGE}/children"
    return await proxy.client.patch(path, headers=headers, data=json.dumps(body))


def sign(answer: ClientResponse) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("X-Broker-Code")


async def test_a_key_is_spent_whether_its_write_had_begun_or_not(rows: Idempotency) -> None:
    assert await rows.spend(ADA, "a.c.w", lease("one"), NOW + 90_000_000)
    found = await rows.claim(ADA, "a.c.w", lease("two"), NOW + 90_000_000)
    assert found is not None
    assert (found.state, found.status, found.created) == ("done", SPENT, ())
    other = KeyId("ada", WORKSPACE, "other")
    assert await rows.claim(other, "a.c.w", lease("one"), NOW + 90_000_000) is None
    assert await rows.spend(other, "a.c.w", lease("one"), NOW + 90_000_000)
    assert await rows.since("ada", WORKSPACE, 0, 9) == []


async def test_a_key_that_another_is_using_cannot_be_spent(rows: Idempotency) -> None:
    assert await rows.claim(ADA, "a.c.w", lease("one"), NOW + 90_000_000) is None
    assert not await rows.spend(ADA, "a.c.w", lease("two"), NOW + 90_000_000)
    await rows.done(ADA, "one", 200, ["made"])
    assert not await rows.spend(ADA, "a.c.w", lease("one"), NOW + 90_000_000)


@pytest.mark.parametrize("status", [400, 404, 429])
async def test_after_a_refusal_by_notion_the_same_request_is_refused(
    proxy: ProxyStage, status: int
) -> None:
    key = proxy.key()
    proxy.upstream.script = [says(status, Retry_After="40")]
    assert (await once(proxy, key)).status == status
    for again in (await once(proxy, key), await proxy.append(key)):
        assert sign(again) == (409, "idempotency_key_spent")
    assert not proxy.upstream.applied


async def test_after_a_refusal_by_a_limit_the_same_request_is_refused(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, speed=0.01) as proxy:
        while (answer := await once(proxy, key := proxy.key())).status == 200:
            pass
        assert sign(answer) == (429, "limit_route")
        applied = len(proxy.upstream.applied)
        proxy.clock.shift += 120
        assert sign(await once(proxy, key)) == (409, "idempotency_key_spent")
        assert (await once(proxy, proxy.key())).status == 200
        assert len(proxy.upstream.applied) == applied + 1


async def test_a_write_that_is_refused_before_it_begins_spends_its_key_too(
    proxy: ProxyStage,
) -> None:
    key = proxy.key()
    proxy.tokens.bug = NoConnection("not now")
    assert sign(await once(proxy, key)) == (403, "no_connection")
    proxy.tokens.bug = None
    assert sign(await once(proxy, key)) == (409, "idempotency_key_spent")
    assert not proxy.upstream.seen


async def test_a_refusal_that_cannot_be_kept_is_not_told(proxy: ProxyStage) -> None:
    async def refused(request: web.Request) -> web.StreamResponse:
        async with proxy.database.transaction() as tx:
            await tx.execute("DROP TABLE idempotency")
        return await says(400)(request)

    proxy.upstream.script = [refused]
    for _ in range(2):
        assert sign(await once(proxy, proxy.key())) == (409, "in_progress")
    assert (await proxy.append(proxy.key())).status == 529


async def test_a_copy_beside_the_first_does_not_spend_its_key(proxy: ProxyStage) -> None:
    held = Held(proxy.upstream)
    key = proxy.key()
    first = asyncio.ensure_future(once(proxy, key))
    await held.arrived.wait()
    assert sign(await once(proxy, key)) == (409, "in_progress")
    held.gate.set()
    assert (await first).status == 200
    assert (await once(proxy, key)).headers["Idempotency-Replayed"] == "true"


async def test_other_keys_are_free_again_after_a_refusal(proxy: ProxyStage) -> None:
    key = proxy.key()
    proxy.upstream.script = [says(400)]
    assert (await proxy.append(key)).status == 400
    assert (await proxy.append(key)).status == 200


async def test_an_expired_key_is_never_called_spent(proxy: ProxyStage) -> None:
    old = proxy.key(age_s=25 * 3600)
    for _ in range(2):
        assert sign(await once(proxy, old)) == (409, "idempotency_key_expired")
