"""The judge of the seeded runs finds each kind of fault, and none on clean pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.script import Piece
from tests.chaos.verdict import Count, Sent, judge
from tests.stack.notion import text_of

PAGE = "page"
OWN = {"above", "old", "typed"}


def block(text: str, *children: dict[str, Any], kind: str = "paragraph") -> dict[str, Any]:
    body = {"rich_text": [{"plain_text": text, "text": {"content": text}}]}
    return {"type": kind, kind: body, "children": list(children)}


def page(*, newest: str = "", inbox: str = "", end: str = "") -> list[dict[str, Any]]:
    """A page by the words under its headings."""
    made = [block("above")]
    for heading, words in (("Newest", newest), ("Inbox", inbox), ("Later", end)):
        made.append(block(heading, kind="heading_1"))
        made.extend(block(word) for word in words.split())
    return made


def sent(words: str, place: str = "inbox", state: str = "delivered") -> Sent:
    """One clip with these words as its blocks."""
    return Sent(0, Piece(PAGE, place), tuple(words.split()), {}, state)


def judged(blocks: list[dict[str, Any]], *items: Sent) -> dict[str, int]:
    return figures_of(judge(PAGE, blocks, items, lambda block: text_of(block) in OWN))


def figures_of(count: Count) -> dict[str, int]:
    figures = {
        "lost": count.lost,
        "doubled": count.doubled,
        "misplaced": count.misplaced,
        "out_of_order": count.out_of_order,
        "asked": count.needs_attention,
    }
    return {name: figure for name, figure in figures.items() if figure}


def test_a_page_that_holds_what_was_sent_is_clean() -> None:
    there = page(newest="c d old", inbox="old a b", end="old e typed f")
    clips = [sent("a"), sent("d", "newest"), sent("b", "deep"), sent("c", "newest")]
    assert judged(there, *clips, sent("e", "end"), sent("f", "end")) == {}


def test_identical_neighbours_are_two() -> None:
    assert judged(page(inbox="a a"), sent("a"), sent("a")) == {}
    assert judged(page(inbox="a"), sent("a"), sent("a")) == {"lost": 1}
    assert judged(page(inbox="a a a"), sent("a"), sent("a")) == {"doubled": 1}


def test_a_missing_clip_is_lost() -> None:
    assert judged(page(inbox="a"), sent("a"), sent("b")) == {"lost": 1}


def test_a_second_copy_is_doubled_wherever_it_stands() -> None:
    assert judged(page(inbox="a", end="a"), sent("a")) == {"doubled": 1}


@pytest.mark.parametrize("where", ["newest", "end"])
def test_a_clip_in_another_section_is_misplaced(where: str) -> None:
    assert judged(page(**{where: "a"}), sent("a")) == {"misplaced": 1}


def test_an_overtaken_clip_is_out_of_order() -> None:
    assert "out_of_order" in judged(page(inbox="b a"), sent("a"), sent("b"))
    assert "out_of_order" in judged(page(newest="a b"), sent("a", "newest"), sent("b", "newest"))


def test_a_clip_that_something_splits_is_misplaced() -> None:
    assert judged(page(inbox="a typed b"), sent("a b")) == {"misplaced": 1}


def test_a_clip_that_waits_for_a_person_may_be_there_once_or_not() -> None:
    asked = sent("b", state="needs_attention")
    assert judged(page(inbox="a c"), sent("a"), asked, sent("c")) == {"asked": 1}
    assert judged(page(inbox="a b c"), sent("a"), asked, sent("c")) == {"asked": 1}
    assert judged(page(inbox="a b b c"), sent("a"), asked, sent("c")) == {"asked": 1, "doubled": 1}


def test_a_failed_clip_is_lost() -> None:
    assert judged(page(), sent("a", state="failed")) == {"lost": 1}


def test_what_hangs_below_is_looked_at_too() -> None:
    inner = block("a.0")
    whole = Sent(0, Piece(PAGE, "inbox"), ("a",), {"blocks": [nested("a", "a.0", "a.1")]})
    there = page()
    there.insert(3, block("a", inner, block("a.1")))
    assert judged(there, whole) == {}
    there[3] = block("a", inner)
    assert judged(there, whole) == {"lost": 1}
    there[3] = block("a", inner, block("a.1"), block("a.1"))
    assert judged(there, whole) == {"doubled": 1}


def nested(text: str, *inner: str) -> dict[str, Any]:
    made = block(text)
    made["paragraph"]["children"] = [block(each) for each in inner]
    return made
