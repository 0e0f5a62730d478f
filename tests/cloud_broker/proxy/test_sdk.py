"""Notion's SDK for Python, pointed at the proxy: it works unchanged, errors included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from notion_client import APIErrorCode, APIResponseError, AsyncClient

from cloud_broker.sandbox import seed
from tests.cloud_broker.proxy.stage import Stage, a_proxy
from tests.cloud_broker.sandbox.stage import paragraph, staged


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged() as notion:
        origin = str(notion.client.make_url("/"))
        async with a_proxy(tmp_path, speed=0.01, base_url=origin) as running:
            running.tokens.text = notion.token
            yield running


def a_client(proxy: Stage, token: str = "ada") -> AsyncClient:
    base = str(proxy.client.make_url("/api/notion/proxy"))
    return AsyncClient(auth=token, base_url=base, retry=False)


async def test_the_sdk_reads_and_writes_through_the_proxy(proxy: Stage) -> None:
    async with a_client(proxy) as sdk:
        page = await sdk.pages.retrieve(seed.EMPTY_PAGE)
        assert page["archived"] is False  # the SDK speaks 2025-09-03
        first = await sdk.blocks.children.append(seed.EMPTY_PAGE, children=[paragraph("one")])
        anchor = first["results"][0]["id"]
        await sdk.blocks.children.append(seed.EMPTY_PAGE, children=[paragraph("two")], after=anchor)
        listed = await sdk.blocks.children.list(seed.EMPTY_PAGE, page_size=10)
        assert len(listed["results"]) == 2
        await sdk.blocks.delete(anchor)


async def test_the_sdk_understands_an_ended_session(proxy: Stage) -> None:
    async with a_client(proxy, "expired") as sdk:
        with pytest.raises(APIResponseError) as caught:
            await sdk.users.me()
    assert caught.value.code == APIErrorCode.Unauthorized


async def test_the_sdk_understands_the_brokers_limits(proxy: Stage) -> None:
    async with a_client(proxy) as sdk:
        for _ in range(10):
            await sdk.users.me()
        with pytest.raises(APIResponseError) as caught:
            await sdk.users.me()
    assert caught.value.code == APIErrorCode.RateLimited
