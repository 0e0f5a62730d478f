"""A published client library works against the sandbox, with its default version."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from notion_client import APIResponseError, AsyncClient

from cloud_broker.sandbox import seed
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage, paragraph


@pytest.fixture
async def notion(old: SandboxStage) -> AsyncIterator[AsyncClient]:
    async with httpx.AsyncClient() as http:
        base = str(old.client.make_url("")).rstrip("/")
        yield AsyncClient(client=http, auth=old.token, base_url=base)


async def test_reading_appending_and_searching(notion: AsyncClient) -> None:
    page = await notion.pages.retrieve(page_id=seed.READING_LIST)
    assert page["archived"] is False
    await notion.blocks.children.append(block_id=seed.EMPTY_PAGE, children=[paragraph("a")])
    listing = await notion.blocks.children.list(block_id=seed.EMPTY_PAGE)
    assert len(listing["results"]) == 1
    found = await notion.search(query="Reading")
    assert found["results"][0]["id"] == seed.READING_LIST
    rows = await notion.data_sources.query(data_source_id=seed.DATA_SOURCE)
    assert len(rows["results"]) == 6


async def test_errors_are_recognised(notion: AsyncClient) -> None:
    with pytest.raises(APIResponseError) as caught:
        await notion.blocks.children.append(block_id=seed.DATABASE, children=[])
    assert caught.value.code == "validation_error"
