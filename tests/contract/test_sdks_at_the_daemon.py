"""Notion's SDKs against the daemon's pass-through, all the way to the sandbox."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from notion_client import APIErrorCode, APIResponseError, AsyncClient
from notion_client.helpers import async_collect_paginated_api

from cloud_broker.sandbox import seed
from tests.security.whole_system import OWNER_TOKEN, Daemon, WholeSystem, a_house
from tests.stack.javascript import walk

STEPS = ("reads", "writes", "databases", "refusals", "overload", "retries", "versions", "uploads")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[WholeSystem]:
    async with a_house(tmp_path) as started:
        yield started


@pytest.fixture
async def daemon(house: WholeSystem) -> AsyncIterator[Daemon]:
    async with house.daemon() as started:
        await started.sign_in(user=seed.MIRA, workspace=seed.WORKSPACE)
        yield started


def a_client(daemon: Daemon, version: str = "2025-09-03") -> AsyncClient:
    base_url = f"{daemon.url}/v1/notion"
    return AsyncClient(auth=OWNER_TOKEN, base_url=base_url, notion_version=version)


async def test_notions_own_sdk_works_through_the_daemon(
    house: WholeSystem, daemon: Daemon, record_property: Callable[[str, object], None]
) -> None:
    node = shutil.which("node")
    if node is None:
        record_property("table: NOT RUN", "Notion's JavaScript SDK: this machine has no node")
        return
    done = await walk(
        node,
        house.folder / "js",
        STEPS,
        url=f"{daemon.url}/v1/notion",
        token=OWNER_TOKEN,
        sandbox=str(house.notion_url).rstrip("/"),
    )
    assert done == list(STEPS)


async def test_the_python_sdk_works_through_the_daemon(daemon: Daemon) -> None:
    async with a_client(daemon) as sdk:
        page = await sdk.pages.retrieve(seed.EMPTY_PAGE)
        assert page["archived"] is False
        block = {"paragraph": {"rich_text": [{"text": {"content": "x"}}]}}
        made = await sdk.blocks.children.append(seed.EMPTY_PAGE, children=[block])
        listed = await async_collect_paginated_api(
            sdk.blocks.children.list, block_id=seed.EMPTY_PAGE
        )
        assert [item["id"] for item in listed] == [made["results"][0]["id"]]
        with pytest.raises(APIResponseError) as caught:
            await sdk.users.list()
        assert caught.value.code == APIErrorCode.InvalidRequestURL


async def test_the_python_sdk_sends_files_through_the_daemon(daemon: Daemon) -> None:
    async with a_client(daemon) as sdk:
        small = await sdk.file_uploads.create(mode="single_part", filename="a.txt")
        sent = await sdk.file_uploads.send(small["id"], file=("a.txt", b"hello", "text/plain"))
        assert (sent["status"], sent["content_length"]) == ("uploaded", 5)
        large = await sdk.file_uploads.create(
            mode="multi_part", filename="b.txt", number_of_parts=2, content_type="text/plain"
        )
        for number, part in enumerate((b"x" * (12 << 20), b"end"), 1):  # over the cap of JSON
            await sdk.file_uploads.send(
                large["id"], file=("b.txt", part, "text/plain"), part_number=str(number)
            )
        done = await sdk.file_uploads.complete(large["id"])
        assert (done["status"], done["content_length"]) == ("uploaded", (12 << 20) + 3)
        file = {"type": "file_upload", "file_upload": {"id": small["id"]}}
        made = await sdk.blocks.children.append(
            seed.EMPTY_PAGE, children=[{"type": "file", "file": file}]
        )
        assert made["results"][0]["file"]["type"] == "file"


async def test_a_client_of_2022_works_through_the_daemon(daemon: Daemon) -> None:
    async with a_client(daemon, "2022-06-28") as sdk:
        (table,) = (await sdk.search(filter={"property": "object", "value": "database"}))["results"]
        assert (table["object"], table["id"]) == ("database", seed.DATABASE)
        assert (await sdk.databases.retrieve(seed.DATABASE))["properties"] == table["properties"]
