from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipperd.content import convert, fingerprint
from clipperd.content.trees import walk
from clipperd.model import Block
from tests.clipperd.content.notion_model import columns, item, paragraph, table

MARKS = ("bold", "italic", "strikethrough", "underline", "code")


def echo(block: Block) -> Block:
    """Return the block as Notion returns it: defaults added, runs merged, bare hosts slashed."""
    kind = block["type"]
    body = copy.deepcopy({k: v for k, v in block[kind].items() if k != "children"})
    for key in ("rich_text", "caption"):
        if key in body:
            body[key] = echo_runs(body[key])
    if "cells" in body:
        body["cells"] = [echo_runs(cell) for cell in body["cells"]]
    if kind in ("image", "video", "file", "bookmark", "embed", "code"):
        body.setdefault("caption", [])
    if kind.startswith("heading"):
        body.setdefault("is_toggleable", False)
    if "rich_text" in body and kind != "code":
        body.setdefault("color", "default")
    if kind == "callout":
        body.setdefault("icon", {"type": "emoji", "emoji": "💡"})
    if kind == "to_do":
        body.setdefault("checked", False)
    if "url" in body:
        body["url"] = slashed(body["url"])
    return {
        "object": "block",
        "id": "01234567-89ab-cdef-0123-456789abcdef",
        "has_children": bool(block[kind].get("children")),
        "in_trash": False,
        "type": kind,
        kind: body,
    }


def echo_runs(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    for run in runs:
        marks = {**dict.fromkeys(MARKS, False), "color": "default", **run.get("annotations", {})}
        full = {**copy.deepcopy(run), "annotations": marks}
        if run["type"] == "text":
            link = run["text"].get("link")
            full["text"]["link"] = {"url": slashed(link["url"])} if link else None
            full["href"] = slashed(link["url"]) if link else None
            full["plain_text"] = run["text"]["content"]
            if not run["text"]["content"]:
                continue
            if result and alike(result[-1], full):
                result[-1]["text"]["content"] += run["text"]["content"]
                result[-1]["plain_text"] += run["text"]["content"]
                continue
        result.append(full)
    return result


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    same = [one[k] == other[k] for k in ("type", "annotations")]
    return all(same) and bool(one["text"]["link"] == other["text"]["link"])


def slashed(url: str) -> str:
    return url + "/" if url.count("/") == 2 and url.startswith("http") else url


marked = st.dictionaries(st.sampled_from(MARKS), st.booleans(), max_size=3)
urls = st.sampled_from([None, "https://a.example", "https://a.example/x?y", "mailto:a@b.c"])


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    text: dict[str, Any] = {"content": draw(st.text(max_size=5))}
    if url := draw(urls):
        text["link"] = {"url": url}
    return {"type": "text", "text": text, "annotations": draw(marked)}


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    rich = draw(st.lists(runs(), max_size=5))
    kind = draw(
        st.sampled_from(["paragraph", "heading_2", "to_do", "callout", "code", "quote", "toggle"])
    )
    body: dict[str, Any] = {"rich_text": rich}
    if kind == "code":
        body["language"] = "python"
    if kind == "toggle" and draw(st.booleans()):
        body["children"] = [paragraph()]
    return {"type": kind, kind: body}


@settings(max_examples=200, deadline=None)
@given(blocks())
def test_a_request_and_its_echo_have_one_fingerprint(block: Block) -> None:
    assert fingerprint.of(block) == fingerprint.of(echo(block))


def test_everything_that_markdown_makes_is_known_again() -> None:
    source = (
        "# H *e*\n\n> [!TIP] t\n> more\n\n- a\n  - b\n\n|a|b|\n|-|-|\n|1|2|\n\n"
        "![i](https://a.example)\n\n$$x$$\n\n---\n\n- [x] t $y$ [l](https://b.example)\n\n```js\n1\n```\n"
    )
    made = convert.prepare({"format": "markdown", "markdown": source}).blocks
    made += convert.prepare({"format": "url", "url": "https://c.example", "title": "T"}).blocks
    made += [columns([paragraph()], [paragraph()]), item("x", paragraph()), table(2)]
    for block in walk(made):
        assert fingerprint.of(block) == fingerprint.of(echo(block))


def linked(url: str) -> Block:
    text = {"content": "x", "link": {"url": url}}
    return {"type": "paragraph", "paragraph": {"rich_text": [{"type": "text", "text": text}]}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (paragraph("a"), paragraph("b")),
        (paragraph("a"), paragraph("a ")),
        (paragraph("a"), item("a")),
        (paragraph("a"), paragraph("a", paragraph())),
        (linked("https://a.example/x"), linked("https://a.example/y")),
        (linked("https://a.example/x"), paragraph("x")),
        (table(1, width=2), table(1, width=3)),
    ],
)
def test_other_content_has_another_fingerprint(one: Block, other: Block) -> None:
    assert fingerprint.of(one) != fingerprint.of(other)


def test_a_checked_box_is_another_block_than_an_open_one() -> None:
    done = {"type": "to_do", "to_do": {"rich_text": [], "checked": True}}
    open_ = {"type": "to_do", "to_do": {"rich_text": [], "checked": False}}
    assert fingerprint.of(done) != fingerprint.of(open_)


def test_an_uploaded_image_is_known_again_under_notions_own_url() -> None:
    upload = {"type": "file_upload", "file_upload": {"id": "x"}}
    hosted = {"type": "file", "file": {"url": "https://s3.example/x?sig=1"}, "caption": []}
    assert fingerprint.of({"type": "image", "image": upload}) == fingerprint.of(
        {"type": "image", "image": hosted, "has_children": False}
    )
