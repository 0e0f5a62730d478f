from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from clipperd.content import chunks, convert
from clipperd.content.convert import shown
from clipperd.content.trees import walk
from clipperd.errors import ContentInvalid, FormatUnsupported
from tests.bench.bench_content import HARD
from tests.clipperd.content.notion_model import paragraph, replay, tree


def refused(content: Any) -> tuple[str, str]:
    with pytest.raises(ContentInvalid) as caught:
        convert.prepare(content)
    (error,) = caught.value.errors
    return error["pointer"], error["code"]


def test_text_is_literal_and_blank_lines_separate_paragraphs() -> None:
    prepared = convert.prepare({"format": "text", "text": "# no *md*\n  1.\titem\r\n\r\n \nnext"})
    assert [shown(b) for b in prepared.blocks] == ["# no *md*\n  1.\titem", "next"]
    assert {b["type"] for b in prepared.blocks} == {"paragraph"}
    assert prepared.title == "# no *md*"


def test_a_url_is_a_bookmark_with_its_title_as_caption() -> None:
    prepared = convert.prepare({"format": "url", "url": " https://a.example/x ", "title": "T"})
    assert prepared.blocks == [
        {
            "type": "bookmark",
            "bookmark": {
                "url": "https://a.example/x",
                "caption": [{"type": "text", "text": {"content": "T"}}],
            },
        }
    ]
    assert prepared.title == "T"


def test_a_url_too_long_for_a_bookmark_stays_as_text() -> None:
    url = "https://a.example/" + "x" * 3000
    prepared = convert.prepare({"format": "url", "url": url})
    assert "".join(shown(b) for b in prepared.blocks) == url
    assert [loss.kind for loss in prepared.losses] == ["link_dropped"]


def test_an_array_is_one_clip_in_its_order() -> None:
    prepared = convert.prepare(
        [
            {"format": "text", "text": "first"},
            {"format": "markdown", "markdown": "# Second"},
            {"format": "url", "url": "https://a.example/"},
        ]
    )
    assert [b["type"] for b in prepared.blocks] == ["paragraph", "heading_1", "bookmark"]
    assert (prepared.format, prepared.title) == ("mixed", "Second")
    assert prepared.preview == "first Second https://a.example/"


def test_title_and_preview_are_short() -> None:
    prepared = convert.prepare({"format": "text", "text": "word " * 500})
    assert len(prepared.title) <= 100
    assert len(prepared.preview) <= 200


@pytest.mark.parametrize(
    ("content", "demotable"),
    [
        ({"format": "markdown", "markdown": "# x"}, True),
        ({"format": "markdown", "markdown": "# x", "headings": "keep"}, False),
        ({"format": "blocks", "blocks": [paragraph()], "headings": "demote"}, False),
        ([{"format": "text", "text": "x"}, {"format": "blocks", "blocks": [paragraph()]}], False),
    ],
)  # fmt: skip
def test_headings_may_move_unless_kept_or_given_as_blocks(content: Any, demotable: bool) -> None:
    assert convert.prepare(content).demotable is demotable


@pytest.mark.parametrize(
    ("content", "pointer", "code"),
    [
        ({}, "/content/format", "format_missing"),
        ({"format": "docx"}, "/content/format", "format_unknown"),
        ({"format": "markdown"}, "/content/markdown", "not_a_string"),
        ({"format": "markdown", "markdown": " \n"}, "/content", "empty"),
        ({"format": "markdown", "markdown": "x", "text": "y"}, "/content/text", "unknown_key"),
        ({"format": "text", "text": "x", "headings": 1}, "/content/headings", "invalid"),
        ({"format": "url", "url": "javascript:x"}, "/content/url", "invalid_url"),
        ({"format": "blocks", "blocks": {}}, "/content/blocks", "not_an_array"),
        ([], "/content", "empty"),
        (["x"], "/content/0", "not_an_object"),
        (
            [{"format": "text", "text": "x"}, {"format": "blocks", "blocks": [{"type": "x"}]}],
            "/content/1/blocks/0/type", "unknown_type",
        ),
    ],
)  # fmt: skip
def test_invalid_content_is_refused_with_its_place(content: Any, pointer: str, code: str) -> None:
    assert refused(content) == (pointer, code)


@pytest.mark.parametrize("kind", ["html", "image", "file", "clipboard"])
def test_formats_of_later_versions_are_refused_clearly(kind: str) -> None:
    with pytest.raises(FormatUnsupported) as caught:
        convert.prepare({"format": kind})
    assert caught.value.params == {"format": kind}


def test_no_error_repeats_the_text_of_the_clip() -> None:
    with pytest.raises(ContentInvalid) as caught:
        convert.prepare({"format": "blocks", "blocks": [{"paragraph": {"rich_text": "canary"}}]})
    assert "canary" not in str(caught.value) + str(caught.value.errors)


def test_nul_and_lone_surrogates_do_not_reach_the_blocks() -> None:
    for content in (
        {"format": "text", "text": "a\x00b\ud800"},
        {"format": "markdown", "markdown": "a\x00b\ud800"},
    ):
        assert shown(convert.prepare(content).blocks[0]) == "ab\ufffd"


@pytest.mark.parametrize("name", sorted(HARD))
def test_hard_input_becomes_legal_requests(name: str) -> None:
    """A tenth of the benchmark's inputs shows a quadratic step or a lost tail."""
    source = HARD[name]
    tenth = source[: len(source) // 10] + "\n\nthe end"
    blocks = convert.prepare({"format": "markdown", "markdown": tenth}).blocks
    assert "the end" in "\n".join(shown(b) for b in walk(blocks)).replace("\n", " ")
    assert [s.tree() for s in replay(chunks.plan(blocks).chunks).blocks] == tree(blocks)


def test_five_thousand_levels_of_quotes_and_lists_keep_their_text() -> None:
    source = "> " * 5000 + "quoted\n\n" + "- " * 5000 + "listed"
    prepared = convert.prepare({"format": "markdown", "markdown": source})
    text = " ".join(shown(b) for b in walk(prepared.blocks))
    assert "quoted" in text
    assert "listed" in text
    assert "nesting" in [loss.kind for loss in prepared.losses]
    assert chunks.encode(prepared.blocks)


def test_importing_the_converter_does_not_load_the_markdown_parser() -> None:
    code = "import sys, clipperd.content.convert; sys.exit('markdown_it' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
