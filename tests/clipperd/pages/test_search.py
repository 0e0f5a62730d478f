"""Search as you type: what is found, and what comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipperd.pages.search import distance
from tests.clipperd.fake_notion import SCOPE
from tests.clipperd.pages.world import World


async def found(world: World, text: str) -> list[str]:
    return [entry.title for entry in (await world.pages.search(SCOPE, text)).items]


async def library(world: World, *titles: str) -> dict[str, str]:
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
        ("c++", "C++ tricks"),
        ("100%", "100% plan"),
    ],
)
async def test_a_page_is_found_by(world: World, query: str, title: str) -> None:
    await library(
        world, "Résumé", "Meeting notes", "Recipes", "週次議事録", "C++ tricks", "100% plan"
    )
    assert (await found(world, query))[:1] == [title]
    assert world.notion.take_calls() == []


@pytest.mark.parametrize("query", ["", " ", '"', "*", "AND", "a OR", "(", "NEAR(", "%", "_", "\\"])
async def test_no_query_breaks_the_search(world: World, query: str) -> None:
    await library(world, "Meeting notes")
    await world.pages.search(SCOPE, query)


async def test_exact_beats_prefix_beats_word_beats_path(world: World) -> None:
    top = world.notion.add_page("Plan")
    world.notion.add_page("Budget", parent={"type": "page_id", "page_id": top})
    await library(world, "Planning", "The plan")
    assert await found(world, "plan") == ["Plan", "Planning", "The plan", "Budget"]


async def test_a_renamed_parent_is_found_in_the_paths_below(world: World) -> None:
    top = world.notion.add_page("Work")
    middle = world.notion.add_page("Team", parent={"type": "page_id", "page_id": top})
    world.notion.add_page("Budget", parent={"type": "page_id", "page_id": middle})
    await world.settle()
    world.notion.rename(top, "Enterprise")
    await world.pages.refresh(SCOPE)
    assert set(await found(world, "enterprise")) == {"Enterprise", "Team", "Budget"}
    assert await found(world, "work") == []


async def test_use_and_favourites_decide_between_equals(world: World) -> None:
    ids = await library(world, "Notes one", "Notes two", "Notes three")
    await world.pages.used(SCOPE, ids["Notes two"])
    await world.pages.used(SCOPE, ids["Notes two"])
    await world.pages.set_favorite(SCOPE, ids["Notes three"], on=True)
    assert set((await found(world, "notes"))[:2]) == {"Notes two", "Notes three"}


async def test_scores_fall(world: World) -> None:
    await library(world, "Plan", "Planning", "The plan")
    scores = [e.score for e in (await world.pages.search(SCOPE, "plan")).items]
    assert scores == sorted(scores, key=lambda s: -float(s or 0))
    assert all(isinstance(score, float) for score in scores)


async def test_remote_merges_what_only_notion_knows(world: World) -> None:
    await library(world, "Plan")
    world.notion.add_page("Planet")
    listing = await world.pages.search(SCOPE, "plan", remote=True)
    assert ([e.title for e in listing.items], listing.remote) == (["Plan", "Planet"], "merged")
    assert world.notion.take_calls() == ["POST search"]


async def test_remote_offline_answers_with_what_is_here(world: World) -> None:
    await library(world, "Plan")
    world.notion.offline = True
    listing = await world.pages.search(SCOPE, "plan", remote=True)
    assert ([e.title for e in listing.items], listing.remote) == (["Plan"], "unreachable")


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_distance_is_symmetric_and_bounded(a: str, b: str) -> None:
    assert distance(a, b, 2) == distance(b, a, 2) <= 3
    assert (distance(a, b, 2) == 0) == (a == b)


@pytest.mark.parametrize(("a", "b"), [("abcd", "abdc"), ("abcd", "abd"), ("abcd", "abxcd")])
def test_one_typo_is_one_edit(a: str, b: str) -> None:
    assert distance(a, b, 2) == 1
