"""Writes: executed at most once under a key, to their end, and reported truthfully."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web

from cloud_broker.clock import from_rfc3339
from tests.cloud_broker.proxy.proxy_stage import (
    PAGE,
    WORKSPACE,
    Held,
    ProxyStage,
    Reply,
    a_proxy,
    an_error,
    an_id,
    drops,
    says,
)
from tests.cloud_broker.proxy.wired import DEFAULTS


def committed(*ids: str) -> Reply:
    return says(503, an_error(503, committed_resource_id=PAGE, committed_child_ids=list(ids)))


async def ids(answer: ClientResponse) -> list[str]:
    return [block["id"] for block in (await answer.json())["results"]]


async def unknown(answer: ClientResponse) -> dict[str, Any]:
    assert (answer.status, answer.headers["X-Broker-Code"]) == (504, "write_outcome_unknown")
    body = await answer.json()
    assert body["code"] == "gateway_timeout"
    return dict(body["additional_data"])


async def test_a_replay_gives_the_ids_again_and_sends_nothing(proxy: ProxyStage) -> None:
    key = proxy.key()
    first = await proxy.append(key, count=3)
    again = await proxy.append(key, count=3)
    assert first.status == again.status == 200
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await again.json() == {
        "object": "list",
        "type": "block",
        "block": {},
        "results": [{"object": "block", "id": an_id(i)} for i in range(3)],
        "next_cursor": None,
        "has_more": False,
    }
    assert len(proxy.upstream.applied) == 1


async def test_only_the_first_results_are_ours(proxy: ProxyStage) -> None:
    siblings = [{"object": "block", "id": an_id(i)} for i in range(5)]
    proxy.upstream.script = [says(200, {"object": "list", "results": siblings})]
    key = proxy.key()
    assert len(await ids(await proxy.append(key, count=2))) == 5
    assert await ids(await proxy.append(key, count=2)) == [an_id(0), an_id(1)]


@pytest.mark.parametrize(
    ("reply", "is_over"),
    [
        (says(500), True),
        (says(503), True),
        (says(409), True),
        (says(200, {"object": "list", "results": []}), True),
        (says(200, ["not", "an", "object"]), True),
        (says(503, an_error(503, committed_child_ids=[])), True),
        # Whoever stands before Notion has given up waiting: Notion may still be at it.
        (says(502), False),
        (says(504), False),
        (says(408), False),
        (says(302), False),
        (says(503, ["a gateway's own words"]), False),
    ],
)
async def test_an_answer_that_proves_nothing_is_unknown_and_stays_so(
    proxy: ProxyStage, reply: Reply, is_over: bool
) -> None:
    proxy.upstream.script = [reply]
    key = proxy.key()
    first = await unknown(await proxy.append(key))
    assert first["answered"] == str(is_over).lower()
    assert int(first["upstream_status"]) >= 200
    assert from_rfc3339(first["latest_sent_at"]) <= proxy.clock.now()
    assert await unknown(await proxy.append(key)) == first
    assert len(proxy.upstream.seen) == 1


async def test_a_dropped_connection_is_unknown_and_unanswered(proxy: ProxyStage) -> None:
    proxy.upstream.script = [drops()]
    key = proxy.key()
    first = await unknown(await proxy.append(key))
    assert first["answered"] == "false"
    assert "upstream_status" not in first
    assert await unknown(await proxy.append(key)) == first
    assert len(proxy.upstream.seen) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "read"),
    [
        ("PATCH", f"blocks/{PAGE}/children", {"children": []}, f"GET /v1/blocks/{PAGE}/children"),
        ("POST", "pages", {"parent": {"page_id": PAGE}}, f"GET /v1/blocks/{PAGE}/children"),
        (
            "POST",
            "pages",
            {"parent": {"data_source_id": PAGE}},
            f"POST /v1/data_sources/{PAGE}/query",
        ),
        ("POST", "pages", {"parent": {"page_id": "my text"}}, None),
        ("PATCH", f"pages/{PAGE}", {"in_trash": True}, f"GET /v1/pages/{PAGE}"),
        ("DELETE", f"blocks/{PAGE}", None, f"GET /v1/blocks/{PAGE}"),
        ("POST", f"file_uploads/{PAGE}/complete", {}, f"GET /v1/file_uploads/{PAGE}"),
        ("POST", "file_uploads", {}, None),
    ],
)
async def test_an_unknown_outcome_names_the_read_that_shows_it(
    proxy: ProxyStage, method: str, path: str, body: Any, read: str | None
) -> None:
    proxy.upstream.script = [says(500)]
    key = proxy.key()
    headers = {"Idempotency-Key": key, "X-Workspace-Id": WORKSPACE}
    first = await proxy.call(method, path, json=body, headers=headers)
    again = await proxy.call(method, path, json=body, headers=headers)
    assert (await first.json())["request_id"]
    assert (await unknown(first)).get("read") == read
    assert await unknown(again) == await unknown(first)


async def test_a_committed_503_is_a_success(proxy: ProxyStage) -> None:
    proxy.upstream.script = [committed(an_id(7), an_id(8))]
    key = proxy.key()
    answer = await proxy.append(key, count=2)
    assert (answer.status, await ids(answer)) == (200, [an_id(7), an_id(8)])
    assert "Idempotency-Replayed" not in answer.headers
    assert await ids(await proxy.append(key, count=2)) == [an_id(7), an_id(8)]


async def test_a_committed_503_of_a_new_page_is_a_success(proxy: ProxyStage) -> None:
    proxy.upstream.script = [says(503, an_error(503, committed_resource_id=an_id(9)))]
    answer = await proxy.call("POST", "pages", json={"parent": {"page_id": PAGE}})
    assert (answer.status, await answer.json()) == (200, {"object": "page", "id": an_id(9)})


@pytest.mark.parametrize("status", [429, 529])
async def test_what_was_not_applied_is_sent_again(proxy: ProxyStage, status: int) -> None:
    proxy.upstream.script = [says(status, Retry_After="1"), says(status, Retry_After="1")]
    assert (await proxy.append(proxy.key())).status == 200
    assert len(proxy.upstream.applied) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 429, 529])
async def test_a_refusal_frees_the_key(proxy: ProxyStage, status: int) -> None:
    proxy.upstream.script = [says(status, Retry_After="20")]
    key = proxy.key()
    refused = await proxy.append(key)
    assert (refused.status, "X-Broker-Code" in refused.headers) == (status, False)
    proxy.clock.shift += 30
    assert (await proxy.append(key)).status == 200


async def test_a_write_refused_for_its_token_is_sent_once_more(proxy: ProxyStage) -> None:
    proxy.upstream.script = [says(401)]
    assert (await proxy.append(proxy.key())).status == 200
    assert (proxy.tokens.refreshed, len(proxy.upstream.applied)) == (1, 1)
    proxy.upstream.script = [says(401), says(401)]
    refused = await proxy.append(proxy.key())
    assert refused.headers["X-Broker-Code"] == "NOTION_TOKEN_INVALID"
    assert (proxy.tokens.refreshed, len(proxy.upstream.seen)) == (2, 4)


async def test_an_ended_grant_frees_the_key(proxy: ProxyStage) -> None:
    proxy.tokens.grant_ended = True
    proxy.upstream.script = [says(401)]
    key = proxy.key()
    refused = await proxy.append(key)
    assert refused.headers["X-Broker-Code"] == "NOTION_TOKEN_INVALID"
    assert (await proxy.append(key)).status == 200


async def test_a_gateways_page_is_a_refusal_in_notions_shape(proxy: ProxyStage) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>no</html>", status=403, content_type="text/html")

    proxy.upstream.script = [page]
    answer = await proxy.append(proxy.key())
    assert (answer.status, (await answer.json())["code"]) == (403, "restricted_resource")


async def test_never_sent_is_not_applied_and_frees_the_key(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, base_url="http://127.0.0.1:1") as proxy:
        key = proxy.key()
        for _ in range(2):
            answer = await proxy.append(key)
            assert (answer.status, answer.headers["X-Broker-Code"]) == (
                529,
                "upstream_unavailable",
            )


async def test_the_same_key_for_another_request_is_refused(proxy: ProxyStage) -> None:
    key = proxy.key()
    await proxy.append(key, text="one")
    other = await proxy.append(key, text="two")
    assert (other.status, other.headers["X-Broker-Code"]) == (422, "idempotency_key_reused")
    assert (await other.json())["code"] == "validation_error"


async def test_two_users_may_have_the_same_key(proxy: ProxyStage) -> None:
    key = proxy.key()
    await proxy.append(key)
    assert "Idempotency-Replayed" not in (await proxy.append(key, user="bob")).headers
    assert len(proxy.upstream.applied) == 2


@pytest.mark.parametrize("age_s", [25 * 3600, -3600])
async def test_an_unknown_key_of_another_time_is_never_executed(
    proxy: ProxyStage, age_s: float
) -> None:
    answer = await proxy.append(proxy.key(age_s=age_s))
    assert (answer.status, answer.headers["X-Broker-Code"]) == (409, "idempotency_key_expired")
    assert proxy.upstream.seen == []


async def test_a_stored_outcome_is_kept_as_long_as_its_key_is_taken(proxy: ProxyStage) -> None:
    key = proxy.key()
    await proxy.append(key)
    proxy.clock.shift += 24 * 3600 - 60
    assert (await proxy.append(key)).headers["Idempotency-Replayed"] == "true"
    proxy.clock.shift += 3600
    assert (await proxy.append(key)).status in (200, 409)
    assert len(proxy.upstream.applied) == 1


@pytest.mark.parametrize("key", ["x", "", "0" * 36, "2b1f0c9e-1111-4a4a-8c8c-000000000001"])
async def test_a_key_that_is_no_uuid7_is_refused(proxy: ProxyStage, key: str) -> None:
    answer = await proxy.append(key)
    assert (answer.status, answer.headers["X-Broker-Code"]) == (400, "idempotency_key_invalid")
    assert proxy.upstream.seen == []


async def test_a_duplicate_hears_that_the_first_is_under_way(proxy: ProxyStage) -> None:
    held = Held(proxy.upstream)
    key = proxy.key()
    first = asyncio.ensure_future(proxy.append(key))
    await held.arrived.wait()
    second = await proxy.append(key)
    assert (second.status, second.headers["X-Broker-Code"]) == (409, "in_progress")
    assert int(second.headers["Retry-After"]) >= 1
    held.gate.set()
    assert (await first).status == 200
    assert len(proxy.upstream.seen) == 1


async def test_a_slow_write_ends_after_its_caller_was_answered(proxy: ProxyStage) -> None:
    held = Held(proxy.upstream)
    key = proxy.key()
    begun = proxy.clock.monotonic()
    answer = await proxy.append(key)
    assert answer.headers["X-Broker-Code"] == "in_progress"
    assert 30 <= proxy.clock.monotonic() - begun < 60
    held.gate.set()
    answer = await _until_replayed(proxy, key)
    assert await ids(answer) == [an_id(0)]
    assert len(proxy.upstream.applied) == 1


async def test_a_write_saved_but_answered_after_55_seconds_is_a_success(proxy: ProxyStage) -> None:
    arrived, gate = asyncio.Event(), asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await gate.wait()
        return await committed(an_id(7))(request)

    proxy.upstream.script = [late]
    key = proxy.key()
    caller = asyncio.ensure_future(proxy.append(key))
    await arrived.wait()
    caller.cancel()
    await proxy.clock.sleep(56)
    gate.set()
    assert await ids(await _until_replayed(proxy, key)) == [an_id(7)]
    assert len(proxy.upstream.seen) == 1
    assert DEFAULTS.upstream_write_s == 65


async def test_a_caller_who_leaves_does_not_stop_the_write(proxy: ProxyStage) -> None:
    held = Held(proxy.upstream)
    key = proxy.key()
    caller = asyncio.ensure_future(proxy.append(key))
    await held.arrived.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    held.gate.set()
    assert await ids(await _until_replayed(proxy, key)) == [an_id(0)]
    assert len(proxy.upstream.applied) == 1


async def _until_replayed(proxy: ProxyStage, key: str) -> ClientResponse:
    while True:
        answer = await proxy.append(key)
        if answer.status != 409:
            assert answer.headers["Idempotency-Replayed"] == "true"
            return answer


async def test_a_write_that_gets_no_answer_is_unknown(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, speed=1, upstream_write_s=0.2) as proxy:
        never = asyncio.Event()

        async def silent(_: web.Request) -> web.StreamResponse:
            await never.wait()
            return web.Response()

        proxy.upstream.script = [silent]
        data = await unknown(await proxy.append(proxy.key()))
        assert data["answered"] == "false"
        never.set()


async def test_a_write_without_a_key_is_sent_once_and_told_truly(proxy: ProxyStage) -> None:
    proxy.upstream.script = [says(500)]
    await unknown(await proxy.append())
    assert (await proxy.append()).status == 200
    assert len(proxy.upstream.seen) == 2


async def test_a_stored_outcome_needs_no_token(proxy: ProxyStage) -> None:
    key = proxy.key()
    await proxy.append(key)
    opened = proxy.tokens.opened
    await proxy.append(key)
    assert proxy.tokens.opened == opened


async def test_a_replayed_deletion_says_so(proxy: ProxyStage) -> None:
    key, path = proxy.key(), f"blocks/{PAGE}"
    headers = {"Idempotency-Key": key, "X-Workspace-Id": WORKSPACE}
    await proxy.call("DELETE", path, headers=headers)
    again = await proxy.call("DELETE", path, headers=headers)
    assert await again.json() == {"object": "block", "id": PAGE, "in_trash": True}
    assert len(proxy.upstream.seen) == 1


async def test_without_a_key_nothing_is_sent_after_its_caller_was_told(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, asleep_s=40) as proxy:
        answer = await proxy.append()
        assert (answer.status, answer.headers["X-Broker-Code"]) == (529, "upstream_unavailable")
        assert proxy.upstream.seen == []


async def test_a_key_is_the_same_however_the_workspace_is_written(proxy: ProxyStage) -> None:
    proxy.tokens.workspace_id = WORKSPACE.replace("-", "").upper()
    key = proxy.key()
    body = {"children": [{"paragraph": {"text": "x"}}]}
    unnamed = await proxy.call(
        "PATCH", f"blocks/{PAGE}/children", headers={"Idempotency-Key": key}, json=body
    )
    named = await proxy.append(key)
    assert (unnamed.status, named.status) == (200, 200)
    assert named.headers["Idempotency-Replayed"] == "true"
    assert len(proxy.upstream.applied) == 1
