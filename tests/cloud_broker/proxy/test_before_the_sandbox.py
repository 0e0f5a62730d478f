"""The proxy before the sandbox Notion: its answers match the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloud_broker.sandbox import seed
from tests.cloud_broker.proxy.proxy_stage import WORKSPACE, ProxyStage, a_proxy
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage as Sandbox
from tests.cloud_broker.sandbox.sandbox_stage import paragraph, staged

PAGE = seed.EMPTY_PAGE
APPLIED = ["5xx_after", "drop_after", "garbage", "truncated", "huge"]
NOT_APPLIED = ["5xx_before", "uncommitted_503", "drop_before", "409", "html_502"]


@dataclass
class Pair:
    proxy: ProxyStage
    notion: Sandbox

    async def append(self, key: str, *texts: str) -> Any:
        return await self.proxy.call(
            "PATCH",
            f"blocks/{PAGE}/children",
            headers={"Idempotency-Key": key, "X-Workspace-Id": WORKSPACE},
            json={"children": [paragraph(text) for text in texts]},
        )


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with staged() as notion:
        origin = str(notion.client.make_url("/"))
        async with a_proxy(tmp_path, base_url=origin) as proxy:
            proxy.tokens.text = notion.token
            yield Pair(proxy, notion)


async def ids(answer: Any) -> list[str]:
    return [block["id"] for block in (await answer.json())["results"]]


async def test_a_clip_arrives_and_its_replay_names_the_blocks(pair: Pair) -> None:
    key = pair.proxy.key()
    first = await pair.append(key, "one", "two")
    again = await pair.append(key, "one", "two")
    listed = (await pair.notion.listing(PAGE))["results"]
    assert [block["id"] for block in listed] == await ids(first) == await ids(again)


@pytest.mark.parametrize("kind", APPLIED + NOT_APPLIED)
async def test_what_nobody_knows_is_told_so_and_never_sent_twice(pair: Pair, kind: str) -> None:
    await pair.notion.fault(kind, on=[1])
    key = pair.proxy.key()
    for _ in range(2):
        answer = await pair.append(key, "one")
        assert answer.headers["X-Broker-Code"] == "write_outcome_unknown"
    assert await pair.notion.texts(PAGE) == (["one"] if kind in APPLIED else [])
    assert (await pair.append(pair.proxy.key(), "two")).status == 200


async def test_a_committed_503_names_the_blocks_on_the_page(pair: Pair) -> None:
    await pair.notion.fault("committed_503", on=[1])
    answer = await pair.append(pair.proxy.key(), "one", "two")
    listed = (await pair.notion.listing(PAGE))["results"]
    assert answer.status == 200
    assert await ids(answer) == [block["id"] for block in listed]


@pytest.mark.parametrize("kind", ["429", "529"])
async def test_what_was_refused_is_sent_again_and_arrives_once(pair: Pair, kind: str) -> None:
    await pair.notion.fault(kind, on=[1, 2])
    assert (await pair.append(pair.proxy.key(), "one")).status == 200
    assert await pair.notion.texts(PAGE) == ["one"]


async def test_every_read_of_the_table_is_understood(pair: Pair) -> None:
    call = pair.proxy.call
    found = await (await call("POST", "search", json={"page_size": 5})).json()
    assert len(found["results"]) == 5
    for path in (f"pages/{PAGE}", f"blocks/{PAGE}", f"blocks/{PAGE}/children", "users/me"):
        answer = await call("GET", path)
        assert answer.status == 200, await answer.text()


async def test_a_database_is_queried_by_its_old_address(pair: Pair) -> None:
    body = {"filter": {"property": "object", "value": "data_source"}}
    found = await (await pair.proxy.call("POST", "search", json=body)).json()
    parent = found["results"][0]["parent"]["database_id"]
    answer = await pair.proxy.call("POST", f"databases/{parent}/query", json={"page_size": 1})
    assert answer.status == 200, await answer.text()
    assert len((await answer.json())["results"]) == 1


async def test_a_page_is_made_changed_and_trashed(pair: Pair) -> None:
    title = {"title": {"title": [{"type": "text", "text": {"content": "New"}}]}}
    body = {"parent": {"page_id": PAGE}, "properties": title}
    made = await (await pair.proxy.call("POST", "pages", json=body)).json()
    path = f"pages/{made['id']}"
    for change, state in (({"archived": True}, True), ({"in_trash": False}, False)):
        changed = await pair.proxy.call("PATCH", path, json=change)
        assert (await changed.json())["in_trash"] is state


async def test_a_block_is_removed_and_brought_back(pair: Pair) -> None:
    (block,) = await ids(await pair.append(pair.proxy.key(), "one"))
    assert (await pair.proxy.call("DELETE", f"blocks/{block}")).status == 200
    assert await pair.notion.texts(PAGE) == []
    back = await pair.proxy.call("PATCH", f"blocks/{block}", json={"in_trash": False})
    assert back.status == 200, await back.text()
    assert await pair.notion.texts(PAGE) == ["one"]


async def test_an_unknown_token_says_that_the_grant_is_gone(pair: Pair) -> None:
    pair.proxy.tokens.text = "ntn_nobody"
    pair.proxy.tokens.grant_ended = True
    answer = await pair.append(pair.proxy.key(), "one")
    assert (answer.status, answer.headers["X-Broker-Code"]) == (401, "NOTION_TOKEN_INVALID")
