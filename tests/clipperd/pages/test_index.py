"""The page index fills in few calls, survives restarts, and removes pages on evidence only."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from clipperd.broker.reply import Reply
from clipperd.errors import BrokerUnreachable, NotFound, ReadFailed
from clipperd.model import Scope
from clipperd.notion.port import Call
from tests.clipperd.memory_notion import OTHER, SCOPE
from tests.clipperd.pages.page_index_stage import PageIndexStage

SEARCH = "POST search"


async def test_the_first_start_lists_recents_after_one_call(world: PageIndexStage) -> None:
    ids = world.some_pages(50)
    await world.pages.refresh(SCOPE)
    assert world.notion.take_calls() == [SEARCH]
    listing = await world.pages.list(SCOPE, "recent", limit=20)
    assert [e.id for e in listing.items] == ids[::-1][:20]
    assert (listing.index.state, listing.index.count) == ("recents", 20)


async def test_the_background_fill_pauses_between_calls(world: PageIndexStage) -> None:
    world.some_pages(250)
    await world.settle()
    status = await world.pages.index_status(SCOPE)
    assert (status.state, status.complete, status.count) == ("complete", True, 250)
    assert world.clock.slept == [3.0, 3.0]


async def test_after_a_restart_the_list_is_there_without_a_call(world: PageIndexStage) -> None:
    ids = world.some_pages(30)
    await world.settle()
    world.notion.take_calls()
    await world.restart()
    listing = await world.pages.list(SCOPE, "recent", limit=100)
    assert [e.id for e in listing.items] == ids[::-1]
    assert world.notion.take_calls() == []


async def test_a_refresh_when_nothing_changed_is_one_call(world: PageIndexStage) -> None:
    world.some_pages(250)
    await world.settle()
    world.notion.take_calls()
    await world.restart()
    assert await world.pages.refresh(SCOPE) == 1
    assert world.notion.take_calls() == [SEARCH]


async def test_a_refresh_continues_until_known_pages(world: PageIndexStage) -> None:
    world.some_pages(10)
    await world.settle()
    new = world.some_pages(150)
    assert await world.pages.refresh(SCOPE) == 2
    listing = await world.pages.list(SCOPE, "recent", limit=1)
    assert listing.items[0].id == new[-1]
    assert (await world.pages.index_status(SCOPE)).count == 160


async def test_an_interrupted_refresh_starts_again_from_the_newest(
    world: PageIndexStage,
) -> None:
    world.some_pages(10)
    await world.settle()
    world.some_pages(250)
    send = world.notion.send

    async def second_call_fails(scope: Scope, call: Call) -> Reply:
        if len(world.notion.calls) == 1:
            world.notion.offline = True
        return await send(scope, call)

    world.notion.take_calls()
    world.notion.send = second_call_fails  # type: ignore[method-assign]
    with pytest.raises(BrokerUnreachable):
        await world.pages.refresh(SCOPE)
    world.notion.offline, world.notion.send = False, send  # type: ignore[method-assign]
    await world.pages.refresh(SCOPE)
    assert (await world.pages.index_status(SCOPE)).count == 260


async def test_concurrent_refreshes_share_one_call(world: PageIndexStage) -> None:
    world.some_pages(3)
    await asyncio.gather(*(world.pages.refresh(SCOPE) for _ in range(5)))
    assert world.notion.take_calls() == [SEARCH]


async def test_a_fill_continues_from_its_cursor_after_a_restart(world: PageIndexStage) -> None:
    world.some_pages(320)
    await world.pages.refresh(SCOPE)
    await world.restart()
    world.notion.take_calls()
    await world.settle()
    assert world.notion.take_calls() == [SEARCH] * 4  # the changes, then 300 more from the cursor
    assert (await world.pages.index_status(SCOPE)).count == 320


async def test_a_fill_whose_cursor_expired_starts_from_the_top(world: PageIndexStage) -> None:
    ids = world.some_pages(60)
    await world.pages.refresh(SCOPE)
    world.notion.unshare(ids[39])  # the page that Notion's cursor pointed at
    await world.settle()
    assert (await world.pages.index_status(SCOPE)).count == 59


async def test_an_outage_keeps_the_pages_and_says_error(world: PageIndexStage) -> None:
    world.some_pages(5)
    await world.settle()
    world.notion.offline = True
    with pytest.raises(BrokerUnreachable):
        await world.pages.refresh(SCOPE)
    listing = await world.pages.list(SCOPE, "recent")
    assert len(listing.items) == 5
    assert (listing.index.state, listing.index.error) == ("error", "broker_unreachable")


async def test_an_outage_on_the_first_start_is_not_an_empty_workspace(
    world: PageIndexStage,
) -> None:
    world.notion.fail_next = [Reply(503, code="service_unavailable")]
    with pytest.raises(ReadFailed):
        await world.pages.refresh(SCOPE)
    status = await world.pages.index_status(SCOPE)
    assert (status.state, status.complete) == ("error", False)
    assert status.empty_reason != "nothing_shared"


async def test_an_empty_workspace_says_that_nothing_is_shared(world: PageIndexStage) -> None:
    await world.settle()
    status = await world.pages.index_status(SCOPE)
    assert (status.state, status.empty_reason) == ("complete", "nothing_shared")


async def test_the_fill_continues_after_a_rate_limit(world: PageIndexStage) -> None:
    world.some_pages(50)
    await world.pages.refresh(SCOPE)
    world.notion.fail_next = [Reply(429, retry_after_s=17.0)]
    await world.settle()
    assert 17.0 in world.clock.slept
    assert (await world.pages.index_status(SCOPE)).count == 50


async def test_a_page_that_search_no_longer_shows_stays(world: PageIndexStage) -> None:
    ids = world.some_pages(3)
    await world.settle()
    world.notion.trash(ids[1])
    await world.pages.refresh(SCOPE)
    assert len((await world.pages.list(SCOPE, "recent")).items) == 3


@pytest.mark.parametrize(("what", "access"), [("trash", "trashed"), ("unshare", "gone")])
async def test_a_page_is_removed_on_evidence(world: PageIndexStage, what: str, access: str) -> None:
    ids = world.some_pages(3)
    await world.settle()
    getattr(world.notion, what)(ids[1])
    world.notion.take_calls()
    entry = await world.pages.get(SCOPE, ids[1], "verified")
    assert (entry.access, world.notion.take_calls()) == (access, ["GET pages/ID"])
    assert [e.id for e in (await world.pages.list(SCOPE, "recent")).items] == [ids[2], ids[0]]
    assert world.heard.events[-1][1]["removed"] == [ids[1]]
    assert world.heard.users == {SCOPE.user_id}


async def test_lagging_search_does_not_revive_a_page_just_removed(world: PageIndexStage) -> None:
    ids = world.some_pages(3)
    await world.settle()
    world.notion.trash(ids[2])
    await world.pages.get(SCOPE, ids[2], "verified")
    world.notion.pages[ids[2]]["in_trash"] = False  # as the search index still has it
    await world.pages.refresh(SCOPE)
    assert ids[2] not in [e.id for e in (await world.pages.list(SCOPE, "recent")).items]


async def test_a_restored_page_is_back_after_its_next_edit(world: PageIndexStage) -> None:
    ids = world.some_pages(3)
    await world.settle()
    world.notion.trash(ids[2])
    await world.pages.get(SCOPE, ids[2], "verified")
    world.notion.pages[ids[2]]["in_trash"] = False
    world.notion.edit(ids[2])
    await world.pages.refresh(SCOPE)
    assert ids[2] in [e.id for e in (await world.pages.list(SCOPE, "recent")).items]


async def test_verified_offline_answers_from_the_store_with_access_unknown(
    world: PageIndexStage,
) -> None:
    ids = world.some_pages(1)
    await world.settle()
    world.notion.offline = True
    assert (await world.pages.get(SCOPE, ids[0], "verified")).access == "unknown"


async def test_a_page_never_seen_is_fetched_when_asked_for(world: PageIndexStage) -> None:
    page = world.notion.add_page("Hidden from search")
    with pytest.raises(NotFound):
        await world.pages.get(SCOPE, page)
    assert (await world.pages.get(SCOPE, page, "verified")).title == "Hidden from search"
    assert await world.pages.title_of(SCOPE, page) == "Hidden from search"


async def test_accounts_do_not_see_each_other(world: PageIndexStage) -> None:
    ids = world.some_pages(2)
    await world.settle()
    await world.pages.set_favorite(SCOPE, ids[0], on=True)
    await world.use(ids[0])
    for view in ("recent", "all", "used", "favorites"):
        assert (await world.pages.list(OTHER, view)).items == []
    assert (await world.pages.search(OTHER, "Page")).items == []
    with pytest.raises(NotFound):
        await world.pages.get(OTHER, ids[0])


async def test_a_poke_refreshes_and_nothing_happens_without_one(world: PageIndexStage) -> None:
    world.some_pages(2)
    task = asyncio.create_task(world.pages.run(SCOPE))
    await world.until_called()
    await world.breathe()
    assert world.notion.take_calls() == [SEARCH]
    world.clock.advance(86400)
    await world.breathe()
    assert world.notion.take_calls() == []
    world.pages.poke(SCOPE)
    await world.until_called()
    assert world.notion.take_calls() == [SEARCH]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_damaged_cache_is_rebuilt_and_marks_survive(world: PageIndexStage) -> None:
    ids = world.some_pages(3)
    await world.settle()
    await world.pages.set_favorite(SCOPE, ids[0], on=True)
    await world.use(ids[1])
    await world.close()
    (world.folder / "cache.db").write_bytes(b"not a database" * 1000)
    (world.folder / "cache.db-wal").unlink(missing_ok=True)
    world.start()
    assert (await world.pages.list(SCOPE, "recent")).items == []
    await world.settle()
    assert [e.id for e in (await world.pages.list(SCOPE, "favorites")).items] == [ids[0]]
    assert [e.id for e in (await world.pages.list(SCOPE, "used")).items] == [ids[1]]


async def test_a_page_clipped_to_that_search_never_showed_joins_at_the_next_round(
    world: PageIndexStage,
) -> None:
    world.some_pages(2)
    await world.settle()
    hidden = world.notion.add_page("Hidden")
    world.notion.hidden.add(hidden)
    await world.use(hidden)
    await world.use(world.notion.new_id())  # and one that is gone already
    world.clock.advance(60)
    world.notion.take_calls()
    await world.settle()
    assert world.notion.take_calls() == [SEARCH, "GET pages/ID", "GET pages/ID"]
    assert [e.id for e in (await world.pages.list(SCOPE, "used")).items] == [hidden]
    await world.settle()
    assert world.notion.take_calls() == [SEARCH]


async def test_the_schema_of_a_database_is_there_offline(world: PageIndexStage) -> None:
    source = world.notion.add_page("Tasks", kind="data_source")
    await world.settle()
    world.notion.offline = True
    schema = await world.pages.data_source(SCOPE, source)
    assert schema["title"] == "Tasks"
    assert "Name" in schema["properties"]


async def test_a_missing_schema_is_fetched_once(world: PageIndexStage) -> None:
    source = world.notion.add_page("Tasks", kind="data_source")
    await world.pages.data_source(SCOPE, source)
    await world.pages.data_source(SCOPE, source)
    assert world.notion.take_calls() == ["GET data_sources/ID"]
    with pytest.raises(NotFound):
        await world.pages.data_source(SCOPE, world.notion.new_id())


async def lost_among_240(world: PageIndexStage) -> str:
    """Return an old page that was looked at while it was not shared, and is shared again."""
    mine, *_ = world.some_pages(240)
    await world.settle()
    parent = world.notion.pages.pop(mine)
    assert (await world.pages.get(SCOPE, mine, "verified")).access == "gone"
    world.notion.pages[mine] = parent
    world.clock.advance(1200)
    return mine


async def listed(world: PageIndexStage, page_id: str) -> bool:
    found = (await world.pages.search(SCOPE, "Page 0", limit=100)).items
    return page_id in [entry.id for entry in found]


async def test_a_favorite_that_is_shared_again_comes_back(world: PageIndexStage) -> None:
    mine, *_ = world.some_pages(240)
    await world.settle()
    await world.pages.set_favorite(SCOPE, mine, on=True)
    page = world.notion.pages.pop(mine)
    assert (await world.pages.get(SCOPE, mine, "verified")).access == "gone"
    await world.settle()
    assert not await listed(world, mine)
    world.notion.pages[mine] = page
    await world.settle()
    assert not await listed(world, mine)  # not every refresh asks for it
    world.clock.advance(1801)
    await world.settle()
    assert await listed(world, mine)
    assert [e.id for e in (await world.pages.list(SCOPE, "favorites")).items] == [mine]


async def test_a_used_page_that_is_gone_is_looked_at_when_the_user_refreshes(
    world: PageIndexStage,
) -> None:
    mine = await lost_among_240(world)
    await world.use(mine)  # a delivery is a success with the page
    assert await listed(world, mine)
    page = world.notion.pages.pop(mine)
    await world.pages.get(SCOPE, mine, "verified")
    assert await world.pages.find_lost(SCOPE, again_s=0) == 1
    assert not await listed(world, mine)
    world.notion.pages[mine] = page
    assert await world.pages.find_lost(SCOPE, again_s=0) == 1
    assert await listed(world, mine)
    assert await world.pages.find_lost(SCOPE, again_s=0) == 0


async def test_a_lost_page_that_search_shows_is_read_and_comes_back(world: PageIndexStage) -> None:
    mine = await lost_among_240(world)
    assert (await world.pages.search(SCOPE, "Page 0", remote=True)).items[0].id == mine
    assert await listed(world, mine)


async def test_a_read_of_a_lost_page_restores_it_but_not_one_in_the_trash(
    world: PageIndexStage,
) -> None:
    mine = await lost_among_240(world)
    assert await world.pages.mark_found(SCOPE, mine)
    assert await listed(world, mine)
    await world.pages.mark_trashed(SCOPE, mine)
    assert not await world.pages.mark_found(SCOPE, mine)
    assert await world.pages.mark_found(SCOPE, mine, written=True)


async def test_a_page_that_is_restored_from_the_trash_comes_back_with_its_event(
    world: PageIndexStage,
) -> None:
    mine, *_ = world.some_pages(240)
    await world.settle()
    await world.pages.mark_trashed(SCOPE, mine)
    await world.settle()
    assert not await listed(world, mine)
    world.pages.report_change(SCOPE, mine)
    await world.settle()
    assert await listed(world, mine)


async def test_a_favorite_in_the_trash_is_looked_at_now_and_then(world: PageIndexStage) -> None:
    mine, *_ = world.some_pages(240)
    await world.settle()
    await world.pages.set_favorite(SCOPE, mine, on=True)
    world.notion.trash(mine)
    assert (await world.pages.get(SCOPE, mine, "verified")).access == "trashed"
    assert await world.pages.find_lost(SCOPE) == 0
    for _ in range(2):
        world.clock.advance(1801)
        assert await world.pages.find_lost(SCOPE) == 1
        assert await world.pages.find_lost(SCOPE) == 0
    world.notion.pages[mine]["in_trash"] = False
    assert await world.pages.find_lost(SCOPE, again_s=0) == 1
    assert await listed(world, mine)
