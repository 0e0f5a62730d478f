"""The sandbox's own routes: clock, people's edits, pages, sharing, reset."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_broker.sandbox import seed
from tests.cloud_broker.sandbox.sandbox_stage import MISSING, SandboxStage, paragraph, text_of

PAGE = seed.READING_LIST


async def test_the_clock_is_shifted_set_stopped_and_stepped(stage: SandboxStage) -> None:
    got = await stage.control("POST", "clock", {"offset_s": 3600})
    assert got["now"] == "2026-10-06T10:32:37.500Z"
    got = await stage.control("POST", "clock", {"now": "2030-01-01T00:00:59Z", "stopped": True})
    stage.clock.advance(500)
    assert (await stage.control("GET", "clock"))["now"] == "2030-01-01T00:00:59.000Z"
    (made,) = await stage.append(seed.EMPTY_PAGE, paragraph("a"))
    assert made["created_time"] == "2030-01-01T00:00:00.000Z"
    await stage.control("POST", "clock", {"advance_s": 2})
    got = await stage.control("POST", "clock", {"stopped": False})
    assert got["now"] == "2030-01-01T00:01:01.000Z"
    stage.clock.advance(1)
    assert (await stage.control("GET", "clock"))["now"] == "2030-01-01T00:01:02.000Z"


async def test_a_person_inserts_updates_moves_and_deletes(stage: SandboxStage) -> None:
    async def edit(**body: Any) -> Any:
        return await stage.control("POST", "edit", body)

    before = await stage.texts(PAGE)
    anchor = (await stage.listing(PAGE))["results"][1]["id"]
    made = await edit(op="insert", page_id=PAGE, after=anchor, text="## Mine")
    assert made["type"] == "heading_2"
    assert made["created_by"]["id"] == seed.MIRA
    assert await stage.texts(PAGE) == [*before[:2], "Mine", *before[2:]]
    await edit(op="update", block_id=made["id"], text="Ours")
    await edit(op="move", block_id=made["id"], position="start")
    assert await stage.texts(PAGE) == ["Ours", *before]
    await edit(op="move", block_id=made["id"])
    assert await stage.texts(PAGE) == [*before, "Ours"]
    await edit(op="delete", block_id=made["id"])
    assert await stage.texts(PAGE) == before
    renamed = await edit(op="rename", page_id=PAGE, text="To read")
    assert renamed["last_edited_by"]["id"] == seed.MIRA


async def test_a_block_can_move_to_another_page_but_not_into_itself(stage: SandboxStage) -> None:
    block = (await stage.listing(PAGE))["results"][0]
    body = {"op": "move", "block_id": block["id"], "page_id": seed.EMPTY_PAGE}
    await stage.control("POST", "edit", body)
    assert await stage.texts(seed.EMPTY_PAGE) == [text_of(block)]
    await stage.control("POST", "edit", {**body, "parent_id": block["id"]}, 400)


async def test_a_page_is_made_from_an_outline_and_read_back_as_a_tree(stage: SandboxStage) -> None:
    outline = "# One\ntext\n- a\n  - b\n    deep\n+# Fold\n  inside"
    page = await stage.control("POST", "pages", {"title": "P", "outline": outline}, 201)
    tree = (await stage.control("GET", f"pages/{page['id']}/blocks"))["blocks"]
    assert [block["type"] for block in tree] == [
        "heading_1",
        "paragraph",
        "bulleted_list_item",
        "heading_2",
    ]
    assert text_of(tree[2]["children"][0]["children"][0]) == "deep"
    assert tree[3]["heading_2"]["is_toggleable"] is True
    assert tree[0]["created_by"]["id"] == seed.MIRA
    assert (await stage.ask("GET", f"pages/{page['id']}"))["parent"]["type"] == "workspace"


async def test_rows_can_be_made_too(stage: SandboxStage) -> None:
    body = {"title": "Row", "data_source_id": seed.DATA_SOURCE}
    row = await stage.control("POST", "pages", body, 201)
    assert (await stage.ask("GET", f"pages/{row['id']}"))["properties"]["Status"]["status"] is None


async def test_the_nearest_word_about_sharing_counts(stage: SandboxStage) -> None:
    child = seed.page_id("recipes-bread")
    await stage.control("POST", "share", {"page_id": seed.HOME, "shared": False})
    assert (await stage.refused("GET", f"pages/{child}"))[0] == 404
    await stage.control(
        "POST", "share", {"page_id": seed.page_id("recipes"), "bot_id": stage.bot_id}
    )
    await stage.ask("GET", f"pages/{child}")
    assert (await stage.refused("GET", f"pages/{PAGE}"))[0] == 404


async def test_reset_brings_back_the_seed_world(stage: SandboxStage) -> None:
    await stage.append(seed.EMPTY_PAGE, paragraph("a"))
    await stage.control("POST", "clock", {"offset_s": 99})
    await stage.control("POST", "reset")
    assert (await stage.control("GET", "calls"))["total"] == 0
    assert (await stage.control("GET", f"pages/{seed.EMPTY_PAGE}/blocks"))["blocks"] == []
    assert (await stage.control("GET", "clock"))["offset_s"] == 0
    got = await stage.control("POST", "tokens", {}, 201)
    assert got["bot_id"] == stage.bot_id


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("edit", {"op": "explode"}),
        ("edit", {"op": "delete", "block_id": "x"}),
        ("edit", {"op": "insert", "page_id": PAGE, "after": "x"}),
        ("clock", {"now": "yesterday"}),
        ("tokens", {"workspace_id": "x"}),
        ("tokens", {"capabilities": ["fly"]}),
        ("share", {}),
        ("webhooks", {"url": "ftp://x"}),
        ("pages", {"parent_id": "x"}),
        ("pages", {"id": PAGE}),
    ],
)
async def test_senseless_requests_are_refused_with_a_reason(
    stage: SandboxStage, path: str, body: Any
) -> None:
    assert (await stage.control("POST", path, body, 400))["error"]


async def test_config_shows_and_keeps_its_knobs(stage: SandboxStage) -> None:
    got = await stage.control("PATCH", "config", {"rate_per_token": 5, "rate_per_workspace": None})
    assert got["rate_per_token"] == 5
    assert got == await stage.control("GET", "config")
    await stage.control("PATCH", "config", {"rate": 5}, 400)
    await stage.control("PATCH", "config", {"oauth_error_shape": "x"}, 400)
    await stage.control("PATCH", "config", {"window_s": 0}, 400)
    await stage.control("PATCH", "config", {"burst": 0}, 400)


async def test_another_integration_has_tokens_and_a_bot_of_its_own(stage: SandboxStage) -> None:
    body = {"client_id": "second", "name": "Second"}
    made = await stage.control("POST", "integrations", body, 201)
    assert made["client_secret"]
    assert await stage.control("POST", "integrations", body, 400)
    known = (await stage.control("GET", "integrations"))["integrations"]
    assert [each["client_id"] for each in known] == ["sandbox-client", "second"]
    granted = await stage.control("POST", "tokens", {"client_id": "second"}, 201)
    assert granted["bot_id"] != stage.bot_id
    stage.token = granted["access_token"]
    assert (await stage.ask("GET", "users/me"))["name"] == "Second"
    assert 'integration "Second"' in (await stage.refused("GET", f"blocks/{MISSING}"))[2]
    await stage.control("POST", "tokens", {"client_id": "third"}, 400)
