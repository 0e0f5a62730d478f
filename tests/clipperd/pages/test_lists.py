"""Views of the page index: order, kinds, paths, cursors that inserts do not disturb."""

from __future__ import annotations

import pytest

from clipperd.errors import CursorInvalid, NotFound
from clipperd.pages.entries import Listing
from tests.clipperd.memory_notion import OTHER, SCOPE
from tests.clipperd.pages.page_index_stage import PageIndexStage


def titles(listing: Listing) -> list[str]:
    return [entry.title for entry in listing.items]


async def test_all_is_sorted_by_title_without_case_or_diacritics(world: PageIndexStage) -> None:
    for title in ("zebra", "Éclair", "apple", "Banana"):
        world.notion.add_page(title)
    await world.settle()
    assert titles(await world.pages.list(SCOPE, "all")) == ["apple", "Banana", "Éclair", "zebra"]


async def test_a_cursor_continues_after_the_last_item_despite_inserts(
    world: PageIndexStage,
) -> None:
    ids = world.some_pages(30)
    await world.settle()
    first = await world.pages.list(SCOPE, "recent", limit=10)
    world.some_pages(5)
    await world.pages.refresh(SCOPE)
    rest = await world.pages.list(SCOPE, "recent", limit=100, cursor=first.next_cursor)
    assert [e.id for e in (*first.items, *rest.items)] == ids[::-1]
    assert (first.has_more, rest.has_more, rest.next_cursor) == (True, False, None)


@pytest.mark.parametrize("bad", ["", "!", "abc", "é", "AAAA" * 20, "x" * 4000])
async def test_a_cursor_that_was_never_issued_is_refused(world: PageIndexStage, bad: str) -> None:
    with pytest.raises(CursorInvalid):
        await world.pages.list(SCOPE, "recent", cursor=bad)


async def test_a_cursor_belongs_to_its_view_kind_and_account(world: PageIndexStage) -> None:
    world.some_pages(5)
    await world.settle()
    cursor = (await world.pages.list(SCOPE, "recent", limit=2)).next_cursor
    with pytest.raises(CursorInvalid):
        await world.pages.list(SCOPE, "all", cursor=cursor)
    with pytest.raises(CursorInvalid):
        await world.pages.list(SCOPE, "recent", kind="page", cursor=cursor)
    with pytest.raises(CursorInvalid):
        await world.pages.list(OTHER, "recent", cursor=cursor)


async def test_used_lists_the_last_clipped_to_first(world: PageIndexStage) -> None:
    ids = world.some_pages(4)
    await world.settle()
    for number in (0, 2, 1, 2):
        world.clock.advance(1)
        await world.use(ids[number])
    listing = await world.pages.list(SCOPE, "used", limit=2)
    assert titles(listing) == ["Page 2", "Page 1"]
    rest = await world.pages.list(SCOPE, "used", limit=2, cursor=listing.next_cursor)
    assert (titles(rest), rest.has_more) == (["Page 0"], False)


async def test_favorites_survive_a_restart_and_show_in_every_view(world: PageIndexStage) -> None:
    ids = world.some_pages(3)
    await world.settle()
    assert (await world.pages.set_favorite(SCOPE, ids[1], on=True)).favorite
    await world.restart()
    listing = await world.pages.list(SCOPE, "recent")
    assert [e.favorite for e in listing.items] == [False, True, False]
    assert titles(await world.pages.list(SCOPE, "favorites")) == ["Page 1"]
    await world.pages.set_favorite(SCOPE, ids[1], on=False)
    assert titles(await world.pages.list(SCOPE, "favorites")) == []


async def test_only_known_pages_can_be_favorites(world: PageIndexStage) -> None:
    with pytest.raises(NotFound):
        await world.pages.set_favorite(SCOPE, world.notion.new_id(), on=True)


async def test_kind_filters_and_a_database_answers_to_both_of_its_names(
    world: PageIndexStage,
) -> None:
    world.notion.add_page("A page")
    world.notion.add_page("Tasks", kind="data_source")
    await world.settle()
    for kind, wanted in (("page", "A page"), ("database", "Tasks"), ("data_source", "Tasks")):
        assert titles(await world.pages.list(SCOPE, "recent", kind)) == [wanted]


async def test_an_entry_has_the_fields_that_clients_draw(world: PageIndexStage) -> None:
    top = world.notion.add_page("Work")
    middle = world.notion.add_page("Team", parent={"type": "page_id", "page_id": top})
    page = world.notion.add_page("Notes", parent={"type": "page_id", "page_id": middle})
    await world.settle()
    entry = await world.pages.get(SCOPE, page)
    assert [(c.id, c.title) for c in entry.path] == [(top, "Work"), (middle, "Team")]
    assert entry.icon == {"type": "emoji", "emoji": "📄"}
    assert entry.parent == {"type": "page_id", "page_id": middle}
    assert (entry.kind, entry.favorite, entry.in_trash) == ("page", False, False)


async def test_a_circle_of_parents_ends(world: PageIndexStage) -> None:
    one = world.notion.add_page("One")
    two = world.notion.add_page("Two", parent={"type": "page_id", "page_id": one})
    world.notion.pages[one]["parent"] = {"type": "page_id", "page_id": two}
    await world.settle()
    assert len((await world.pages.get(SCOPE, one)).path) == 2
