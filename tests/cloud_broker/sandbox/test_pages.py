"""Pages, data sources, search and users."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_broker.sandbox import seed
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage, paragraph, rich

UNDER_PAGE = {"type": "page_id", "page_id": seed.EMPTY_PAGE}
UNDER_SOURCE = {"type": "data_source_id", "data_source_id": seed.DATA_SOURCE}


def titled(text: str) -> dict[str, Any]:
    return {"title": {"title": rich(text)}}


async def titles(stage: SandboxStage, **body: Any) -> list[str]:
    found = (await stage.ask("POST", "search", body))["results"]
    return [title_of(page) for page in found]


def title_of(page: dict[str, Any]) -> str:
    if page["object"] == "data_source":
        return str(page["title"][0]["plain_text"])
    value = next(each for each in page["properties"].values() if each["type"] == "title")
    return "".join(run["plain_text"] for run in value["title"])


async def test_a_page_is_created_with_its_blocks(stage: SandboxStage) -> None:
    body = {"parent": UNDER_PAGE, "properties": titled("New"), "children": [paragraph("a")]}
    page = await stage.ask("POST", "pages", {**body, "icon": {"emoji": "🧪"}})
    assert page["parent"] == UNDER_PAGE
    assert page["icon"] == {"type": "emoji", "emoji": "🧪"}
    assert page["url"] == f"https://app.notion.com/p/New-{page['id'].replace('-', '')}"
    assert await stage.texts(page["id"]) == ["a"]
    (child,) = (await stage.listing(seed.EMPTY_PAGE))["results"]
    assert child["child_page"] == {"title": "New"}


async def test_a_page_can_be_created_at_the_start(stage: SandboxStage) -> None:
    await stage.append(seed.EMPTY_PAGE, paragraph("a"))
    body = {"parent": UNDER_PAGE, "properties": titled("N"), "position": {"type": "page_start"}}
    page = await stage.ask("POST", "pages", body)
    assert (await stage.listing(seed.EMPTY_PAGE))["results"][0]["id"] == page["id"]


async def test_a_row_has_its_source_and_database_as_parent_and_all_properties(
    stage: SandboxStage,
) -> None:
    properties = {"Name": {"title": rich("Row")}, "Status": {"status": {"name": "Done"}}}
    row = await stage.ask("POST", "pages", {"parent": UNDER_SOURCE, "properties": properties})
    assert row["parent"] == {**UNDER_SOURCE, "database_id": seed.DATABASE}
    assert row["properties"]["Status"]["status"]["color"] == "green"
    assert row["properties"]["Due"] == {"id": "du%3A1", "type": "date", "date": None}
    assert row["properties"]["Edited"]["last_edited_time"] == "2026-10-06T09:32:00.000Z"


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"Nope": {"title": []}}, "Nope is not a property that exists."),
        (
            {"Status": {"status": {"name": "planned"}}},
            'Invalid status option. Status option "planned" does not exist',
        ),
    ],
)
async def test_properties_that_do_not_fit_the_schema(
    stage: SandboxStage, properties: dict[str, Any], message: str
) -> None:
    body = {"parent": UNDER_SOURCE, "properties": properties}
    assert (await stage.refused("POST", "pages", body))[2] == message


async def test_a_page_s_title_and_icon_are_changed(stage: SandboxStage) -> None:
    body = {"properties": titled("Other"), "icon": None}
    page = await stage.ask("PATCH", f"pages/{seed.READING_LIST}", body)
    assert title_of(page) == "Other"
    assert page["icon"] is None


async def test_a_block_s_id_is_no_page(stage: SandboxStage) -> None:
    block = seed.block_id("reading", 0)
    status, _, said = await stage.refused("GET", f"pages/{block}")
    assert status == 404
    assert said.startswith(f"Could not find page with ID: {block}")


async def test_a_database_names_its_data_sources_which_hold_the_schema(stage: SandboxStage) -> None:
    database = await stage.ask("GET", f"databases/{seed.DATABASE}")
    assert database["data_sources"] == [{"id": seed.DATA_SOURCE, "name": "Tasks"}]
    assert "properties" not in database
    source = await stage.ask("GET", f"data_sources/{seed.DATA_SOURCE}")
    assert source["parent"] == {"type": "database_id", "database_id": seed.DATABASE}
    assert source["properties"]["Status"]["type"] == "status"


async def test_a_data_source_is_queried_by_filter_sort_and_cursor(stage: SandboxStage) -> None:
    path = f"data_sources/{seed.DATA_SOURCE}/query"
    status = {"property": "Status", "status": {"equals": "Not started"}}
    due = {"property": "Due", "date": {"on_or_after": "2026-12-01"}}
    sorts = [{"property": "Name", "direction": "ascending"}]
    found = await stage.ask("POST", path, {"filter": {"and": [status, due]}, "sorts": sorts})
    assert [title_of(row) for row in found["results"]] == ["Publish the beta", "Translate the menu"]
    first = await stage.ask("POST", path, {"sorts": sorts, "page_size": 4})
    rest = await stage.ask("POST", path, {"sorts": sorts, "start_cursor": first["next_cursor"]})
    assert len(first["results"]) == 4
    assert [title_of(row) for row in rest["results"]] == ["Translate the menu", "Write the queue"]


async def test_rows_edited_since_a_minute_are_found_by_timestamp(stage: SandboxStage) -> None:
    await stage.append(seed.row_id(2), paragraph("x"))
    since = {
        "timestamp": "last_edited_time",
        "last_edited_time": {"on_or_after": "2026-10-06T09:32:00Z"},
    }
    found = await stage.ask("POST", f"data_sources/{seed.DATA_SOURCE}/query", {"filter": since})
    assert [row["id"] for row in found["results"]] == [seed.row_id(2)]


async def test_search_looks_at_titles_newest_edit_first(stage: SandboxStage) -> None:
    await stage.append(seed.page_id("recipes"), paragraph("x"))
    assert (await titles(stage))[0] == "Recipes"
    assert await titles(stage, query="reading LIST") == ["Reading list"]
    assert await titles(stage, query="command line") == []


async def test_search_filters_by_kind_and_leaves_trash_and_other_workspaces_out(
    stage: SandboxStage,
) -> None:
    kind = {"property": "object", "value": "data_source"}
    assert await titles(stage, filter=kind) == ["Tasks"]
    assert "Team space" not in await titles(stage)
    await stage.ask("DELETE", f"blocks/{seed.READING_LIST}")
    assert "Reading list" not in await titles(stage)
    assert await titles(stage, filter={"in_trash": True}) == ["Reading list"]


async def test_search_pages_through_everything_once(stage: SandboxStage) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        got = await stage.ask("POST", "search", {"page_size": 7, "start_cursor": cursor})
        seen += [page["id"] for page in got["results"]]
        cursor = got["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 36


@pytest.mark.parametrize(
    "body",
    [
        {"sort": {"timestamp": "created_time"}},
        {"filter": {"property": "object", "value": "database"}},
        {"page_size": 101},
        {"start_cursor": "bogus"},
        {"queries": "x"},
    ],
)
async def test_search_refuses_what_notion_refuses(
    stage: SandboxStage, body: dict[str, Any]
) -> None:
    assert (await stage.refused("POST", "search", body))[:2] == (400, "validation_error")


async def test_search_may_lag_behind(stage: SandboxStage) -> None:
    await stage.control("PATCH", "config", {"search_lag_s": 30})
    await stage.ask("POST", "pages", {"parent": UNDER_PAGE, "properties": titled("Fresh")})
    await stage.append(seed.page_id("recipes"), paragraph("x"))
    assert "Fresh" not in await titles(stage)
    assert (await titles(stage))[0] != "Recipes"
    stage.clock.advance(31)
    assert (await titles(stage))[:2] == ["Recipes", "Fresh"]


async def test_users_me_names_the_bot_its_owner_and_the_upload_limit(stage: SandboxStage) -> None:
    me = await stage.ask("GET", "users/me")
    assert me["id"] == stage.bot_id
    assert me["bot"]["owner"]["user"]["person"]["email"] == "mira@example.com"
    assert me["bot"]["workspace_name"] == "Mira's Notion"
    assert me["bot"]["workspace_limits"]["max_file_upload_size_in_bytes"] > 0
    assert (await stage.ask("GET", f"users/{seed.MIRA}"))["name"] == "Mira Okafor"
    assert len((await stage.ask("GET", "users"))["results"]) == 2
