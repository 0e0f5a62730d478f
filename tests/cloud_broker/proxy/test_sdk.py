"""Notion's SDK for Python, pointed at a whole broker: it works unchanged, errors included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from notion_client import APIErrorCode, APIResponseError, AsyncClient, Client
from notion_client.client import RetryOptions
from notion_client.errors import UnknownHTTPResponseError
from notion_client.helpers import async_collect_paginated_api, collect_paginated_api

from cloud_broker.proxy.errors import NotSent, ProxyError
from cloud_broker.sandbox import seed
from tests.cloud_broker.broker_on_sandbox import BrokerOnSandbox, a_whole_broker
from tests.stack.lone_broker import a_key

PAGE = seed.EMPTY_PAGE
APPEND = "PATCH /v1/blocks/{id}/children"
TITLE = {"title": [{"text": {"content": "New"}}]}
AT_ONCE = RetryOptions(initial_retry_delay_ms=1, max_retry_delay_ms=1)
# What the sandbox does to a write, and whether it is applied all the same.
UNCLEAR = {
    **dict.fromkeys(("5xx_after", "drop_after", "garbage", "truncated"), 1),
    **dict.fromkeys(("5xx_before", "uncommitted_503", "drop_before", "409", "html_502"), 0),
}


def text(words: str) -> dict[str, Any]:
    return {"type": "paragraph", "paragraph": {"rich_text": [{"text": {"content": words}}]}}


def refused(error: pytest.ExceptionInfo[APIResponseError]) -> tuple[Any, str]:
    """The SDK's code for it, and the broker's own."""
    return error.value.code, error.value.headers.get("X-Broker-Code", "")


async def made_or_busy(sdk: AsyncClient) -> Any:
    """What an append made, or None while it is under way."""
    try:
        return await sdk.blocks.children.append(PAGE, children=[text("x")])
    except APIResponseError as error:
        if error.code != APIErrorCode.ConflictError:
            raise
        return None


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[BrokerOnSandbox]:
    async with a_whole_broker(tmp_path) as running:
        yield running


@pytest.fixture
async def sdk(broker: BrokerOnSandbox) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(auth=broker.token, base_url=broker.base_url, retry=AT_ONCE) as client:
        yield client


async def test_search_and_its_pages(sdk: AsyncClient) -> None:
    found = await async_collect_paginated_api(sdk.search, page_size=5)
    assert len({item["id"] for item in found}) == len(found) > 5
    (only,) = (await sdk.search(query="Reading"))["results"]
    assert only["id"] == seed.READING_LIST
    wanted = {"property": "object", "value": "data_source"}
    assert (await sdk.search(filter=wanted))["results"][0]["id"] == seed.DATA_SOURCE


async def test_a_long_page_by_the_helper_for_pages(sdk: AsyncClient) -> None:
    blocks = await async_collect_paginated_api(sdk.blocks.children.list, block_id=seed.LONG_PAGE)
    assert len({block["id"] for block in blocks}) == len(blocks) == 450
    assert blocks[0]["archived"] is False  # the SDK speaks 2025-09-03


async def test_blocks_are_appended_after_another_and_by_position(
    sdk: AsyncClient, broker: BrokerOnSandbox
) -> None:
    append = sdk.blocks.children.append
    first = (await append(PAGE, children=[text("1"), text("4")]))["results"][0]["id"]
    await append(PAGE, children=[text("2")], after=first)
    await append(PAGE, children=[text("0")], position={"type": "start"})
    anchor = {"type": "after_block", "after_block": {"id": first}}
    await append(PAGE, children=[text("1.5")], position=anchor)
    await append(PAGE, children=[text("5")], position={"type": "end"})
    assert await broker.texts(PAGE) == ["0", "1", "1.5", "2", "4", "5"]
    await sdk.blocks.delete(first)
    assert (await sdk.blocks.retrieve(first))["archived"] is True
    await sdk.blocks.update(first, archived=False)
    assert (await broker.texts(PAGE))[1] == "1"


async def test_a_page_under_a_page_is_made_changed_and_trashed(sdk: AsyncClient) -> None:
    made = await sdk.pages.create(
        parent={"page_id": PAGE}, properties={"title": TITLE}, children=[text("x")]
    )
    changed = await sdk.pages.update(made["id"], icon={"type": "emoji", "emoji": "🌻"})
    assert changed["icon"]["emoji"] == "🌻"
    assert (await sdk.pages.retrieve(made["id"]))["parent"]["page_id"] == PAGE
    assert (await sdk.pages.update(made["id"], archived=True))["archived"] is True
    assert (await sdk.pages.update(made["id"], in_trash=False))["archived"] is False


async def test_a_database_and_its_rows(sdk: AsyncClient) -> None:
    database = await sdk.databases.retrieve(seed.DATABASE)
    (source,) = database["data_sources"]
    rows = await async_collect_paginated_api(
        sdk.data_sources.query, data_source_id=source["id"], page_size=4
    )
    assert len(rows) == 6
    name = next(k for k, v in rows[0]["properties"].items() if v["type"] == "title")
    for parent in ({"data_source_id": source["id"]}, {"database_id": seed.DATABASE}):
        row = await sdk.pages.create(parent=parent, properties={name: TITLE})
        assert row["parent"]["data_source_id"] == source["id"]
    schema = await sdk.data_sources.retrieve(source["id"])
    assert schema["properties"][name]["type"] == "title"
    wanted = {"property": name, "title": {"equals": "New"}}
    found = await sdk.data_sources.query(source["id"], filter=wanted)
    assert len(found["results"]) == 2


async def test_a_client_of_2022_knows_databases_as_tables(broker: BrokerOnSandbox) -> None:
    version = "2022-06-28"
    async with AsyncClient(
        auth=broker.token, base_url=broker.base_url, notion_version=version
    ) as sdk:
        (table,) = (await sdk.search(filter={"property": "object", "value": "database"}))["results"]
        assert (table["object"], table["id"]) == ("database", seed.DATABASE)
        assert "Status" in (await sdk.databases.retrieve(seed.DATABASE))["properties"]
        rows = await sdk.request(path=f"databases/{seed.DATABASE}/query", method="POST", body={})
        assert rows["results"][0]["parent"]["database_id"] == seed.DATABASE


async def test_a_file_in_one_part_is_sent_and_attached(
    sdk: AsyncClient, broker: BrokerOnSandbox
) -> None:
    upload = await sdk.file_uploads.create(mode="single_part", filename="a.txt")
    part = ("a.txt", b"hello", "text/plain")
    sent = await sdk.file_uploads.send(upload["id"], file=part)
    assert sent["status"] == "uploaded"
    block = {"type": "file", "file": {"type": "file_upload", "file_upload": {"id": upload["id"]}}}
    made = await sdk.blocks.children.append(PAGE, children=[block])
    async with broker.http.get(made["results"][0]["file"]["file"]["url"]) as file:
        assert await file.read() == b"hello"


async def test_a_file_in_several_parts_is_sent_and_completed(sdk: AsyncClient) -> None:
    upload = await sdk.file_uploads.create(
        mode="multi_part", filename="b.txt", number_of_parts=2, content_type="text/plain"
    )
    for number, part in enumerate((b"one", b"two"), 1):
        await sdk.file_uploads.send(
            upload["id"], file=("b.txt", part, "text/plain"), part_number=str(number)
        )
    done = await sdk.file_uploads.complete(upload["id"])
    assert (done["status"], done["content_length"]) == ("uploaded", 6)
    assert (await sdk.file_uploads.retrieve(upload["id"]))["status"] == "uploaded"


async def test_the_bot_is_the_connections_own(sdk: AsyncClient) -> None:
    me = await sdk.users.me()
    assert me["bot"]["workspace_id"] == seed.WORKSPACE


async def test_the_client_without_async_works_likewise(broker: BrokerOnSandbox) -> None:
    def a_day() -> list[str]:
        sdk: Any  # its methods say that they may be awaited
        with Client(auth=broker.token, base_url=broker.base_url, retry=AT_ONCE) as sdk:
            page = sdk.search(query="Reading")["results"][0]["id"]
            made = sdk.blocks.children.append(page, children=[text("x")])["results"][0]["id"]
            blocks = collect_paginated_api(sdk.blocks.children.list, block_id=page, page_size=3)
            sdk.blocks.delete(made)
            upload = sdk.file_uploads.create(mode="single_part", filename="a.txt")
            sdk.file_uploads.send(upload["id"], file=("a.txt", b"x", "text/plain"))
            with pytest.raises(APIResponseError) as caught:
                sdk.pages.retrieve(a_key())
            assert caught.value.code == APIErrorCode.ObjectNotFound
            return [block["id"] for block in blocks if block["id"] == made]

    assert len(await asyncio.to_thread(a_day)) == 1


# --- what is refused --------------------------------------------------------------------------


def test_every_refusal_has_a_code_that_the_sdk_knows() -> None:
    kinds: list[type[ProxyError]] = [ProxyError, *ProxyError.__subclasses__()]
    known = {code.value for code in APIErrorCode}
    # 529 is newer than the Python SDK, which tells its status; Notion's own SDK knows its code.
    assert {kind.code for kind in kinds} - known == {NotSent.code}


async def test_an_ended_session_is_unauthorized(broker: BrokerOnSandbox) -> None:
    async with AsyncClient(auth="ended", base_url=broker.base_url, retry=False) as sdk:
        with pytest.raises(APIResponseError) as caught:
            await sdk.users.me()
    assert refused(caught) == (APIErrorCode.Unauthorized, "session_expired")


async def test_a_withdrawn_grant_is_unauthorized(sdk: AsyncClient, broker: BrokerOnSandbox) -> None:
    bot = (await sdk.users.me())["id"]
    await broker.control("POST", "revoke", {"bot_id": bot})
    with pytest.raises(APIResponseError) as caught:
        await sdk.users.me()
    assert refused(caught) == (APIErrorCode.Unauthorized, "NOTION_TOKEN_INVALID")
    assert caught.value.additional_data == {"broker_code": "NOTION_TOKEN_INVALID"}


async def test_what_does_not_exist_or_is_not_valid_is_in_notions_own_words(
    sdk: AsyncClient,
) -> None:
    with pytest.raises(APIResponseError) as caught:
        await sdk.pages.retrieve(a_key())
    assert refused(caught) == (APIErrorCode.ObjectNotFound, "")
    with pytest.raises(APIResponseError) as caught:
        await sdk.blocks.children.append(PAGE, children=[{"type": "no_such_block"}])
    assert refused(caught) == (APIErrorCode.ValidationError, "")


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "broker_code"),
    [
        ("GET", "users", None, APIErrorCode.InvalidRequestURL, "route_not_allowed"),
        ("GET", "pages/x", None, APIErrorCode.ValidationError, "invalid_request"),
        ("PATCH", f"blocks/{PAGE}", {"paragraph": {}}, APIErrorCode.ValidationError, None),
    ],
)
async def test_what_the_table_does_not_have_is_refused_in_its_codes(
    sdk: AsyncClient, method: str, path: str, body: Any, code: APIErrorCode, broker_code: str | None
) -> None:
    with pytest.raises(APIResponseError) as caught:
        await sdk.request(path=path, method=method, body=body)
    assert refused(caught) == (code, broker_code or "invalid_request")


@pytest.mark.parametrize("workspace", [seed.OTHER_WORKSPACE])
async def test_another_workspace_is_restricted(sdk: AsyncClient, workspace: str) -> None:
    sdk.client.headers["X-Workspace-Id"] = workspace
    with pytest.raises(APIResponseError) as caught:
        await sdk.users.me()
    assert refused(caught) == (APIErrorCode.RestrictedResource, "no_connection")


@pytest.mark.parametrize(
    ("changes", "calls", "sign"),
    [
        ({"BROKER_LIMIT_SCALE": "1"}, 10, "limit_route"),
        ({"BROKER_LIMIT_SCALE": "0.01"}, 1, "limit_user"),
        ({"BROKER_NOTION_BURST": "1", "BROKER_NOTION_RATE": "0.01"}, 1, "limit_connection"),
    ],
)
async def test_a_limit_is_rate_limited_with_the_seconds_to_wait(
    tmp_path: Path, changes: dict[str, str], calls: int, sign: str
) -> None:
    async with (
        a_whole_broker(tmp_path, **changes) as broker,
        AsyncClient(auth=broker.token, base_url=broker.base_url, retry=False) as sdk,
    ):
        for _ in range(calls):
            await sdk.users.me()
        with pytest.raises(APIResponseError) as caught:
            await sdk.users.me()
    assert refused(caught) == (APIErrorCode.RateLimited, sign)
    assert int(caught.value.headers["Retry-After"]) >= 1


async def test_a_write_under_way_is_a_conflict(tmp_path: Path) -> None:
    async with a_whole_broker(tmp_path, BROKER_ANSWER_WITHIN_S="0.3") as broker:
        await broker.fault("latency", APPEND, params={"ms": 2000})
        async with AsyncClient(auth=broker.token, base_url=broker.base_url) as sdk:
            sdk.client.headers["Idempotency-Key"] = a_key()
            with pytest.raises(APIResponseError) as caught:
                await sdk.blocks.children.append(PAGE, children=[text("x")])
            assert refused(caught) == (APIErrorCode.ConflictError, "in_progress")
            while (made := await made_or_busy(sdk)) is None:  # to its end, under the same key
                pass
            assert len(made["results"]) == 1
            with pytest.raises(APIResponseError) as caught:
                await sdk.blocks.children.append(PAGE, children=[text("y")])
            assert refused(caught) == (APIErrorCode.ValidationError, "idempotency_key_reused")
        assert await broker.texts(PAGE) == ["x"]


async def test_an_overload_keeps_its_status_529(sdk: AsyncClient, broker: BrokerOnSandbox) -> None:
    await broker.fault("529", params={"retry_after": 60})
    with pytest.raises(UnknownHTTPResponseError) as caught:
        await sdk.blocks.children.append(PAGE, children=[text("x")])
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (529, "60")


# --- the SDK's own retries ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNCLEAR)
async def test_the_sdks_own_retries_double_no_write(
    sdk: AsyncClient, broker: BrokerOnSandbox, kind: str
) -> None:
    await broker.fault(kind, APPEND, on=[1])
    with pytest.raises(APIResponseError) as caught:
        await sdk.blocks.children.append(PAGE, children=[text("x")])
    assert refused(caught) == (APIErrorCode.GatewayTimeout, "write_outcome_unknown")
    assert caught.value.additional_data is not None
    assert caught.value.additional_data["read"] == f"GET /v1/blocks/{PAGE}/children"
    assert await broker.texts(PAGE) == ["x"] * UNCLEAR[kind]
    assert (await broker.control("GET", "calls"))["by_route"][APPEND] == 1


async def test_a_write_that_was_saved_but_not_answered_in_time_is_a_success_to_the_sdk(
    sdk: AsyncClient, broker: BrokerOnSandbox
) -> None:
    await broker.fault("committed_503", APPEND, on=[1])
    made = await sdk.blocks.children.append(PAGE, children=[text("x"), text("y")])
    listed = (await sdk.blocks.children.list(PAGE))["results"]
    assert [b["id"] for b in made["results"]] == [b["id"] for b in listed]
    assert await broker.texts(PAGE) == ["x", "y"]


@pytest.mark.parametrize("kind", ["429", "529"])
async def test_a_write_that_was_refused_for_now_arrives_once(
    sdk: AsyncClient, broker: BrokerOnSandbox, kind: str
) -> None:
    await broker.fault(kind, APPEND, on=[1, 2], params={"retry_after": 0})
    await sdk.blocks.children.append(PAGE, children=[text("x")])
    assert await broker.texts(PAGE) == ["x"]


async def test_a_removal_of_which_nobody_knows_is_not_repeated_by_the_sdk(
    sdk: AsyncClient, broker: BrokerOnSandbox
) -> None:
    block = (await sdk.blocks.children.append(PAGE, children=[text("x")]))["results"][0]["id"]
    await broker.fault("5xx_after", "DELETE /v1/blocks/{id}", on=[1], params={"status": 503})
    with pytest.raises(APIResponseError) as caught:
        await sdk.blocks.delete(block)
    assert refused(caught) == (APIErrorCode.GatewayTimeout, "write_outcome_unknown")
    assert (await broker.control("GET", "calls"))["by_route"]["DELETE /v1/blocks/{id}"] == 1


async def test_a_read_that_fails_is_asked_again_by_the_sdk_too(
    sdk: AsyncClient, broker: BrokerOnSandbox
) -> None:
    await broker.fault("5xx_before", "GET /v1/pages/{id}", on=list(range(1, 6)))
    assert (await sdk.pages.retrieve(PAGE))["id"] == PAGE
