from __future__ import annotations

import copy

from clipperd.content.headings import demote
from clipperd.model import Block
from tests.clipperd.content.notion_model import item, paragraph


def heading(level: int, text: str = "h", *children: Block) -> Block:
    kind = f"heading_{level}"
    body = {**paragraph(text, *children)["paragraph"]}
    if children:
        body["is_toggleable"] = True
    return {"type": kind, kind: body}


def types(blocks: list[Block]) -> list[str]:
    return [b["type"] for b in blocks]


def test_outside_a_section_headings_stay() -> None:
    blocks = [heading(1), heading(2)]
    assert demote(blocks, 0) == blocks


def test_headings_move_below_the_section_and_keep_their_distance() -> None:
    assert types(demote([heading(1), paragraph(), heading(2)], 1)) == [
        "heading_2", "paragraph", "heading_3",
    ]  # fmt: skip


def test_headings_that_are_deep_enough_stay() -> None:
    blocks = [heading(3), heading(4)]
    assert demote(blocks, 2) == blocks


def test_headings_stop_at_level_four() -> None:
    assert types(demote([heading(1), heading(2), heading(4)], 3)) == ["heading_4"] * 3


def test_inside_a_section_of_level_four_they_become_bold_paragraphs() -> None:
    """There is no heading below level 4, and one of level 4 would end the section."""
    (block,) = demote([heading(1, "title", paragraph("child"))], 4)
    assert block["type"] == "paragraph"
    assert block["paragraph"]["rich_text"][0]["annotations"] == {"bold": True}
    assert block["paragraph"]["children"] == [paragraph("child")]
    assert "is_toggleable" not in block["paragraph"]


def test_headings_inside_other_blocks_move_along_but_do_not_ask_for_it() -> None:
    (moved, _) = demote([item("i", heading(1)), heading(2)], 2)
    assert moved["bulleted_list_item"]["children"][0]["type"] == "heading_2"
    nested = [item("i", heading(1))]
    assert demote(nested, 2) == nested


def test_toggle_headings_keep_their_children_and_the_input_is_untouched() -> None:
    blocks = [heading(1, "h", heading(2, "inner"), paragraph("x"))]
    before = copy.deepcopy(blocks)
    (moved,) = demote(blocks, 1)
    assert types(moved["heading_2"]["children"]) == ["heading_3", "paragraph"]
    assert blocks == before
