"""Routes of outlines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.clipperd.web.pages_api_stage import PagesApiStage, reading


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[PagesApiStage]:
    async with reading(tmp_path) as api:
        yield api


def a_page(api: PagesApiStage, title: str = "Journal") -> str:
    page = api.notion.add_page(title)
    api.notion.add(page, "heading_2", "Inbox")
    api.notion.add(page, "paragraph", "milk")
    return page


async def test_an_outline_has_the_documented_fields(api: PagesApiStage) -> None:
    page = a_page(api)
    status, outline = await api("GET", f"/v1/pages/{page}/outline")
    assert status == 200
    heading, block = api.notion.children[page]
    assert outline["headings"] == [
        {
            "id": heading,
            "text": "Inbox",
            "level": 2,
            "index": 0,
            "position": 0,
            "parent_id": page,
            "path": [],
            "toggleable": False,
            "section_end_id": block,
        }
    ]
    assert (outline["page_id"], outline["title"], outline["total_blocks"]) == (page, "Journal", 2)
    assert (outline["source"], outline["stale"], outline["notion_calls"]) == ("fetched", False, 2)
    assert outline["last_edited_time"] == api.notion.stamp()
    assert outline.keys() >= {"fetched_at", "verified_at"}


async def test_cached_without_one_is_404(api: PagesApiStage) -> None:
    status, problem = await api("GET", f"/v1/pages/{a_page(api)}/outline?freshness=cached")
    assert (status, problem["code"]) == (404, "outline_not_cached")


async def test_a_trashed_page_is_410(api: PagesApiStage) -> None:
    page = a_page(api)
    api.notion.trash(page)
    status, problem = await api("GET", f"/v1/pages/{page}/outline")
    assert (status, problem["code"]) == (410, "page_trashed")


async def test_several_outlines_each_have_their_own_answer(api: PagesApiStage) -> None:
    pages = [a_page(api, title) for title in ("A", "B")]
    lost = api.notion.new_id()
    asked = [pages[0], lost, pages[1], pages[0]]
    status, answer = await api("POST", "/v1/outlines", json={"page_ids": asked})
    assert status == 200
    assert [result["page_id"] for result in answer["results"]] == asked
    titles = [result.get("outline", {}).get("title") for result in answer["results"]]
    assert titles == ["A", None, "B", "A"]
    assert answer["results"][1]["error"]["code"] == "page_gone"


async def test_five_known_outlines_are_five_calls(api: PagesApiStage) -> None:
    pages = [a_page(api, f"Page {number}") for number in range(5)]
    api.notion.clock.advance(600)
    await api("POST", "/v1/outlines", json={"page_ids": pages})
    api.notion.take_calls()
    await api("POST", "/v1/outlines", json={"page_ids": pages})
    assert api.notion.take_calls() == ["GET pages/ID"] * 5


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"page_ids": []},
        {"page_ids": ["nonsense"]},
        {"page_ids": [1]},
        {"page_ids": "all"},
        {"page_ids": ["x"], "more": 1},
        {"page_ids": ["11111111-1111-4111-8111-111111111111"] * 101},
    ],
)
async def test_bad_bodies_are_refused_and_nothing_asked(api: PagesApiStage, body: Any) -> None:
    status, problem = await api("POST", "/v1/outlines", json=body)
    assert (status, problem["code"]) == (400, "invalid_input")
    assert api.notion.take_calls() == []
