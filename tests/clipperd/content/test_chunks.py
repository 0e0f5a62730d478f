from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipperd.content import chunks
from clipperd.content.fitting import fit
from clipperd.content.losses import Losses
from clipperd.content.trees import walk
from clipperd.model import Block
from clipperd.outbox.records import plan_from_json
from tests.clipperd.content.notion_model import columns, item, paragraph, replay, table, tree


def rebuilt(blocks: list[Block]) -> int:
    """Assert that the plan rebuilds exactly ``blocks``; return its number of requests."""
    plan = chunks.plan(blocks)
    assert [s.tree() for s in replay(plan.chunks).blocks] == tree(blocks)
    assert plan_from_json(plan.encoded) == plan.chunks
    assert plan.elements == sum(1 for _ in walk(blocks))
    assert plan.size_bytes == sum(len(chunks.encode(chunk.blocks)) for chunk in plan.chunks)
    return len(plan.chunks)


def chain(depth: int) -> Block:
    block = item(f"level {depth}")
    for level in range(depth - 1, 0, -1):
        block = item(f"level {level}", block)
    return block


def test_nothing_needs_no_request() -> None:
    assert chunks.plan([]) == chunks.Plan([], b"[]", 0, 0)


def test_250_paragraphs_are_three_requests() -> None:
    assert rebuilt([paragraph(str(i)) for i in range(250)]) == 3


def test_1500_paragraphs_are_fifteen_requests() -> None:
    assert rebuilt([paragraph(str(i)) for i in range(1500)]) == 15


def test_three_levels_travel_together() -> None:
    assert rebuilt([item("a", item("b", item("c"))) for _ in range(100)]) == 1


def test_nesting_to_depth_50_is_rebuilt() -> None:
    assert rebuilt([paragraph("before"), chain(50), paragraph("after")]) == 48


def test_a_list_of_150_nested_items_takes_one_request_more() -> None:
    assert rebuilt([item("top", *(item(str(i)) for i in range(150)))]) == 2


def test_a_table_of_1000_rows_is_created_with_its_first_hundred() -> None:
    blocks = [paragraph("before"), table(1000), paragraph("after")]
    assert rebuilt(blocks) == 10
    first = chunks.plan(blocks).chunks[0]
    assert len(first.blocks) == 3
    assert len(first.blocks[1]["table"]["children"]) == 100


def test_a_table_with_heavy_rows_stays_below_the_byte_limit() -> None:
    assert rebuilt([table(60, width=10, text="é" * 1000)]) <= 4


def test_5000_blocks_are_rebuilt() -> None:
    blocks = [item(str(i), *(item(f"{i}.{j}") for j in range(9))) for i in range(500)]
    assert rebuilt(blocks) == 5


def test_a_request_stays_below_450_kilobytes() -> None:
    assert rebuilt([paragraph("é" * 2000) for _ in range(300)]) == 3


def test_columns_travel_with_what_they_need() -> None:
    assert rebuilt([columns([paragraph("a")], [paragraph("b"), table(1)][:1])]) == 1


def test_a_third_column_may_hold_more_than_one_request() -> None:
    blocks = [columns([paragraph("a")], [paragraph("b")], [paragraph(str(i)) for i in range(250)])]
    assert rebuilt(blocks) <= 4


def test_columns_inside_a_toggle_follow_it() -> None:
    inside = [columns([paragraph("a")], [paragraph("b")])]
    toggle = {"type": "toggle", "toggle": {"rich_text": [], "children": inside}}
    assert rebuilt([toggle]) == 2


def test_columns_that_no_request_can_create_are_refused() -> None:
    deep = columns([item("a", item("b"))], [paragraph("c")])
    with pytest.raises(ValueError, match="cannot be created"):
        chunks.plan([deep])


def test_columns_that_no_request_can_create_are_laid_out_in_sequence() -> None:
    losses = Losses()
    deep = columns([item("a", item("b"))], [paragraph("c")])
    blocks = fit([paragraph("before"), deep, paragraph("after")], losses)
    assert tree(blocks) == tree(
        [paragraph("before"), item("a", item("b")), paragraph("c"), paragraph("after")]
    )
    assert [loss.kind for loss in losses.report()] == ["layout_flattened"]


def test_deep_columns_inside_columns_keep_every_text_in_order() -> None:
    inner = columns([item("b", item("c", item("d")))], [paragraph("e")])
    outer = columns([paragraph("a"), inner], [paragraph("f")])
    blocks = fit([item("top", outer)], Losses())
    assert rebuilt(blocks) > 0
    texts = [b[b["type"]]["rich_text"][0]["text"]["content"] for b in walk(blocks)]
    assert texts == ["top", "a", "b", "c", "d", "e", "f"]


def test_elements_count_nested_blocks_and_size_counts_utf8_bytes() -> None:
    assert chunks.plan([item("a", item("b", item("c"))), table(3)]).elements == 7
    size = chunks.plan([paragraph("é")]).size_bytes
    assert size == len(chunks.encode([paragraph("e")])) + 1


def leaves() -> st.SearchStrategy[Block]:
    texts = st.sampled_from(["a", "bc", "é" * 40, "x" * 1500])
    wide = st.integers(90, 130).map(lambda n: item("wide", *[item("w")] * n))
    return st.one_of(texts.map(paragraph), st.integers(1, 130).map(table), wide)


def trees() -> st.SearchStrategy[Block]:
    def grown(inner: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
        several = st.lists(inner, min_size=1, max_size=4)
        lists = several.map(lambda kids: item("i", *kids))
        layouts = st.lists(several, min_size=2, max_size=4).map(lambda parts: columns(*parts))
        return st.one_of(lists, lists, layouts)

    return st.recursive(leaves(), grown, max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(trees(), max_size=12))
def test_every_fitted_tree_is_rebuilt_by_legal_requests(blocks: list[Block]) -> None:
    rebuilt(fit(blocks, Losses()))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=60))
def test_flat_lists_take_the_fewest_requests(sizes: list[int]) -> None:
    """Whole trees in order: no plan that keeps each tree in one request can use fewer."""
    blocks = [item("i", *[item()] * n) for n in sizes]
    needed, count, total = 1, 0, 0
    for n in sizes:
        if count == 100 or total + n + 1 > 1000:
            needed, count, total = needed + 1, 0, 0
        count, total = count + 1, total + n + 1
    assert rebuilt(blocks) == needed
