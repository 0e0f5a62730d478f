"""Routes of pages and database schemas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clipperd.memory_notion import SCOPE
from tests.clipperd.web.pages_api_stage import WORKSPACE, PagesApiStage, reading


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[PagesApiStage]:
    async with reading(tmp_path) as api:
        yield api


async def test_a_list_has_the_documented_fields(api: PagesApiStage) -> None:
    page = api.notion.add_page("Journal")
    await api.pages.refresh(SCOPE)
    status, listing = await api("GET", "/v1/pages")
    assert status == 200
    assert listing["items"] == [
        {
            "id": page,
            "title": "Journal",
            "url": f"https://app.notion.com/p/{page.replace('-', '')}",
            "icon": {"type": "emoji", "emoji": "📄"},
            "parent": {"type": "workspace", "workspace": True},
            "path": [],
            "kind": "page",
            "last_edited_time": api.notion.stamp(),
            "favorite": False,
            "in_trash": False,
            "workspace_id": SCOPE.workspace_id,
        }
    ]
    assert (listing["next_cursor"], listing["has_more"]) == (None, False)
    assert listing["index"].keys() == {"state", "complete", "count", "refreshed_at"}


async def test_listing_asks_notion_nothing_and_works_before_the_first_answer(
    api: PagesApiStage,
) -> None:
    api.notion.offline = True
    status, listing = await api("GET", "/v1/pages?view=recent")
    assert (status, listing["items"], listing["index"]["state"]) == (200, [], "never")


async def test_pages_follow_their_cursor(api: PagesApiStage) -> None:
    for number in range(5):
        api.notion.add_page(f"Page {number}")
    await api.pages.refresh(SCOPE)
    seen: list[str] = []
    path = "/v1/pages?view=all&limit=2"
    while True:
        _, listing = await api("GET", path)
        seen += [item["title"] for item in listing["items"]]
        if not listing["has_more"]:
            break
        path = f"/v1/pages?view=all&limit=2&cursor={listing['next_cursor']}"
    assert seen == [f"Page {number}" for number in range(5)]


async def test_search_gives_scores(api: PagesApiStage) -> None:
    api.notion.add_page("Meeting notes")
    await api.pages.refresh(SCOPE)
    status, found = await api("GET", "/v1/pages?q=meetnig&limit=5&remote=1")
    assert status == 200
    assert found["items"][0]["score"] > 0
    assert found["remote"] == "merged"


async def test_favorites_are_set_and_unset(api: PagesApiStage) -> None:
    page = api.notion.add_page("Journal")
    await api.pages.refresh(SCOPE)
    path = f"/v1/pages/{page.replace('-', '').upper()}/favorite"
    assert (await api("PUT", path))[1]["favorite"]
    assert len((await api("GET", "/v1/pages?view=favorites"))[1]["items"]) == 1
    assert not (await api("DELETE", path))[1]["favorite"]


async def test_verified_adds_access(api: PagesApiStage) -> None:
    page = api.notion.add_page("Journal")
    assert (await api("GET", f"/v1/pages/{page}"))[0] == 404
    status, entry = await api("GET", f"/v1/pages/{page}?freshness=verified")
    assert (status, entry["access"]) == (200, "ok")


async def test_refresh_answers_with_the_index_and_an_outage_with_a_problem(
    api: PagesApiStage,
) -> None:
    status, refreshed = await api("POST", "/v1/pages/refresh")
    assert (status, refreshed["notion_calls"]) == (200, 1)
    assert refreshed["index"]["empty_reason"] == "nothing_shared"
    api.notion.offline = True
    status, problem = await api("POST", "/v1/pages/refresh")
    assert (status, problem["code"]) == (503, "broker_unreachable")


async def test_a_schema_is_shown(api: PagesApiStage) -> None:
    source = api.notion.add_page("Tasks", kind="data_source")
    status, schema = await api("GET", f"/v1/data_sources/{source}")
    assert (status, schema["title"]) == (200, "Tasks")
    assert (await api("GET", f"/v1/data_sources/{api.notion.new_id()}"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/pages?limit=0", 400, "invalid_input"),
        ("GET", "/v1/pages?limit=101", 400, "invalid_input"),
        ("GET", "/v1/pages?limit=many", 400, "invalid_input"),
        ("GET", "/v1/pages?view=other", 400, "invalid_input"),
        ("GET", "/v1/pages?kind=block", 400, "invalid_input"),
        ("GET", "/v1/pages?cursor=nonsense", 400, "cursor_invalid"),
        ("GET", "/v1/pages?q=a&cursor=nonsense", 400, "cursor_invalid"),
        ("GET", "/v1/pages/not-an-id", 400, "invalid_input"),
        ("GET", "/v1/pages/..%2fusers", 400, "invalid_input"),
        ("PUT", "/v1/pages/x/favorite", 400, "invalid_input"),
        ("GET", "/v1/data_sources/x", 400, "invalid_input"),
        ("GET", f"/v1/pages/{WORKSPACE}?freshness=auto", 400, "invalid_input"),
    ],
)
async def test_bad_input_is_refused_and_nothing_asked(
    api: PagesApiStage, method: str, path: str, status: int, code: str
) -> None:
    got, problem = await api(method, path)
    assert (got, problem["code"]) == (status, code)
    assert api.notion.take_calls() == []


async def test_another_workspace_is_refused(api: PagesApiStage) -> None:
    other = {"X-Workspace-Id": "22222222-2222-4222-8222-222222222222"}
    assert (await api("GET", "/v1/pages", headers=other))[1]["code"] == "workspace_mismatch"
    bad = {"X-Workspace-Id": "mine"}
    assert (await api("GET", "/v1/pages", headers=bad))[1]["code"] == "invalid_input"
