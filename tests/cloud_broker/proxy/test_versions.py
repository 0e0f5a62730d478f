"""Notion's versions: requests and answers of older clients, translated to the upstream version."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from cloud_broker.proxy import databases, versions
from cloud_broker.sandbox import seed
from cloud_broker.settings.parsers import VERSIONS
from tests.cloud_broker.proxy.proxy_stage import BLOCK, PAGE, WORKSPACE, ProxyStage, a_proxy, says
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage as Sandbox
from tests.cloud_broker.sandbox.sandbox_stage import paragraph, staged

TABLES, SOURCES, NEWEST = versions.KNOWN
OLD = {"Notion-Version": TABLES}
DATABASE = {"object": "database", "data_sources": [{"id": BLOCK, "name": "n"}]}


@pytest.fixture
async def notion() -> AsyncIterator[Sandbox]:
    async with staged() as running:
        yield running


@pytest.fixture
async def sandboxed(notion: Sandbox, tmp_path: Path) -> AsyncIterator[ProxyStage]:
    origin = str(notion.client.make_url("/"))
    async with a_proxy(tmp_path, base_url=origin) as proxy:
        proxy.tokens.text = notion.token
        yield proxy


async def told(answer: ClientResponse) -> Any:
    body = await answer.json()
    assert answer.status == 200, body
    return body


# --- what is sent -----------------------------------------------------------------------------


async def test_older_names_are_translated(proxy: ProxyStage) -> None:
    body = {"children": [{"divider": {}}], "after": BLOCK}
    await proxy.call("PATCH", f"blocks/{PAGE}/children", json=body)
    await proxy.call("PATCH", f"blocks/{PAGE}", json={"archived": True})
    assert [request["body"] for request in proxy.upstream.requests] == [
        b'{"children":[{"divider":{}}],"position":{"type":"after_block","after_block":{"id":"'
        + BLOCK.encode()
        + b'"}}}',
        b'{"in_trash":true}',
    ]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", f"blocks/{PAGE}/children", {"children": [], "after": BLOCK, "position": {}}),
        ("PATCH", f"blocks/{PAGE}/children", {"children": [], "after": "x"}),
        ("PATCH", f"blocks/{PAGE}", {"paragraph": {}}),
        ("PATCH", f"blocks/{PAGE}", {"in_trash": "yes"}),
        ("PATCH", f"blocks/{PAGE}", {"in_trash": True, "archived": False}),
        ("POST", "search", {"filter": {"property": "object", "value": "database"}}),
        ("GET", f"pages/{PAGE}", {"x": 1}),
        ("POST", f"file_uploads/{PAGE}/complete", {"x": 1}),
    ],
)
async def test_what_would_lose_something_is_refused(
    proxy: ProxyStage, method: str, path: str, body: dict[str, Any]
) -> None:
    answer = await proxy.call(method, path, json=body)
    assert (answer.status, (await answer.json())["code"]) == (400, "validation_error")
    assert proxy.upstream.seen == []


@pytest.mark.parametrize("version", ["2022-02-22", "2021-05-13", "2027-01-01", "x"])
async def test_a_version_that_cannot_be_translated_is_refused_and_says_what_to_send(
    proxy: ProxyStage, version: str
) -> None:
    answer = await proxy.call("GET", f"pages/{PAGE}", headers={"Notion-Version": version})
    assert (answer.status, answer.headers["X-Broker-Code"]) == (400, "version_not_supported")
    message = (await answer.json())["message"]
    assert all(known in message for known in versions.KNOWN)


async def test_data_sources_do_not_exist_for_clients_from_before_them(proxy: ProxyStage) -> None:
    answer = await proxy.call("GET", f"data_sources/{PAGE}", headers=OLD)
    body = await answer.json()
    assert (answer.status, body["code"]) == (404, "invalid_request_url")
    assert SOURCES in body["message"]
    assert proxy.upstream.seen == []


async def test_with_an_older_version_upstream_a_newer_client_is_refused(tmp_path: Path) -> None:
    async with a_proxy(tmp_path, notion_version=SOURCES) as proxy:
        newer = await proxy.call("GET", f"pages/{PAGE}", headers={"Notion-Version": NEWEST})
        older = await proxy.call("GET", f"pages/{PAGE}", headers=OLD)
    assert (newer.status, older.status) == (400, 200)
    assert proxy.upstream.requests[0]["headers"]["Notion-Version"] == SOURCES


def test_the_setting_takes_the_versions_that_have_every_call_of_the_table() -> None:
    assert set(VERSIONS) == {v for v in versions.KNOWN if not versions.knows_tables(v)}


# --- databases by their old addresses -----------------------------------------------------------


async def test_an_old_database_query_goes_to_the_only_data_source(proxy: ProxyStage) -> None:
    proxy.upstream.script = [says(200, DATABASE), says(200, {"object": "list", "results": []})]
    answer = await proxy.call("POST", f"databases/{PAGE}/query", json={"page_size": 7})
    assert answer.status == 200
    assert proxy.upstream.seen == [
        ("GET", f"/v1/databases/{PAGE}"),
        ("POST", f"/v1/data_sources/{BLOCK}/query"),
    ]
    assert proxy.upstream.requests[1]["body"] == b'{"page_size":7}'


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"databases/{PAGE}/query", {}),
        ("GET", f"databases/{PAGE}", None),
        ("POST", "pages", {"parent": {"database_id": PAGE}}),
    ],
)
async def test_a_database_with_two_sources_names_them(
    proxy: ProxyStage, method: str, path: str, body: Any
) -> None:
    sources = [{"id": BLOCK}, {"id": WORKSPACE}]
    proxy.upstream.script = [says(200, {"object": "database", "data_sources": sources})]
    answer = await proxy.call(method, path, json=body, headers=OLD)
    assert answer.status == 400
    data = (await answer.json())["additional_data"]
    assert data["child_data_source_ids"] == [BLOCK, WORKSPACE]
    assert data["minimum_api_version"] == SOURCES
    assert len(proxy.upstream.seen) == 1


async def test_a_new_row_named_by_its_database_goes_under_its_only_data_source(
    proxy: ProxyStage,
) -> None:
    key = proxy.key()
    headers = {"Idempotency-Key": key, "X-Workspace-Id": WORKSPACE}
    body = {"parent": {"database_id": PAGE.replace("-", "")}, "properties": {}}
    proxy.upstream.script = [says(200, DATABASE)]
    first = await proxy.call("POST", "pages", json=body, headers=headers)
    again = await proxy.call("POST", "pages", json=body, headers=headers)
    assert (first.status, again.status) == (200, 200)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert proxy.upstream.seen == [("GET", f"/v1/databases/{PAGE}"), ("POST", "/v1/pages")]
    assert (
        b'"parent":{"type":"data_source_id","data_source_id":"' + BLOCK.encode()
        in (proxy.upstream.requests[1]["body"])
    )


@pytest.mark.parametrize(
    ("status", "told_as"), [(404, 404), (429, 429), (529, 529), (500, 529), (504, 529)]
)
async def test_a_row_whose_database_cannot_be_read_is_not_written(
    proxy: ProxyStage, status: int, told_as: int
) -> None:
    proxy.upstream.always = says(status, Retry_After="60")
    answer = await proxy.call("POST", "pages", json={"parent": {"database_id": PAGE}})
    assert answer.status == told_as
    assert {method for method, _ in proxy.upstream.seen} == {"GET"}


# --- what is read -------------------------------------------------------------------------------


async def test_an_older_client_reads_archived(proxy: ProxyStage) -> None:
    answer = await proxy.call("GET", f"pages/{PAGE}", headers={"Notion-Version": SOURCES})
    assert (await answer.json())["archived"] is False
    assert proxy.upstream.requests[0]["headers"]["Notion-Version"] == NEWEST


def test_meeting_notes_had_another_name() -> None:
    block = {"object": "block", "type": "meeting_notes", "meeting_notes": {"title": []}}
    shown = versions.to_client({"results": [block]}, SOURCES, NEWEST)["results"][0]
    assert shown == {"object": "block", "type": "transcription", "transcription": {"title": []}}


def test_properties_that_are_named_like_fields_are_left_alone() -> None:
    properties = {name: {"type": "checkbox"} for name in ("object", "type", "in_trash", "parent")}
    page = {"object": "page", "properties": properties}
    assert versions.to_client(copy.deepcopy(page), TABLES, NEWEST) == page


async def test_a_client_from_before_data_sources_finds_databases(
    sandboxed: ProxyStage, notion: Sandbox
) -> None:
    body = {"filter": {"property": "object", "value": "database"}}
    found = await told(await sandboxed.call("POST", "search", json=body, headers=OLD))
    (table,) = found["results"]
    assert (found["type"], found["page_or_database"]) == ("page_or_database", {})
    assert (table["object"], table["id"]) == ("database", seed.DATABASE)
    database = await notion.ask("GET", f"databases/{seed.DATABASE}")
    assert table["parent"] == database["parent"]
    assert {"properties", "title", "archived"} <= table.keys()
    assert not {"data_sources", "database_parent"} & table.keys()


async def test_a_client_from_before_data_sources_reads_a_database_with_its_schema(
    sandboxed: ProxyStage, notion: Sandbox
) -> None:
    table = await told(await sandboxed.call("GET", f"databases/{seed.DATABASE}", headers=OLD))
    database = await notion.ask("GET", f"databases/{seed.DATABASE}")
    source = await notion.ask("GET", f"data_sources/{seed.DATA_SOURCE}")
    assert table["properties"] == source["properties"]
    for name in ("id", "title", "parent", "url", "is_inline"):
        assert table[name] == database[name]
    assert "data_sources" not in table
    assert sandboxed.tokens.opened == 1


async def test_a_client_from_before_data_sources_works_with_rows(sandboxed: ProxyStage) -> None:
    call = sandboxed.call
    rows = await told(await call("POST", f"databases/{seed.DATABASE}/query", json={}, headers=OLD))
    parent = {"type": "database_id", "database_id": seed.DATABASE}
    assert {str(row["parent"]) for row in rows["results"]} == {str(parent)}
    title = {"title": [{"text": {"content": "New"}}]}
    name = next(k for k, v in rows["results"][0]["properties"].items() if v["type"] == "title")
    body = {"parent": {"database_id": seed.DATABASE}, "properties": {name: title}}
    made = await told(await call("POST", "pages", json=body, headers=OLD))
    assert (made["parent"], made["archived"]) == (parent, False)
    path = f"pages/{made['id']}"
    gone = await told(await call("PATCH", path, json={"archived": True}, headers=OLD))
    assert gone["archived"] is True


async def test_a_client_from_before_data_sources_works_with_blocks(sandboxed: ProxyStage) -> None:
    path = f"blocks/{seed.EMPTY_PAGE}/children"
    call = sandboxed.call
    first = await told(await call("PATCH", path, json={"children": [paragraph("1")]}, headers=OLD))
    after = first["results"][0]["id"]
    body = {"children": [paragraph("2")], "after": after}
    await told(await call("PATCH", path, json=body, headers=OLD))
    listed = await told(await call("GET", path, headers=OLD))
    assert [block["archived"] for block in listed["results"]] == [False, False]
    await told(await call("DELETE", f"blocks/{after}", headers=OLD))


def test_a_database_with_several_sources_is_found_once() -> None:
    source = {"object": "data_source", "parent": {"type": "database_id", "database_id": PAGE}}
    results = [{**source, "id": BLOCK}, {"object": "page", "id": PAGE}, {**source, "id": PAGE}]
    listed = {"object": "list", "results": results}
    shown = versions.to_client(listed, TABLES, NEWEST)["results"]
    assert [(item["object"], item["id"]) for item in shown] == [("database", PAGE), ("page", PAGE)]


def test_a_source_of_which_notion_shows_a_part_stays_as_it_is() -> None:
    partial = {"object": "data_source", "id": BLOCK, "properties": {}}
    assert versions.to_client(dict(partial), TABLES, NEWEST) == partial


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "x",
        {},
        {"page_id": PAGE},
        {"database_id": "x"},
        {"database_id": 1},
        {"type": "data_source_id", "data_source_id": BLOCK, "database_id": PAGE},
    ],
)
def test_only_a_database_named_alone_is_looked_up(parent: Any) -> None:
    assert databases.parent_database({"parent": parent}) is None
