from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipperd.content import chunks, convert
from clipperd.content.convert import shown
from clipperd.content.trees import children_of, walk
from clipperd.model import Block
from tests.clipperd.content.notion_model import replay, tree


def made(source: str, **more: Any) -> convert.Prepared:
    return convert.prepare({"format": "markdown", "markdown": source, **more})


def outline(blocks: list[Block]) -> list[Any]:
    """Return (type, text, children) of every block, without empty children."""
    return [
        (b["type"], shown(b), *([outline(children_of(b))] if children_of(b) else []))
        for b in blocks
    ]


def of(source: str) -> list[Any]:
    return outline(made(source).blocks)


def losses(source: str) -> list[str]:
    return [loss.kind for loss in made(source).losses]


def test_headings_deeper_than_four_become_four_and_are_reported() -> None:
    assert [b[0] for b in of("# a\n## b\n### c\n#### d\n##### e\n###### f")] == [
        "heading_1", "heading_2", "heading_3", "heading_4", "heading_4", "heading_4",
    ]  # fmt: skip
    assert losses("###### f") == ["heading_level"]
    assert losses("#### d") == []


def test_inline_marks_become_annotations() -> None:
    (block,) = made("**b** *i* ~~s~~ `c` ***bi*** <u>u</u>").blocks
    marks = {
        r["text"]["content"]: set(r["annotations"])
        for r in block["paragraph"]["rich_text"]
        if "annotations" in r
    }
    assert marks == {
        "b": {"bold"}, "i": {"italic"}, "s": {"strikethrough"}, "c": {"code"},
        "bi": {"bold", "italic"}, "u": {"underline"},
    }  # fmt: skip


def test_breaks_hard_ones_stay_lines_and_soft_ones_are_spaces() -> None:
    assert of("a  \nb\\\nc\nd") == [("paragraph", "a\nb\nc d")]


def test_list_items_keep_everything_inside_them() -> None:
    assert of("- a\n\n  second\n\n      code\n  - b\n    1. c\n- ```py\n  x\n  ```\n- # h") == [
        (
            "bulleted_list_item", "a",
            [
                ("paragraph", "second"),
                ("code", "code"),
                ("bulleted_list_item", "b", [("numbered_list_item", "c")]),
            ],
        ),
        ("bulleted_list_item", "", [("code", "x")]),
        ("bulleted_list_item", "", [("heading_1", "h")]),
    ]  # fmt: skip


def test_tasks_are_to_dos_in_any_list() -> None:
    blocks = made("- [ ] a\n- [x] b **c**\n\n1. [X] d\n2. e").blocks
    assert [(b["type"], shown(b), b[b["type"]].get("checked")) for b in blocks] == [
        ("to_do", "a", False), ("to_do", "b c", True), ("to_do", "d", True),
        ("numbered_list_item", "e", None),
    ]  # fmt: skip


def test_a_hundred_nested_lists_are_all_there() -> None:
    source = "\n".join("  " * n + f"- item{n}" for n in range(90))
    prepared = made(source)
    assert [shown(b) for b in walk(prepared.blocks)] == [f"item{n}" for n in range(90)]
    assert prepared.losses == []
    plan = chunks.plan(prepared.blocks).chunks
    assert [s.tree() for s in replay(plan).blocks] == tree(prepared.blocks)


def test_quotes_hold_paragraphs_lists_and_quotes() -> None:
    assert of("> a\n>\n> b\n> - c\n>\n> > d") == [
        (
            "quote", "a",
            [("paragraph", "b"), ("bulleted_list_item", "c"), ("quote", "d")],
        )
    ]  # fmt: skip


def test_alerts_are_callouts_with_their_inline_marks() -> None:
    (block,) = made("> [!WARNING]\n> x **y**\n>\n> z").blocks
    assert outline([block]) == [("callout", "x y", [("paragraph", "z")])]
    assert block["callout"]["icon"]["emoji"] == "⚠️"
    assert of("> [!note] Title\n> text") == [("callout", "Title text")]
    assert of("> [!nonsense] x") == [("quote", "[!nonsense] x")]


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("py", "python"), ("js", "javascript"), ("ts", "typescript"), ("sh", "shell"),
        ("cpp", "c++"), ("cs", "c#"), ("jsx", "javascript"), ("kt", "kotlin"),
        ("ps1", "powershell"), ("golang", "go"), ("", "plain text"), ("Rust", "rust"),
        ("python title=a.py", "python"), ("rust,ignore", "rust"), ("language-yml", "yaml"),
        ("objective-c", "objective-c"), ("visual-basic", "visual basic"),
    ],
)  # fmt: skip
def test_fences_take_notions_name_of_the_language(tag: str, language: str) -> None:
    (block,) = made(f"```{tag}\n  x = 1\n\n```").blocks
    assert block["code"]["language"] == language
    assert shown(block) == "  x = 1\n"


def test_an_unknown_language_is_plain_text_and_reported() -> None:
    assert made("```zzz\nx\n```").blocks[0]["code"]["language"] == "plain text"
    assert losses("```zzz\nx\n```") == ["code_language"]


def test_long_code_is_split_and_never_cut() -> None:
    code = "\n".join(f"line {n} 😀" for n in range(40_000))
    blocks = made(f"```py\n{code}\n```").blocks
    assert len(blocks) > 1
    assert "".join(shown(b) for b in blocks) == code


def test_images_stand_where_they_were() -> None:
    assert of("a ![alt](https://x.example/i.png) b") == [
        ("paragraph", "a"), ("image", "alt"), ("paragraph", "b"),
    ]  # fmt: skip
    assert of("- ![alt](https://x.example/i.png)") == [
        ("bulleted_list_item", "", [("image", "alt")])
    ]
    assert of("# h ![](https://x.example/i.png)") == [("heading_1", "h"), ("image", "")]


def test_a_linked_image_keeps_the_target_of_the_link() -> None:
    (block,) = made("[![alt](https://x.example/i.png)](https://y.example)").blocks
    assert block["image"]["external"]["url"] == "https://x.example/i.png"
    assert block["image"]["caption"][0]["text"]["link"]["url"] == "https://y.example"


def test_images_without_a_web_address_become_their_text() -> None:
    assert of("![alt](i.png) ![](j.png) ![](data:image/png;base64,AAAA)") == [
        ("paragraph", "alt j.png image")
    ]
    assert set(losses("![alt](i.png)")) == {"image_as_text"}
    (block,) = made("![alt](i.png)", base_url="https://x.example/d/").blocks
    assert block["image"]["external"]["url"] == "https://x.example/d/i.png"


def test_an_image_in_a_table_cell_becomes_a_link() -> None:
    (block,) = made("|a|\n|-|\n|![alt](https://x.example/i.png)|").blocks
    cell = children_of(block)[1]["table_row"]["cells"][0]
    assert cell[0]["text"] == {"content": "alt", "link": {"url": "https://x.example/i.png"}}


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///x", "rel/path", "#frag", "ftp://x/"]
)
def test_links_that_notion_refuses_keep_their_text_only(url: str) -> None:
    (block,) = made(f"[text]({url})").blocks
    assert block["paragraph"]["rich_text"] == [{"type": "text", "text": {"content": "text"}}]
    assert losses(f"[text]({url})") == ["link_dropped"]


def test_bare_urls_become_links_without_their_punctuation() -> None:
    (block,) = made("See https://x.example/a_b_(c). Or www.y.example, `https://z.example`.").blocks
    links = [
        (r["text"]["content"], r["text"]["link"]["url"])
        for r in block["paragraph"]["rich_text"]
        if r["text"].get("link")
    ]
    assert links == [
        ("https://x.example/a_b_(c)", "https://x.example/a_b_(c)"),
        ("www.y.example", "http://www.y.example"),
    ]


def test_tables_are_padded_and_wider_rows_kept() -> None:
    (block,) = made("|a|b|\n|-|-|\n|1|\n|1|2|3 *x*|").blocks
    assert block["table"]["table_width"] == 3
    rows = [[shown_cell(c) for c in r["table_row"]["cells"]] for r in children_of(block)]
    assert rows == [["a", "b", ""], ["1", "", ""], ["1", "2", "3 x"]]
    assert block["table"]["has_column_header"]


def shown_cell(runs: list[dict[str, Any]]) -> str:
    return "".join(r["text"]["content"] for r in runs)


def test_money_stays_text_and_math_becomes_equations() -> None:
    assert of("costs $5 and $10") == [("paragraph", "costs $5 and $10")]
    (inline, block, fence) = made("is $x^2$\n\n$$\na+b\n$$\n\n```math\nc\n```").blocks
    assert inline["paragraph"]["rich_text"][1]["equation"]["expression"] == "x^2"
    assert block["equation"]["expression"] == "a+b"
    assert fence["equation"]["expression"] == "c"


def test_footnotes_stand_at_the_end_also_those_never_referred_to() -> None:
    assert of("x[^b] y[^a] z^[inline]\n\n[^a]: first\n\n    more\n[^b]: second\n[^c]: unused") == [
        ("paragraph", "x[1] y[2] z[3]"),
        ("divider", ""),
        ("paragraph", "[1] second"),
        ("paragraph", "[2] first", [("paragraph", "more")]),
        ("paragraph", "[3] inline"),
        ("paragraph", "[c] unused"),
    ]


def test_front_matter_is_kept_and_gives_the_title() -> None:
    prepared = made('---\ntitle: "My note"\ntags:\n  - a\n---\n\n# Heading')
    assert prepared.title == "My note"
    assert outline(prepared.blocks) == [
        ("code", 'title: "My note"\ntags:\n  - a'), ("heading_1", "Heading"),
    ]  # fmt: skip


def test_a_leading_rule_is_no_front_matter() -> None:
    assert of("---\n\nJust text here\n\n---") == [
        ("divider", ""), ("paragraph", "Just text here"), ("divider", ""),
    ]  # fmt: skip


def test_html_loses_its_tags_but_not_its_text() -> None:
    assert of("<div>one <b>two</b><!-- no --><script>x()</script></div>") == [
        ("paragraph", "one two")
    ]
    assert losses("<div>one</div>") == ["html_block"]
    assert of("H<sub>2</sub>O<br>x<!-- c -->") == [("paragraph", "H2O\nx")]
    assert of('<p><img src="https://x.example/i.png" alt="pic"> cap</p>') == [
        ("image", "pic"), ("paragraph", "cap"),
    ]  # fmt: skip


def test_details_are_toggles_also_when_never_closed() -> None:
    source = "<details><summary>S <b>x</b></summary>\n\ninside\n\n- a\n\n</details>\n\nafter"
    inside = [("paragraph", "inside"), ("bulleted_list_item", "a")]
    assert of(source) == [("toggle", "S x", inside), ("paragraph", "after")]
    assert of("- <details>\n\n  in\n\n- b\n\n</details>") == [
        ("bulleted_list_item", "", [("toggle", "Details", [("paragraph", "in")])]),
        ("bulleted_list_item", "b"),
    ]


def test_a_list_that_starts_elsewhere_is_reported() -> None:
    assert losses("3. x") == ["list_start"]


WORD = re.compile(r"\w+")
SNIPPETS = [
    "# {} *{}*",
    "{} **{}** `{}`",
    "- {}\n  - {}\n",
    "1. {}\n\n   {}",
    "> {}\n> {}",
    "|{}|{}|\n|-|-|\n|{}|",
    "```\n{}\n{}\n```",
    "[{}](https://x.example/) {}",
    "- [ ] {}\n- [x] {}",
    "<div>{}</div>\n",
    "{}\n===",
    "~~{}~~ <span>{}</span>",
    "    {}",
    "![{}](https://x.example/i.png) {}",
    "{} ^[{}]",
    "***\n{}",
    "\\* {} _{}_ {}",
    "$$\n{}\n$$",
    "> [!TIP]\n> {}",
    "<details>\n\n{}\n\n</details>",
    "* {}\n\n\n* {}",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SNIPPETS), st.integers(0, 3)), min_size=1, max_size=8))
def test_every_word_of_the_source_is_on_the_page(parts: list[tuple[str, int]]) -> None:
    count = 0
    lines = []
    for snippet, quotes in parts:
        filled = snippet
        while "{}" in filled:
            filled = filled.replace("{}", f"word{count}", 1)
            count += 1
        lines.append("\n".join(">" * quotes + line for line in filled.split("\n")))
    found = "\n".join(shown(b) for b in walk(made("\n\n".join(lines)).blocks))
    words = [w for w in WORD.findall(found) if w.startswith("word")]
    assert sorted(words) == sorted(f"word{n}" for n in range(count))


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab \n\t*_`~[]()<>!#-+|$^:&;\\\"'1.0=/😀"), max_size=200))
def test_any_text_becomes_legal_requests(source: str) -> None:
    source = "start\n\n" + source
    blocks = made(source).blocks
    assert [s.tree() for s in replay(chunks.plan(blocks).chunks).blocks] == tree(blocks)
