"""Search as you type: matches and their order."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipperd.daemon.schema import CACHE_STEPS
from clipperd.pages import search, store
from clipperd.pages.entries import SPACELESS, WORDS, Record, fold
from clipperd.pages.typos import LEAST, distance, is_one_typo, near
from tests.clipperd.memory_notion import SCOPE
from tests.clipperd.pages.page_index_stage import PageIndexStage

NO_HABITS = search.Habits(frozenset(), {})


async def found(world: PageIndexStage, text: str) -> list[str]:
    return [entry.title for entry in (await world.pages.search(SCOPE, text)).items]


def a_cache() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    for step in CACHE_STEPS:
        step(connection)
    return connection


def record(number: int, title: str) -> Record:
    stamp = "2026-10-06T09:32:00.000Z"
    return Record(str(number), "page", title, None, None, None, None, stamp, in_trash=False)


async def library(world: PageIndexStage, *titles: str) -> dict[str, str]:
    ids = {title: world.notion.add_page(title) for title in titles}
    await world.settle()
    world.notion.take_calls()
    return ids


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("resume", "Résumé"),
        ("RÉSUMÉ", "Résumé"),
        ("meet", "Meeting notes"),
        ("notes meet", "Meeting notes"),
        ("meetnig", "Meeting notes"),
        ("emeting", "Meeting notes"),
        ("recipies", "Recipes"),
        ("eeting", "Meeting notes"),
        ("議事", "週次議事録"),
        ("議事録", "週次議事録"),
        ("録", "週次議事録"),
        ("会議", "会議の予定 team"),
        ("会議 team", "会議の予定 team"),
        ("予", "会議の予定 team"),
        ("meetng not", "Meeting notes"),
        ("plna", "100% plan"),
        ("c++", "C++ tricks"),
        ("100%", "100% plan"),
        ("🎉", "Party 🎉🎈"),
        ("🎉🎈", "Party 🎉🎈"),
        ("%", "100% plan"),
        ("++", "C++ tricks"),
    ],
)
async def test_a_page_is_found_by(world: PageIndexStage, query: str, title: str) -> None:
    await library(
        world,
        "Résumé",
        "Meeting notes",
        "Recipes",
        "週次議事録",
        "会議の予定 team",
        "C++ tricks",
        "100% plan",
        "Party 🎉🎈",
    )
    assert (await found(world, query))[:1] == [title]
    assert world.notion.take_calls() == []


@pytest.mark.parametrize("query", ["", " ", '"', "*", "AND", "a OR", "(", "NEAR(", "%", "_", "\\"])
async def test_no_query_breaks_the_search(world: PageIndexStage, query: str) -> None:
    await library(world, "Meeting notes")
    await world.pages.search(SCOPE, query)


async def test_exact_beats_prefix_beats_word_beats_path(world: PageIndexStage) -> None:
    top = world.notion.add_page("Plan")
    world.notion.add_page("Budget", parent={"type": "page_id", "page_id": top})
    await library(world, "Planning", "The plan")
    assert await found(world, "plan") == ["Plan", "Planning", "The plan", "Budget"]


async def test_a_renamed_parent_is_found_in_the_paths_below(world: PageIndexStage) -> None:
    top = world.notion.add_page("Work")
    middle = world.notion.add_page("Team", parent={"type": "page_id", "page_id": top})
    world.notion.add_page("Budget", parent={"type": "page_id", "page_id": middle})
    await world.settle()
    world.notion.rename(top, "Enterprise")
    await world.pages.refresh(SCOPE)
    assert set(await found(world, "enterprise")) == {"Enterprise", "Team", "Budget"}
    assert await found(world, "work") == []


async def test_use_and_favourites_decide_between_equals(world: PageIndexStage) -> None:
    ids = await library(world, "Notes one", "Notes two", "Notes three")
    await world.use(ids["Notes two"])
    await world.use(ids["Notes two"])
    await world.pages.set_favorite(SCOPE, ids["Notes three"], on=True)
    assert set((await found(world, "notes"))[:2]) == {"Notes two", "Notes three"}


async def test_recent_use_beats_more_use_long_ago(
    world: PageIndexStage,
) -> None:
    ids = await library(world, "Notes one", "Notes two", "Notes three")
    for _ in range(6):
        await world.use(ids["Notes one"])
    assert (await found(world, "notes"))[0] == "Notes one"
    world.clock.advance(90 * 86400)
    for title in ("Notes two", "Notes three", "Notes three"):
        await world.use(ids[title])
    assert await found(world, "notes") == ["Notes three", "Notes two", "Notes one"]


async def test_scores_fall(world: PageIndexStage) -> None:
    await library(world, "Plan", "Planning", "The plan")
    scores = [e.score for e in (await world.pages.search(SCOPE, "plan")).items]
    assert scores == sorted(scores, key=lambda s: -float(s or 0))
    assert all(isinstance(score, float) for score in scores)


async def test_remote_merges_what_only_notion_knows(world: PageIndexStage) -> None:
    await library(world, "Plan")
    world.notion.add_page("Planet")
    listing = await world.pages.search(SCOPE, "plan", remote=True)
    assert ([e.title for e in listing.items], listing.remote) == (["Plan", "Planet"], "merged")
    assert world.notion.take_calls() == ["POST search"]


async def test_remote_offline_returns_local_matches(world: PageIndexStage) -> None:
    await library(world, "Plan")
    world.notion.offline = True
    listing = await world.pages.search(SCOPE, "plan", remote=True)
    assert ([e.title for e in listing.items], listing.remote) == (["Plan"], "unreachable")


async def test_a_typo_in_the_title_beats_one_in_the_path(world: PageIndexStage) -> None:
    top = world.notion.add_page("Kitchen")
    for number in range(3):
        world.notion.add_page(f"Budget {number}", parent={"type": "page_id", "page_id": top})
    await library(world, "My kitchen")
    assert set((await found(world, "kitchne"))[:2]) == {"Kitchen", "My kitchen"}


async def test_where_very_many_match_the_newest_of_the_nearest_come_first(
    world: PageIndexStage,
) -> None:
    world.notion.add_page("Plan")
    for number in range(1200):
        world.clock.advance(60)
        world.notion.add_page(f"Plan {number}")
        if number % 100 == 0:
            world.notion.add_page(f"The plan {number}")
    await world.settle()
    titles = await found(world, "plan")
    assert titles[:4] == ["Plan", "Plan 1199", "Plan 1198", "Plan 1197"]


async def test_a_favourite_is_found_among_very_many(world: PageIndexStage) -> None:
    first = world.notion.add_page("An old plan")
    for number in range(1200):
        world.notion.add_page(f"Another plan {number}")
    await world.settle()
    await world.pages.set_favorite(SCOPE, first, on=True)
    assert "An old plan" in await found(world, "plan")


async def test_the_newest_of_very_many_come_first_by_word_and_by_path(
    world: PageIndexStage,
) -> None:
    top = {"type": "page_id", "page_id": world.notion.add_page("Kitchen")}
    for number in range(1200):
        world.notion.add_page(f"Another plan {number}", parent=top)
        world.clock.advance(60)
    await world.settle()
    newest = [f"Another plan {number}" for number in range(1199, 1179, -1)]
    assert await found(world, "plan") == newest
    assert await found(world, "kitchen") == ["Kitchen", *newest[:-1]]


async def test_words_that_a_title_has_are_not_typos(
    world: PageIndexStage,
) -> None:
    await library(world, "Order form", "Order from China", "Reorder formula")
    assert await found(world, "form ord") == ["Order form"]
    assert set(await found(world, "form")) == {"Order form", "Order from China", "Reorder formula"}
    assert {*await found(world, "rder form")} >= {"Order form", "Reorder formula"}
    assert await found(world, "fomr ord") == ["Order form"]


async def test_the_name_of_a_sign_in_the_index_is_no_word(world: PageIndexStage) -> None:
    await library(world, "Hello!")
    assert await found(world, "!") == ["Hello!"]
    assert await found(world, "u21") == []


async def test_a_kind_is_found_among_very_many_of_another(world: PageIndexStage) -> None:
    world.notion.add_page("Plan of everything", kind="data_source")
    for number in range(1200):
        world.notion.add_page(f"Plan {number}")
    await world.settle()
    items = (await world.pages.search(SCOPE, "plan", kind="database")).items
    assert [entry.title for entry in items] == ["Plan of everything"]


LETTERS = "abé1 -_.!%'\"()*会議の🎉ไท가"
TITLES = st.lists(st.text(LETTERS, min_size=1, max_size=9), min_size=1, max_size=6)


@given(titles=TITLES, pick=st.integers(0, 5), at=st.integers(0, 8), size=st.integers(1, 9))
def test_any_part_of_a_title_that_can_be_typed_finds_it(
    titles: list[str], pick: int, at: int, size: int
) -> None:
    title = titles[pick % len(titles)]
    query = fold(title[at : at + size])
    words = WORDS.findall(query)
    # Two letters match prefixes only; several words are searched as words first.
    is_typed = at == 0 or len(query) >= 3 or not words or bool(SPACELESS.fullmatch(query))
    connection = a_cache()
    store.upsert(connection, SCOPE, [record(n, each) for n, each in enumerate(titles)], 0.0)
    hits = search.find(connection, SCOPE, query, NO_HABITS, limit=20)
    connection.close()
    if query and is_typed and len(words) < 2:
        assert str(pick % len(titles)) in {hit.page_id for hit in hits}


@given(
    st.lists(st.text("abc", min_size=3, max_size=9), max_size=30),
    st.text("abc", min_size=LEAST, max_size=8),
)
def test_no_word_within_one_typo_is_missed(known: list[str], word: str) -> None:
    connection = a_cache()
    connection.executemany(
        "INSERT INTO page_term VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(term, term[::-1]) for term in known],
    )
    slips = {term for term in known if term != word and distance(word, term, 1) <= 1}
    assert slips <= {*near(connection, word)}
    connection.close()


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_one_typo_is_a_distance_of_one(a: str, b: str) -> None:
    assert is_one_typo(a, b) == (distance(a, b, 1) <= 1)


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_distance_is_symmetric_and_bounded(a: str, b: str) -> None:
    assert distance(a, b, 2) == distance(b, a, 2) <= 3
    assert (distance(a, b, 2) == 0) == (a == b)


@pytest.mark.parametrize(("a", "b"), [("abcd", "abdc"), ("abcd", "abd"), ("abcd", "abxcd")])
def test_one_typo_is_one_edit(a: str, b: str) -> None:
    assert distance(a, b, 2) == 1
