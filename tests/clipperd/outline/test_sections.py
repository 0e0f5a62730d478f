"""Sections of a page, as its readers see them (pure)."""

from __future__ import annotations

import pytest

from clipperd.outline.sections import headings, named
from clipperd.outline.tree import Node, Tree, decode, encode, to_node


def page(*lines: str) -> Tree:
    """Build a tree from lines such as ``## B`` or ``p``; the text is the id."""
    nodes = []
    for line in lines:
        text = line.lstrip("#> ")
        level = line.count("#")
        kind = f"heading_{level}" if level else "paragraph"
        nodes.append(Node(text, kind, level=level, text=text, toggleable=line.startswith(">")))
    return Tree("page", {"page": tuple(nodes)})


def ends(tree: Tree) -> dict[str, str | None]:
    return {h.id: h.section_end_id for h in headings(tree)}


def test_a_section_ends_before_the_next_heading_of_its_level_or_above() -> None:
    tree = page("# A", "a1", "## B", "b1", "### C", "c1", "## D", "d1", "# E", "e1")
    assert ends(tree) == {"A": "d1", "B": "c1", "C": "c1", "D": "d1", "E": "e1"}


def test_an_empty_section_ends_at_its_heading() -> None:
    assert ends(page("## A", "## B")) == {"A": "A", "B": "B"}


def test_paths_name_the_enclosing_headings() -> None:
    tree = page("## A", "### B", "#### C", "### D", "# E", "#### F")
    assert {h.id: h.path for h in headings(tree)} == {
        "A": (),
        "B": ("A",),
        "C": ("A", "B"),
        "D": ("A",),
        "E": (),
        "F": ("E",),
    }


def test_a_toggle_heading_holds_its_section_inside() -> None:
    toggle = Node("T", "heading_2", has_children=True, level=2, text="T", toggleable=True)
    inside = (Node("x", "paragraph"), Node("y", "heading_3", level=3, text="y"))
    tree = Tree("page", {"page": (toggle, Node("z", "paragraph")), "T": inside})
    assert ends(tree) == {"T": "y", "y": "y"}
    unread = Tree("page", {"page": (toggle,)})
    assert ends(unread) == {"T": None}


def test_a_heading_keeps_the_whole_text_of_mixed_runs() -> None:
    runs = [
        {"type": "text", "plain_text": "Buy "},
        {"type": "mention", "plain_text": "@Ann"},
        {"type": "equation", "equation": {"expression": "x^2"}},
        {"type": "text", "text": {"content": " now"}},
    ]
    block = {"id": "h", "type": "heading_4", "heading_4": {"rich_text": runs}}
    node = to_node(block)
    assert (node.text, node.level) == ("Buy @Annx^2 now", 4)


@pytest.mark.parametrize(
    "block",
    [
        {"id": "x"},
        {"id": "x", "type": "future", "future": None},
        {"id": "x", "type": "heading_1", "heading_1": {"rich_text": [None, 3, {}]}},
    ],
)
def test_strange_blocks_are_kept_as_blocks(block: dict[str, object]) -> None:
    assert to_node(block).id == "x"


@pytest.mark.parametrize(
    ("text", "path", "ids"),
    [
        ("Notes", (), ["n1", "n2"]),
        ("Notes", ("Monday",), ["n1"]),
        ("Notes", ("Tuesday", "Notes"), ["n2"]),
        ("notes", ("tuesday",), ["n2"]),
        ("  Notes ", ("Sunday",), []),
        ("Other", (), []),
    ],
)
def test_a_name_and_a_path_mean_headings(text: str, path: tuple[str, ...], ids: list[str]) -> None:
    nodes = [
        Node("m", "heading_1", level=1, text="Monday"),
        Node("n1", "heading_2", level=2, text="Notes"),
        Node("t", "heading_1", level=1, text="Tuesday"),
        Node("n2", "heading_2", level=2, text="Notes"),
    ]
    found = headings(Tree("page", {"page": tuple(nodes)}))
    assert [h.id for h in named(found, text, path)] == ids


def test_a_spliced_run_replaces_the_old_one() -> None:
    tree = page("# A", "a1", "a2", "# B", "b1")
    fresh = page("# A", "a1", "new", "# B").top
    assert [n.id for n in tree.spliced("page", fresh, to_end=False).top] == [
        *("A", "a1", "new", "B", "b1")
    ]
    assert [n.id for n in tree.spliced("page", fresh, to_end=True).top][-1] == "B"


def test_a_packed_tree_unpacks_and_damage_unpacks_to_none() -> None:
    tree = page("# A", "a1")
    assert decode("page", encode(tree)) == tree
    assert decode("page", b"\xc1damaged") is None
