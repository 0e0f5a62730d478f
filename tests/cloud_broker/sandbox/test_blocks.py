"""Reading, changing and trashing blocks; children listings and their cursors."""

from __future__ import annotations

import pytest

from cloud_broker.sandbox import seed
from tests.cloud_broker.sandbox.sandbox_stage import (
    MISSING,
    SandboxStage,
    nested,
    paragraph,
    rich,
    text_of,
)

LONG = seed.LONG_PAGE
PAGE = seed.EMPTY_PAGE


async def test_a_listing_pages_by_the_id_of_the_next_page_s_first_block(
    stage: SandboxStage,
) -> None:
    first = await stage.listing(LONG)
    assert first["object"] == "list"
    assert first["type"] == "block"
    assert len(first["results"]) == 100
    second = await stage.listing(LONG, start_cursor=first["next_cursor"])
    assert second["results"][0]["id"] == first["next_cursor"]
    seen = [*first["results"], *second["results"]]
    while second["has_more"]:
        second = await stage.listing(LONG, start_cursor=second["next_cursor"])
        seen += second["results"]
    assert second["next_cursor"] is None
    assert [block["id"] for block in seen] == stage.world.nodes[LONG].children


async def test_any_child_s_id_is_a_cursor_that_lists_from_there_on(stage: SandboxStage) -> None:
    kids = stage.world.nodes[LONG].children
    got = await stage.listing(LONG, start_cursor=kids[447], page_size="5")
    assert [block["id"] for block in got["results"]] == kids[447:]


async def test_a_cursor_that_is_no_uuid_or_no_child_is_refused(stage: SandboxStage) -> None:
    path = f"blocks/{LONG}/children?start_cursor="
    _, _, said = await stage.refused("GET", path + "bogus")
    assert said == (
        "query failed validation: query.start_cursor should be a valid uuid or `undefined`, "
        'instead was `"bogus"`.'
    )
    assert (await stage.refused("GET", path + PAGE))[1] == "validation_error"


@pytest.mark.parametrize(("size", "count"), [("0", 100), ("1", 1), ("100", 100), ("", 100)])
async def test_page_sizes(stage: SandboxStage, size: str, count: int) -> None:
    assert len((await stage.listing(LONG, page_size=size))["results"]) == count


@pytest.mark.parametrize("size", ["101", "x", "-1"])
async def test_refused_page_sizes(stage: SandboxStage, size: str) -> None:
    _, _, said = await stage.refused("GET", f"blocks/{LONG}/children?page_size={size}")
    assert said.startswith("query failed validation: query.page_size should be")


async def test_a_page_s_children_hold_its_pages_and_databases_as_blocks(
    stage: SandboxStage,
) -> None:
    kinds = {block["type"] for block in (await stage.listing(seed.page_id("work")))["results"]}
    assert {"child_page", "child_database", "heading_1"} <= kinds


async def test_ids_are_taken_without_dashes(stage: SandboxStage) -> None:
    got = await stage.ask("GET", f"blocks/{LONG.replace('-', '')}")
    assert got["id"] == LONG
    assert got["child_page"] == {"title": "Long page"}


async def test_a_block_s_text_is_replaced_whole_and_the_rest_kept(stage: SandboxStage) -> None:
    (made,) = await stage.append(PAGE, {"to_do": {"rich_text": rich("a"), "checked": True}})
    got = await stage.ask("PATCH", f"blocks/{made['id']}", {"to_do": {"rich_text": rich("b")}})
    assert text_of(got) == "b"
    assert got["to_do"]["checked"] is True


async def test_a_block_s_type_cannot_change(stage: SandboxStage) -> None:
    (made,) = await stage.append(PAGE, paragraph("a"))
    body = {"heading_1": {"rich_text": rich("b")}}
    _, _, said = await stage.refused("PATCH", f"blocks/{made['id']}", body)
    assert said == "Expected block type paragraph in request body"


async def test_the_trash_and_back(stage: SandboxStage) -> None:
    (made,) = await stage.append(PAGE, nested("toggle", "a", paragraph("b")))
    path = f"blocks/{made['id']}"
    assert (await stage.ask("DELETE", path))["in_trash"] is True
    assert (await stage.ask("GET", path))["in_trash"] is True
    assert await stage.texts(PAGE) == []
    assert (await stage.refused("GET", f"{path}/children"))[0] == 404
    assert (await stage.refused("DELETE", path))[2].startswith("Can't edit block that is archived")
    assert (await stage.ask("PATCH", path, {"in_trash": False}))["in_trash"] is False
    assert await stage.texts(PAGE) == ["a"]


async def test_archived_belongs_to_the_old_version(stage: SandboxStage, old: SandboxStage) -> None:
    (made,) = await old.append(PAGE, paragraph("a"))
    got = await old.ask("PATCH", f"blocks/{made['id']}", {"archived": True})
    assert got["archived"] is got["in_trash"] is True
    _, _, said = await stage.refused("PATCH", f"blocks/{LONG}", {"archived": True})
    assert said == (
        "body failed validation: body.archived should be not present, instead was `true`."
    )


async def test_meeting_notes_were_called_transcription(
    stage: SandboxStage, old: SandboxStage
) -> None:
    page = seed.page_id("layouts")
    assert (await stage.listing(page))["results"][-1]["type"] == "meeting_notes"
    assert (await old.listing(page))["results"][-1]["type"] == "transcription"


async def test_a_synced_copy_lists_its_original_s_children(stage: SandboxStage) -> None:
    blocks = (await stage.listing(seed.page_id("layouts")))["results"]
    original, copy = (block for block in blocks if block["type"] == "synced_block")
    assert copy["has_children"] is True
    assert await stage.texts(copy["id"]) == await stage.texts(original["id"])


async def test_a_trashed_page_answers_itself_but_not_its_children(stage: SandboxStage) -> None:
    await stage.ask("PATCH", f"pages/{PAGE}", {"in_trash": True})
    page = await stage.ask("GET", f"pages/{PAGE}")
    assert page["in_trash"] is True
    assert page["is_archived"] is False
    assert "archived" not in page
    assert (await stage.refused("GET", f"blocks/{PAGE}/children"))[0] == 404


async def test_an_absent_block_is_404_in_notions_words(stage: SandboxStage) -> None:
    assert await stage.refused("GET", f"blocks/{MISSING}") == (
        404,
        "object_not_found",
        f"Could not find block with ID: {MISSING}. Make sure the relevant pages and databases are "
        'shared with your integration "Clipper (sandbox)".',
    )


async def test_times_are_rounded_down_to_the_minute_and_move_with_edits(
    stage: SandboxStage,
) -> None:
    (made,) = await stage.append(PAGE, nested("toggle", "a"))
    stage.clock.advance(22)  # 59.5 s into the minute
    await stage.append(made["id"], paragraph("in"))
    page = await stage.ask("GET", f"pages/{PAGE}")
    assert page["last_edited_time"] == "2026-10-06T09:32:00.000Z"
    stage.clock.advance(1)
    await stage.append(made["id"], paragraph("in"))
    page = await stage.ask("GET", f"pages/{PAGE}")
    assert page["last_edited_time"] == "2026-10-06T09:33:00.000Z"
    assert page["last_edited_by"]["id"] == stage.bot_id


async def test_an_edit_inside_a_child_page_leaves_its_parent_s_time(stage: SandboxStage) -> None:
    before = (await stage.ask("GET", f"pages/{seed.HOME}"))["last_edited_time"]
    await stage.append(seed.READING_LIST, paragraph("x"))
    assert (await stage.ask("GET", f"pages/{seed.HOME}"))["last_edited_time"] == before
