"""PATCH /blocks/{id}/children against its documentation."""

from __future__ import annotations

import asyncio

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

PAGE = seed.EMPTY_PAGE
AFTER = {"type": "after_block"}


async def three(stage: SandboxStage) -> list[str]:
    made = await stage.append(PAGE, paragraph("a"), paragraph("b"), paragraph("c"))
    return [block["id"] for block in made]


async def test_blocks_go_to_the_end_in_order_and_only_they_are_answered(
    stage: SandboxStage,
) -> None:
    await three(stage)
    made = await stage.append(PAGE, paragraph("d"), paragraph("e"))
    assert [text_of(block) for block in made] == ["d", "e"]
    assert await stage.texts(PAGE) == ["a", "b", "c", "d", "e"]


async def test_a_created_block_has_the_documented_shape(stage: SandboxStage) -> None:
    (made,) = await stage.append(PAGE, paragraph("hi"))
    assert made["parent"] == {"type": "page_id", "page_id": PAGE}
    assert made["created_by"] == {"object": "user", "id": stage.bot_id}
    assert made["created_time"] == made["last_edited_time"] == "2026-10-06T09:32:00.000Z"
    assert made["has_children"] is made["in_trash"] is False
    assert "archived" not in made
    assert made["paragraph"] == {
        "color": "default",
        "icon": None,
        "rich_text": [
            {
                "type": "text",
                "text": {"content": "hi", "link": None},
                "annotations": {
                    "bold": False,
                    "italic": False,
                    "strikethrough": False,
                    "underline": False,
                    "code": False,
                    "color": "default",
                },
                "plain_text": "hi",
                "href": None,
            }
        ],
    }


async def test_after_block_and_start_answer_the_later_siblings_too(stage: SandboxStage) -> None:
    a, _, _ = await three(stage)
    made = await stage.append(PAGE, paragraph("x"), position={**AFTER, "after_block": {"id": a}})
    assert [text_of(block) for block in made] == ["x", "b", "c"]
    made = await stage.append(PAGE, paragraph("y"), position={"type": "start"})
    assert [text_of(block) for block in made] == ["y", "a", "x", "b", "c"]
    assert await stage.texts(PAGE) == ["y", "a", "x", "b", "c"]


async def test_the_answer_stops_at_a_hundred_with_the_created_ones_first(
    stage: SandboxStage,
) -> None:
    path = f"blocks/{seed.LONG_PAGE}/children"
    body = {"children": [paragraph("x")], "position": {"type": "start"}}
    got = await stage.ask("PATCH", path, body)
    assert len(got["results"]) == 100
    assert got["has_more"] is True
    assert text_of(got["results"][0]) == "x"


async def test_the_old_version_takes_after_and_the_new_one_refuses_it(
    stage: SandboxStage, old: SandboxStage
) -> None:
    a, _, _ = await three(old)
    made = await old.append(PAGE, paragraph("x"), after=a)
    assert [text_of(block) for block in made] == ["x", "b", "c"]
    assert made[0]["archived"] is False
    body = {"children": [paragraph("x")], "after": a}
    status, code, message = await stage.refused("PATCH", f"blocks/{PAGE}/children", body)
    assert (status, code) == (400, "validation_error")
    assert message.startswith("body failed validation: body.after should be not present")


async def test_after_and_position_together_are_refused(old: SandboxStage) -> None:
    a, _, _ = await three(old)
    body = {"children": [paragraph("x")], "after": a, "position": {"type": "end"}}
    assert (await old.refused("PATCH", f"blocks/{PAGE}/children", body))[0] == 400


@pytest.mark.parametrize("lost", ["deleted", "the page itself", "a grandchild", "never there"])
async def test_a_lost_anchor_is_named(stage: SandboxStage, lost: str) -> None:
    a, b, _ = await three(stage)
    anchor = {"the page itself": PAGE, "never there": MISSING, "deleted": a}.get(lost)
    if lost == "deleted":
        await stage.ask("DELETE", f"blocks/{a}")
    if anchor is None:
        anchor = (await stage.append(b, paragraph("inner")))[0]["id"]
    body = {"children": [paragraph("x")], "position": {**AFTER, "after_block": {"id": anchor}}}
    assert await stage.refused("PATCH", f"blocks/{PAGE}/children", body) == (
        400,
        "validation_error",
        f"Block ID ({anchor}) to append children after is not parented by ({PAGE})",
    )


async def test_children_nest_two_levels_and_only_the_first_is_answered(stage: SandboxStage) -> None:
    tree = nested("toggle", "1", nested("toggle", "2", paragraph("3")))
    (made,) = await stage.append(PAGE, tree)
    assert made["has_children"] is True
    (second,) = (await stage.listing(made["id"]))["results"]
    assert second["parent"] == {"type": "block_id", "block_id": made["id"]}
    assert await stage.texts(second["id"]) == ["3"]


@pytest.mark.parametrize(
    ("children", "message"),
    [
        (
            [paragraph(str(n)) for n in range(101)],
            "body.children.length should be ≤ `100`, instead was `101`.",
        ),
        (
            [paragraph("x" * 2001)],
            "body.children[0].paragraph.rich_text[0].text.content.length should be ≤ `2000`, "
            "instead was `2001`.",
        ),
        (
            [paragraph("😀" * 1001)],
            "body.children[0].paragraph.rich_text[0].text.content.length should be ≤ `2000`, "
            "instead was `2002`.",
        ),
        ("x", 'body.children should be an array, instead was `"x"`.'),
        (
            [{"paragraph": {"rich_text": rich("a") * 101}}],
            "body.children[0].paragraph.rich_text.length should be ≤ `100`, instead was `101`.",
        ),
        (
            [paragraph("x", colour="red")],
            'body.children[0].paragraph.colour should be not present, instead was `"red"`.',
        ),
        (
            [{"divider": {"children": []}}],
            "body.children[0].divider.children should be not present, instead was `[]`.",
        ),
        (
            [{"equation": {"expression": "x" * 1001}}],
            "body.children[0].equation.expression.length should be ≤ `1000`, instead was `1001`.",
        ),
        (
            [{"bookmark": {"url": "https://e.org/" + "x" * 2000}}],
            "body.children[0].bookmark.url.length should be ≤ `2000`, instead was `2014`.",
        ),
    ],
)
async def test_limits_are_refused_in_notions_words(
    stage: SandboxStage, children: object, message: str
) -> None:
    status, code, said = await stage.refused(
        "PATCH", f"blocks/{PAGE}/children", {"children": children}
    )
    assert (status, code, said) == (400, "validation_error", f"body failed validation: {message}")
    assert await stage.texts(PAGE) == []


async def test_a_third_level_is_refused_with_the_place_and_a_cut_quotation(
    stage: SandboxStage,
) -> None:
    item = nested("bulleted_list_item", "4")
    for text in ("3", "2", "1"):
        item = nested("bulleted_list_item", text, item)
    _, _, said = await stage.refused("PATCH", f"blocks/{PAGE}/children", {"children": [item]})
    place = "body.children[0]" + ".bulleted_list_item.children[0]" * 2
    assert f"{place}.bulleted_list_item.children should be not present, instead was `[{{" in said
    assert said.endswith("...`.")


async def test_an_unknown_type_lists_the_alternatives(stage: SandboxStage) -> None:
    body = {"children": [paragraph("ok"), {"child_page": {"title": "x"}}]}
    _, _, said = await stage.refused("PATCH", f"blocks/{PAGE}/children", body)
    assert said.startswith("body failed validation. Fix one:\nbody.children[1].embed should be def")
    assert "body.children[1].paragraph should be defined, instead was `undefined`." in said


async def test_a_thousand_blocks_pass_and_one_more_is_refused(stage: SandboxStage) -> None:
    tens = [nested("toggle", "t", *[paragraph("x")] * 9) for _ in range(100)]
    assert len(await stage.append(PAGE, *tens)) == 100
    tens[0] = nested("toggle", "t", *[paragraph("x")] * 10)
    body = {"children": tens}
    assert (await stage.refused("PATCH", f"blocks/{PAGE}/children", body))[0] == 400


async def test_a_body_over_500_kb_is_refused(stage: SandboxStage) -> None:
    body = {"children": [{"paragraph": {"rich_text": rich("x" * 2000) * 3}} for _ in range(90)]}
    status, code, said = await stage.refused("PATCH", f"blocks/{PAGE}/children", body)
    assert (status, code) == (400, "validation_error")
    assert "should be ≤ `500000`" in said


async def test_missing_children_and_bad_ids_are_named(stage: SandboxStage) -> None:
    _, _, said = await stage.refused("PATCH", f"blocks/{PAGE}/children", {})
    assert said == (
        "body failed validation: body.children should be defined, instead was `undefined`."
    )
    _, _, said = await stage.refused("PATCH", "blocks/not-an-id/children", {"children": []})
    assert said == (
        'path failed validation: path.block_id should be a valid uuid, instead was `"not-an-id"`.'
    )


async def test_trashed_parents_are_refused(stage: SandboxStage) -> None:
    (toggle,) = await stage.append(PAGE, nested("toggle", "t"))
    await stage.ask("DELETE", f"blocks/{PAGE}")
    for parent in (PAGE, toggle["id"]):
        body = {"children": [paragraph("x")]}
        _, _, said = await stage.refused("PATCH", f"blocks/{parent}/children", body)
        assert said.startswith("Can't edit block that is archived.")


async def test_absent_and_unshared_parents_look_the_same(stage: SandboxStage) -> None:
    await stage.control("POST", "share", {"page_id": PAGE, "shared": False})
    for parent in (PAGE, MISSING):
        status, code, said = await stage.refused(
            "PATCH", f"blocks/{parent}/children", {"children": []}
        )
        assert (status, code) == (404, "object_not_found")
        assert said.startswith(f"Could not find block with ID: {parent}. Make sure")


async def test_what_cannot_hold_children_says_so(stage: SandboxStage) -> None:
    plain = {"heading_2": {"rich_text": rich("h")}}
    made = await stage.append(PAGE, {"divider": {}}, plain)
    for parent in (made[0]["id"], made[1]["id"], seed.DATABASE):
        body = {"children": [paragraph("x")]}
        _, _, said = await stage.refused("PATCH", f"blocks/{parent}/children", body)
        assert said == "Block does not support children"


async def test_a_toggleable_heading_takes_children_at_once_and_later(stage: SandboxStage) -> None:
    heading = {"heading_4": {"rich_text": rich("h"), "is_toggleable": True, "children": []}}
    heading["heading_4"]["children"] = [paragraph("in")]
    (made,) = await stage.append(PAGE, heading)
    await stage.append(made["id"], paragraph("more"))
    assert await stage.texts(made["id"]) == ["in", "more"]


async def test_tables_need_rows_of_their_width(stage: SandboxStage) -> None:
    def table(*rows: int) -> dict[str, object]:
        cells = [{"table_row": {"cells": [rich("c")] * n}} for n in rows]
        return {"table": {"table_width": 2, "children": cells}}

    (made,) = await stage.append(PAGE, table(2, 2))
    await stage.append(made["id"], {"table_row": {"cells": [[], []]}})
    for wrong in (table(), table(2, 3)):
        assert (await stage.refused("PATCH", f"blocks/{PAGE}/children", {"children": [wrong]}))[
            0
        ] == 400
    for parent, child in ((made["id"], paragraph("x")), (PAGE, {"table_row": {"cells": []}})):
        assert (await stage.refused("PATCH", f"blocks/{parent}/children", {"children": [child]}))[
            0
        ] == 400


async def test_columns_stand_at_the_top_of_a_request_and_reach_one_level_deeper(
    stage: SandboxStage,
) -> None:
    column = {"column": {"children": [nested("toggle", "t", paragraph("deep"))]}}
    columns = {"column_list": {"children": [column, column]}}
    (made,) = await stage.append(PAGE, columns)
    assert len((await stage.listing(made["id"]))["results"]) == 2
    for wrong in ({"column_list": {"children": [column]}}, nested("toggle", "t", columns), column):
        body = {"children": [wrong]}
        assert (await stage.refused("PATCH", f"blocks/{PAGE}/children", body))[0] == 400


async def test_neighbouring_runs_of_one_style_become_one_and_web_roots_get_their_slash(
    stage: SandboxStage,
) -> None:
    link = {"text": {"content": "!", "link": {"url": "https://e.org"}}}
    block = {"paragraph": {"rich_text": [*rich("a"), *rich(""), *rich("b"), link]}}
    (made,) = await stage.append(PAGE, block)
    runs = made["paragraph"]["rich_text"]
    assert [run["plain_text"] for run in runs] == ["ab", "!"]
    assert runs[1]["href"] == "https://e.org/"


async def test_simultaneous_appends_all_arrive_once(stage: SandboxStage) -> None:
    await asyncio.gather(*(stage.append(PAGE, paragraph(str(n))) for n in range(30)))
    assert sorted(map(int, await stage.texts(PAGE))) == list(range(30))
