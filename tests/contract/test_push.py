"""An edit at the sandbox reaches the daemon's outline by webhook, broker and stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.push_stage import Pushed, a_pushed_daemon


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Pushed]:
    """The daemon's caches behind a stream that is up, on a page that nobody has looked at."""
    async with a_pushed_daemon(tmp_path) as started:
        yield started


async def test_an_outline_costs_no_call_while_the_stream_vouches_for_it(daemon: Pushed) -> None:
    page = await daemon.page()
    first = await daemon.outline(page)
    assert (first.source, first.notion_calls > 0) == ("fetched", True)
    await daemon.forget_calls()
    for _ in range(5):
        outline = await daemon.outline(page)
        assert (outline.source, outline.notion_calls, outline.stale) == ("push", 0, False)
    assert await daemon.calls() == {}


async def test_a_persons_edit_reaches_the_outline(daemon: Pushed) -> None:
    page = await daemon.page()
    await daemon.outline(page)
    assert (await daemon.outline(page)).source == "push"
    await daemon.edit(op="insert", page_id=page, text="# Added by hand")
    await daemon.until(lambda: daemon.freshness.has_unread_change((daemon.scope, page)))
    outline = await daemon.outline(page)
    assert outline.headings[-1].text == "Added by hand"
    assert (await daemon.outline(page)).source == "push"


async def test_what_we_wrote_ourselves_stays_vouched_for_and_known(daemon: Pushed) -> None:
    page = await daemon.page()
    outline = await daemon.outline(page)
    await daemon.clip_to_section(page, outline.headings[0].id, "one")
    await daemon.settled()
    assert (await daemon.outline(page)).source == "push"
    await daemon.forget_calls()
    for text in ("two", "three"):
        await daemon.clip_to_section(page, outline.headings[0].id, text)
    assert await daemon.calls() == {"PATCH /v1/blocks/{id}/children": 2}
    assert await daemon.section(page, "Inbox") == ["first", "one", "two", "three"]


async def test_a_section_that_a_person_added_to_is_read_before_it_is_written_to(
    daemon: Pushed,
) -> None:
    page = await daemon.page()
    outline = await daemon.outline(page)
    inbox = outline.headings[0].id
    await daemon.clip_to_section(page, inbox, "one")
    last = (await daemon.blocks(page))[2]["id"]
    await daemon.edit(op="insert", page_id=page, after=last, text="by hand")
    await daemon.until(lambda: daemon.freshness.has_unread_change((daemon.scope, page)))
    await daemon.forget_calls()
    await daemon.clip_to_section(page, inbox, "two")
    assert await daemon.section(page, "Inbox") == ["first", "one", "by hand", "two"]
    assert (await daemon.calls())["GET /v1/blocks/{id}/children"] == 1


async def test_after_ten_minutes_even_an_undoubted_outline_is_looked_at(daemon: Pushed) -> None:
    page = await daemon.page()
    await daemon.outline(page)
    daemon.clock.advance(601)
    daemon.freshness.on_activity()
    assert (await daemon.outline(page)).source in ("verified", "fetched")


async def test_a_line_that_has_gone_silent_vouches_for_nothing(daemon: Pushed) -> None:
    page = await daemon.page()
    await daemon.outline(page)
    daemon.clock.advance(61)
    assert (await daemon.outline(page)).source != "push"


async def test_a_page_in_the_trash_leaves_the_list_without_a_call(daemon: Pushed) -> None:
    page = await daemon.page()
    await daemon.pages.get(daemon.scope, page, "verified")
    await daemon.forget_calls()
    await daemon.edit(op="delete", page_id=page)
    await daemon.until(lambda: page in daemon.removed)
    assert "GET /v1/pages/{id}" not in await daemon.calls()


async def test_the_page_list_needs_no_refresh_until_somebody_edits(daemon: Pushed) -> None:
    page = await daemon.page()
    await daemon.outline(page)
    daemon.listener.is_index_current(daemon.scope)  # of what happened so far
    assert daemon.listener.is_index_current(daemon.scope)
    await daemon.edit(op="insert", page_id=page, text="typed")
    await daemon.until(lambda: daemon.freshness.has_unread_change((daemon.scope, page)))
    assert not daemon.listener.is_index_current(daemon.scope)
    assert daemon.listener.is_index_current(daemon.scope)


async def test_what_was_missed_while_the_broker_was_away_is_told_on_its_return(
    daemon: Pushed,
) -> None:
    page = await daemon.page()
    await daemon.outline(page)
    assert (await daemon.outline(page)).source == "push"
    await daemon.stop_broker()
    await daemon.until(lambda: not daemon.listener.is_live)
    await daemon.edit(op="rename", page_id=page, text="Renamed")
    await daemon.edit(op="insert", page_id=page, text="# While away")
    await daemon.start_broker()
    await daemon.until(lambda: daemon.listener.is_live)
    await daemon.until(lambda: daemon.freshness.has_unread_change((daemon.scope, page)))
    assert (await daemon.outline(page)).headings[-1].text == "While away"


async def test_after_a_gap_nothing_is_vouched_for(daemon: Pushed) -> None:
    page = await daemon.page()
    await daemon.outline(page)
    await daemon.stop_broker()
    await daemon.until(lambda: not daemon.listener.is_live)
    daemon.forget_the_log()
    await daemon.start_broker()
    await daemon.until(lambda: daemon.listener.is_live)
    assert (await daemon.outline(page)).source != "push"


async def test_a_session_that_was_revoked_is_noticed_at_once(daemon: Pushed) -> None:
    await daemon.revoke_session()
    await daemon.until(lambda: daemon.listener.view()["state"] == "off")
    assert daemon.world.connectivity.status.state == "reauth_required"
