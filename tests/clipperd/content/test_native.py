from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipperd.content import chunks, convert
from clipperd.errors import ContentInvalid
from tests.clipperd.content.notion_model import columns, paragraph, table

ID = "0123456789abcdef0123456789abcdef"


def prepared(*blocks: Any) -> convert.Prepared:
    return convert.prepare({"format": "blocks", "blocks": list(blocks)})


def run(text: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": {"content": text, **more}}


def refused(*blocks: Any) -> tuple[str, str]:
    with pytest.raises(ContentInvalid) as caught:
        prepared(*blocks)
    (error,) = caught.value.errors
    return error["pointer"], error["code"]


def test_what_a_response_holds_is_reduced_to_a_request() -> None:
    echo = {
        "object": "block", "id": ID, "created_time": "2026-11-22T10:00:00.000Z",
        "last_edited_time": "2026-11-22T10:00:00.000Z", "created_by": {"object": "user", "id": ID},
        "last_edited_by": {"object": "user", "id": ID}, "has_children": False, "in_trash": False,
        "archived": False, "parent": {"type": "page_id", "page_id": ID}, "type": "paragraph",
        "paragraph": {
            "color": "default", "icon": None,
            "rich_text": [{
                "type": "text", "text": {"content": "hi", "link": None}, "plain_text": "hi",
                "href": None, "annotations": {"bold": True, "italic": False, "color": "default"},
            }],
        },
    }  # fmt: skip
    assert prepared(echo).blocks == [
        {
            "type": "paragraph",
            "paragraph": {
                "color": "default",
                "rich_text": [{**run("hi"), "annotations": {"bold": True}}],
            },
        }
    ]


def test_children_may_stand_inside_or_beside_the_type_object() -> None:
    beside = {**paragraph("a"), "children": [paragraph("b")]}
    assert prepared(beside).blocks == [paragraph("a", paragraph("b"))]
    assert refused({**paragraph("a", paragraph("b")), "children": [paragraph()]}) == (
        "/content/blocks/0/children", "children_twice",
    )  # fmt: skip


def media(kind: str, **body: Any) -> dict[str, Any]:
    return {"type": kind, kind: body}


@pytest.mark.parametrize(
    ("block", "pointer", "code"),
    [
        ("text", "", "not_an_object"),
        ({}, "", "type_missing"),
        ({"type": "heading_5", "heading_5": {}}, "/type", "unknown_type"),
        ({"type": "child_page", "child_page": {"title": "x"}}, "/type", "not_creatable"),
        ({"type": "paragraph"}, "/paragraph", "not_an_object"),
        ({"paragraph": {}}, "/paragraph/rich_text", "missing"),
        ({"paragraph": {"rich_text": "x"}}, "/paragraph/rich_text", "not_an_array"),
        ({"paragraph": {"rich_text": [{}]}}, "/paragraph/rich_text/0", "run_type"),
        (
            {"paragraph": {"rich_text": [{"text": {"content": 1}}]}},
            "/paragraph/rich_text/0/text/content", "not_a_string",
        ),
        ({"paragraph": {"rich_text": [], "colour": "red"}}, "/paragraph/colour", "unknown_key"),
        ({"paragraph": {"rich_text": [], "color": "teal"}}, "/paragraph/color", "unknown_color"),
        ({**paragraph(), "a/b": 1}, "/a~1b", "unknown_key"),
        (media("to_do", rich_text=[], checked="yes"), "/to_do/checked", "not_a_boolean"),
        (media("image", external={"url": "x.png"}), "/image/external/url", "invalid_url"),
        (media("image", file={"url": "https://x.example"}), "/image/file", "notion_hosted_file"),
        (media("image"), "/image", "missing"),
        (media("bookmark", url="ftp://x"), "/bookmark/url", "invalid_url"),
        (media("equation"), "/equation/expression", "missing"),
        (media("table", table_width=0, children=[]), "/table/table_width", "table_width"),
        (media("table", table_width=2), "/table/children", "children_missing"),
        (media("table", table_width=1, children=[paragraph()]), "/table/children/0", "misplaced"),
        (media("table_row", cells=[]), "", "misplaced"),
        (columns([paragraph()]), "/column_list/children", "children_missing"),
        (
            columns([columns([paragraph()], [paragraph()])], [paragraph()]),
            "/column_list/children/0/column/children/0", "misplaced",
        ),
        (media("link_to_page", page_id="x"), "/link_to_page/page_id", "not_an_id"),
        (
            media("divider", children=[paragraph()]), "/divider/children", "children_not_allowed",
        ),
        (
            media("heading_1", rich_text=[], children=[paragraph()]),
            "/heading_1/children", "children_not_allowed",
        ),
    ],
)  # fmt: skip
def test_what_notion_would_refuse_is_refused_with_its_place(
    block: Any, pointer: str, code: str
) -> None:
    assert refused(paragraph(), block) == (f"/content/blocks/1{pointer}", code)


def test_a_row_of_another_width_than_its_table_is_refused() -> None:
    wrong = table(2)
    wrong["table"]["table_width"] = 3
    where = "/content/blocks/0/table/children/0/table_row/cells"
    assert refused(wrong) == (where, "cell_count")


def test_absurd_depth_is_refused() -> None:
    block = paragraph()
    for _ in range(250):
        block = paragraph("x", block)
    pointer, code = refused(block)
    assert code == "too_deep"
    assert pointer.startswith("/content/blocks/0/paragraph/children/0")


def test_a_bad_link_is_dropped_and_reported_but_its_text_stays() -> None:
    result = prepared(paragraph(), media("quote", rich_text=[run("see", link={"url": "/rel"})]))
    assert result.blocks[1]["quote"]["rich_text"] == [run("see")]
    assert [loss.kind for loss in result.losses] == ["link_dropped"]


def test_long_text_goes_on_in_a_sibling_of_the_same_type() -> None:
    kids = [paragraph("kid")]
    runs = [{**run(str(i)), "annotations": {"bold": i % 2 == 0}} for i in range(250)]
    blocks = prepared(media("to_do", rich_text=runs, checked=True, children=kids)).blocks
    assert [b["type"] for b in blocks] == ["to_do"] * 3
    assert all(b["to_do"]["checked"] for b in blocks)
    assert ["children" in b["to_do"] for b in blocks] == [False, False, True]
    assert "".join(
        r["text"]["content"] for b in blocks for r in b["to_do"]["rich_text"]
    ) == "".join(str(i) for i in range(250))


def test_a_cell_that_is_too_long_goes_on_in_another_row() -> None:
    runs = [{**run(str(i)), "annotations": {"bold": i % 2 == 0}} for i in range(150)]
    row = media("table_row", cells=[runs, [run("b")]])
    (block,) = prepared(media("table", table_width=2, children=[row])).blocks
    rows = [r["table_row"]["cells"] for r in block["table"]["children"]]
    assert [len(r[0]) for r in rows] == [100, 50]
    assert [len(r[1]) for r in rows] == [1, 0]


def test_a_long_equation_becomes_code_and_is_reported() -> None:
    result = prepared(media("equation", expression="x" * 1001))
    assert result.blocks[0]["code"]["language"] == "latex"
    assert [loss.kind for loss in result.losses] == ["equation_too_long"]


def test_a_language_alias_is_translated_and_an_unknown_one_reported() -> None:
    result = prepared(
        media("code", rich_text=[run()], language="py"), media("code", rich_text=[], language="zz")
    )
    assert [b["code"]["language"] for b in result.blocks] == ["python", "plain text"]
    assert [loss.kind for loss in result.losses] == ["code_language"]


def test_a_synced_original_keeps_its_null() -> None:
    block = media("synced_block", synced_from=None, children=[paragraph()])
    assert prepared(block).blocks == [block]


def test_mentions_are_reduced_to_their_ids_and_unknown_kinds_to_text() -> None:
    user = {"type": "mention", "mention": {"type": "user", "user": {"id": ID, "name": "A"}}}
    link = {
        "type": "mention", "plain_text": "Page", "href": "https://a.example/",
        "mention": {"type": "link_preview", "link_preview": {"url": "https://a.example/"}},
    }  # fmt: skip
    result = prepared({"paragraph": {"rich_text": [user, link]}})
    dashed = "01234567-89ab-cdef-0123-456789abcdef"
    assert result.blocks[0]["paragraph"]["rich_text"] == [
        {"type": "mention", "mention": {"type": "user", "user": {"id": dashed}}},
        run("Page", link={"url": "https://a.example/"}),
    ]
    assert [loss.kind for loss in result.losses] == ["mention_as_text"]


def test_headings_and_types_are_never_changed_and_not_demotable() -> None:
    result = prepared(media("heading_1", rich_text=[run("T")]))
    assert result.blocks[0]["type"] == "heading_1"
    assert not result.demotable


NAMES = [
    "type",
    "paragraph",
    "rich_text",
    "text",
    "content",
    "link",
    "url",
    "mention",
    "user",
    "id",
    "annotations",
    "color",
    "bold",
    "children",
    "table",
    "table_width",
    "table_row",
    "cells",
    "icon",
    "emoji",
    "callout",
    "image",
    "external",
    "caption",
    "equation",
    "expression",
    "date",
    "code",
    "template_mention",
    "synced_block",
    "synced_from",
    "column_list",
    "column",
    "language",
    "href",
]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 3),
    st.sampled_from(["x", "default", "text", ID, *NAMES]),
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(anything, max_size=3))
def test_any_json_is_either_blocks_or_refused_with_a_place(value: list[Any]) -> None:
    try:
        blocks = convert.prepare({"format": "blocks", "blocks": value}).blocks
    except ContentInvalid as error:
        place = error.errors[0]["pointer"]
    else:
        place = "/content" if chunks.plan(blocks).chunks else "nowhere"
    assert place.startswith("/content")


mutations = st.lists(st.tuples(st.integers(0, 30), anything), min_size=1, max_size=2)


@settings(max_examples=300, deadline=None)
@given(mutations)
def test_a_damaged_block_is_either_mended_or_refused(changes: list[tuple[int, Any]]) -> None:
    blocks = json.loads(json.dumps(GOOD))
    for where, value in changes:
        places = list(spots(blocks))
        holder, key = places[where % len(places)]
        holder[key] = value
    try:
        made = convert.prepare({"format": "blocks", "blocks": blocks}).blocks
    except ContentInvalid:
        return
    assert chunks.plan(made).chunks


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from spots(inner)


GOOD: list[Any] = [
    {
        "type": "callout",
        "callout": {
            "icon": {"type": "emoji", "emoji": "💡"},
            "rich_text": [
                run("a", link={"url": "https://a.example/"}),
                {"type": "mention", "mention": {"type": "date", "date": {"start": "2026-01-01"}}},
                {
                    "type": "equation",
                    "equation": {"expression": "x"},
                    "annotations": {"bold": True},
                },
            ],
            "children": [table(1)],
        },
    },
]
