from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clipperd.content.limits import RUNS, TEXT_UNITS
from clipperd.content.links import utf16_units
from clipperd.content.runs import fitted, merged, pieces_of, plain, scrub, text_run

texts = st.text(st.sampled_from("ab \n😀é\u0301👩\u200d🇩🇪\U0001f3fd"), max_size=400)


@given(texts, st.integers(4, 40))
def test_pieces_join_back_and_keep_to_the_limit(text: str, units: int) -> None:
    pieces = pieces_of(text, units)
    assert "".join(pieces) == text
    assert all(utf16_units(p) <= units for p in pieces)
    assert all(pieces) or text == ""


def test_exactly_two_thousand_units_stay_whole() -> None:
    assert len(pieces_of("😀" * 1000, TEXT_UNITS)) == 1
    assert [utf16_units(p) for p in pieces_of("😀" * 1001, TEXT_UNITS)] == [2000, 2]


def test_a_cut_prefers_a_newline_then_a_space() -> None:
    assert pieces_of("aaaa aa\naa aaaa", 12)[0] == "aaaa aa\n"
    assert pieces_of("aaaaaaa aaaaaaa", 12)[0] == "aaaaaaa "


def test_a_cut_never_separates_an_emoji_sequence_or_a_combining_mark() -> None:
    family = "👩\u200d👩\u200d👧"
    assert pieces_of("x" * 5 + family, 8)[0] == "x" * 5
    assert pieces_of("x" * 7 + "e\u0301", 8)[0] == "x" * 7
    assert pieces_of("🇩🇪" * 3, 10)[0] == "🇩🇪" * 2


def test_equal_neighbours_are_merged_and_others_kept_apart() -> None:
    bold = {"bold": True}
    runs = [text_run("a"), text_run("b"), text_run(""), text_run("c", annotations=bold)]
    assert merged(runs) == [text_run("ab"), text_run("c", annotations=bold)]


def test_merging_happens_only_where_there_are_too_many_runs() -> None:
    assert len(fitted([text_run("a")] * RUNS)) == RUNS
    assert fitted([text_run("a")] * (RUNS + 1)) == [text_run("a" * 101)]


def test_marks_and_links_survive_a_cut() -> None:
    run = text_run("x" * 5000, link="https://a.example/", annotations={"bold": True})
    cut = fitted([run])
    assert plain(cut) == "x" * 5000
    assert {str(r["text"]["link"]) + str(r["annotations"]) for r in cut} == {
        str(run["text"]["link"]) + str(run["annotations"])
    }


def test_what_json_must_not_hold_is_scrubbed() -> None:
    assert scrub("a\x00b\ud83d c") == "ab\ufffd c"
    assert scrub("😀") == "😀"
