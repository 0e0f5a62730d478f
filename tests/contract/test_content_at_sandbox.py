"""The sandbox Notion accepts the converter's blocks, and the daemon recognises them there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipperd.content import chunks, convert, fingerprint
from clipperd.content.trees import children_of
from clipperd.model import Block
from cloud_broker.sandbox.model import Draft, Page, Parent
from cloud_broker.sandbox.shapes.blocks import read_children
from cloud_broker.sandbox.shapes.rich_text import Reading
from tests.bench.bench_content import HARD, document

READING = Reading(name_of=lambda kind, _: kind, upload=lambda _path, _id: None)


def a_page() -> Page:
    return Page(
        id="p",
        workspace_id="w",
        parent=Parent("workspace", ""),
        created_at=0.0,
        edited_at=0.0,
        created_by="u",
        edited_by="u",
        properties={},
    )


def taken(source: str) -> None:
    """Assert that every first-level request is accepted and each block known again."""
    blocks = convert.prepare({"format": "markdown", "markdown": source}).blocks
    for chunk in chunks.plan(blocks).chunks:
        if all(b["type"] != "table_row" for b in chunk.blocks):
            known(chunk.blocks, read_children(chunk.blocks, "body.children", a_page(), READING))


def known(sent: list[Block], drafts: list[Draft] | tuple[Draft, ...]) -> None:
    pairs = list(zip(sent, drafts, strict=True))
    while pairs:
        block, draft = pairs.pop()
        answered = {
            "type": draft.type,
            draft.type: draft.body,
            "has_children": bool(draft.children),
        }
        assert fingerprint.of(block) == fingerprint.of(answered)
        pairs += zip(children_of(block), draft.children, strict=True)


def test_a_document_of_every_kind_of_block_is_taken() -> None:
    extra = "\n\n> [!TIP]\n> x\n\n$$a$$\n\n[^1]\n\n[^1]: n\n\n![i](https://a.example) <b>x</b>\n\n"
    taken(
        document(20_000) + extra + "<details>\n\nin\n\n</details>\n\n###### h\n\n---\n\n```js\n```"
    )


@pytest.mark.parametrize("name", sorted(HARD))
def test_hard_input_is_taken(name: str) -> None:
    taken(HARD[name][: len(HARD[name]) // 20] + "\n\nend")


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab \n\t*_`~[]()<>!#-+|$^:&;\\\"'1.0=/😀"), max_size=200))
def test_any_markdown_is_taken(source: str) -> None:
    taken("start\n\n" + source)


RUN = {"type": "text", "text": {"content": "x", "link": {"url": "https://a.example"}}}
TEXT = {"rich_text": [RUN, RUN], "color": "red"}
ID = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "callout", "callout": {**TEXT, "icon": {"type": "emoji", "emoji": "💡"}}},
        {"type": "heading_4", "heading_4": {**TEXT, "is_toggleable": True}},
        {"type": "to_do", "to_do": {**TEXT, "checked": True}},
        {"type": "embed", "embed": {"url": "https://a.example", "caption": [RUN]}},
        {"type": "file", "file": {"external": {"url": "https://a.example/f"}, "name": "f" * 150}},
        {"type": "pdf", "pdf": {"file_upload": {"id": ID}}},
        {"type": "link_to_page", "link_to_page": {"page_id": ID}},
        {"type": "synced_block", "synced_block": {"synced_from": None}},
        {"type": "table_of_contents", "table_of_contents": {"color": "gray"}},
        {"type": "breadcrumb", "breadcrumb": {}},
        {"type": "template", "template": {"rich_text": [RUN]}},
        {"type": "numbered_list_item", "numbered_list_item": {**TEXT, "list_start_index": 3}},
        {
            "type": "paragraph",
            "paragraph": {
                "rich_text": [
                    {"type": "mention", "mention": {"page": {"id": ID}}},
                    {"type": "mention", "mention": {"date": {"start": "2026-01-01"}}},
                    {"type": "equation", "equation": {"expression": "x"}},
                ]
            },
        },
        {
            "type": "tab",
            "tab": {"children": [{"type": "paragraph", "paragraph": TEXT}]},
        },
    ],
    ids=lambda block: block["type"],
)
def test_checked_blocks_are_taken(block: Block) -> None:
    blocks = convert.prepare({"format": "blocks", "blocks": [block]}).blocks
    known(blocks, read_children(blocks, "body.children", a_page(), READING))
