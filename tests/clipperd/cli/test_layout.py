"""Tables, durations and safe text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clipperd.cli import layout


def test_columns_are_aligned_by_what_a_terminal_shows() -> None:
    lines = layout.table(["A", "B"], [["日本", "x"], ["é", "y"]]).splitlines()
    assert [
        layout.columns(line[: line.rindex(end)]) for line, end in zip(lines, "Bxy", strict=True)
    ] == [6] * 3


def test_long_cells_are_cut_with_an_ellipsis() -> None:
    assert layout.plain("abcdef", 4) == "abc…"
    assert layout.plain("abcd", 4) == "abcd"


@given(st.text(), st.integers(2, 40))
def test_a_cell_is_one_safe_line_of_at_most_its_width(text: str, width: int) -> None:
    shown = layout.plain(text, width)
    assert layout.columns(shown) <= width
    assert not any(c < " " or "\x7f" <= c <= "\x9f" for c in shown)


def test_facts_leave_out_what_is_not_known() -> None:
    assert layout.facts([("a", 1), ("long", None), ("bc", "x")]) == "a   1\nbc  x"


def test_a_length_of_time_is_told_in_its_largest_unit() -> None:
    told = [layout.span(s) for s in (0.4, 1, 59, 60, 7200, 90000)]
    assert told == ["less than a second", "1 second", "59 seconds", "1 minute", "2 hours", "1 day"]


def test_a_clock_that_was_set_back_is_just_now() -> None:
    assert layout.ago(100, 200) == "just now"
    assert layout.ago(200, 80) == "2 minutes ago"
