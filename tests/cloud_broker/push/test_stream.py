"""A daemon's event stream: its events, its readers, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.errors import ReauthRequired
from cloud_broker.identity.sessions import Claims
from cloud_broker.push import fanout
from cloud_broker.push.inbox import LEFT_S, LOG_KEPT_S, Inbox
from cloud_broker.push.notifier import LocalNotifier
from cloud_broker.secret import Secret
from cloud_broker.web.keys import TOKENS
from cloud_broker.web.webhooks import INBOX
from tests.clocks import ManualClock
from tests.cloud_broker.broker_stage import (
    OTHER_WORKSPACE,
    WORKSPACE,
    BrokerStage,
    Person,
    a_broker,
)
from tests.cloud_broker.push.push_listener import BOT, PAGE, TOKEN, an_event, listening, post, told


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[BrokerStage]:
    async with a_broker(tmp_path, BROKER_WEBHOOK_TOKEN=TOKEN) as started:
        yield started


def change(what: str = "content", *, by_bot: bool = False) -> tuple[str, dict[str, object]]:
    ids = {"workspace_id": WORKSPACE, "page_id": PAGE}
    return "page", {**ids, "what": what, "by_bot": by_bot}


async def test_an_edit_arrives_as_ids(stage: BrokerStage) -> None:
    tokens = await stage.sign_in()
    async with listening(stage, tokens["access_token"]) as stream:
        assert await stream.next() == ("ready", {"pages": True})
        await post(stage, an_event(stage))
        await told(stage)
        assert await stream.next() == change()
        assert stream.last_id == "1"


async def test_a_burst_on_one_page_is_one_event_and_a_person_among_bots_counts(
    stage: BrokerStage,
) -> None:
    tokens = await stage.sign_in()
    async with listening(stage, tokens["access_token"]) as stream:
        await stream.next()
        bot = [{"id": BOT, "type": "bot"}]
        for authors in (bot, [{"id": "ada", "type": "person"}], bot):
            await post(stage, an_event(stage, authors=authors))
        await post(stage, an_event(stage, type="page.moved", authors=bot))
        await told(stage)
        assert await stream.next() == change()
        assert await stream.next() == change("moved", by_bot=True)


async def test_another_integrations_bot_is_not_ours(stage: BrokerStage) -> None:
    tokens = await stage.sign_in()
    async with listening(stage, tokens["access_token"]) as stream:
        await stream.next()
        await post(stage, an_event(stage, authors=[{"id": "other-bot", "type": "bot"}]))
        await told(stage)
        assert await stream.next() == change(by_bot=False)


async def test_what_was_missed_is_told_over_a_restart_of_the_broker(tmp_path: Path) -> None:
    async with a_broker(tmp_path, BROKER_WEBHOOK_TOKEN=TOKEN) as stage:
        tokens = await stage.sign_in()
        await post(stage, an_event(stage))  # acknowledged, and stopped before it was in the log
        await stage.turn()
    async with a_broker(tmp_path, BROKER_WEBHOOK_TOKEN=TOKEN) as stage:
        await told(stage)
        async with listening(stage, tokens["access_token"], "0") as stream:
            seen = [await stream.next(), await stream.next()]
        assert change() in seen


async def test_what_a_broker_took_before_it_died_is_told_by_another(stage: BrokerStage) -> None:
    await stage.sign_in()
    clock, notices, ring = ManualClock(), LocalNotifier(), KeyRing([("one", b"k" * 32)])
    other = Inbox(
        stage.database, ring, notices, clock, token=Secret(TOKEN), is_pending=False, poll_s=2.0
    )

    async def a_turn() -> None:
        turning = asyncio.ensure_future(other.run_once())
        while not turning.done():
            clock.advance(0.1)
            await stage.turn()

    await a_turn()  # it has just started, and nothing was left
    assert (await post(stage, an_event(stage)))[0] == 200  # at one whose clock stands from here on
    hearing = asyncio.ensure_future(notices.wait())
    while not hearing.done():
        await a_turn()
    assert clock.now() - stage.clock.now() > LEFT_S  # not while its owner may live


@pytest.mark.parametrize("last_id", ["99", "nonsense", "-1"])
async def test_a_number_that_cannot_be_resumed_is_a_gap(stage: BrokerStage, last_id: str) -> None:
    tokens = await stage.sign_in()
    async with listening(stage, tokens["access_token"], last_id) as stream:
        assert await stream.next() == ("gap", {})
        assert (await stream.next())[0] == "ready"


async def test_history_that_was_forgotten_is_a_gap(stage: BrokerStage) -> None:
    await stage.sign_in()
    await post(stage, an_event(stage))
    await told(stage)
    intake = stage.app[INBOX]
    await intake.publish()
    stage.clock.advance(LOG_KEPT_S + 1)
    await intake.sweep()
    tokens = await stage.sign_in()
    async with listening(stage, tokens["access_token"], "0") as stream:
        assert await stream.next() == ("gap", {})
    async with listening(stage, tokens["access_token"], "1") as stream:
        assert (await stream.next())[0] == "ready"


async def test_who_has_no_connection_or_may_not_see_the_page_hears_nothing(
    stage: BrokerStage,
) -> None:
    ada = await stage.sign_in()
    stage.notion.person = Person(id="someone-else", email="bob@example.org")
    stage.notion.workspace_id = OTHER_WORKSPACE
    bob = await stage.sign_in()
    async with (
        listening(stage, ada["access_token"]) as hers,
        listening(stage, bob["access_token"]) as his,
    ):
        await hers.next()
        await his.next()
        await post(stage, an_event(stage, accessible_by=[{"id": "no-bot", "type": "bot"}]))
        await post(stage, an_event(stage, type="page.deleted"))
        bobs = an_event(stage, workspace_id=OTHER_WORKSPACE)
        del bobs["accessible_by"]
        await post(stage, bobs)
        await told(stage)
        assert await hers.next() == change("deleted")
        name, data = await his.next()
        assert (name, data["workspace_id"]) == ("page", OTHER_WORKSPACE)
    async with listening(stage, bob["access_token"], "0") as his:  # nor from the log
        assert [(await his.next())[0] for _ in range(2)] == ["page", "ready"]


async def test_a_revoked_session_is_told_and_its_stream_ends(stage: BrokerStage) -> None:
    tokens = await stage.sign_in()
    other = await stage.sign_in()
    async with listening(stage, tokens["access_token"]) as stream:
        await stream.next()
        listed = await (await stage.get("/api/auth/sessions", other["access_token"])).json()
        for session in listed["sessions"]:
            if not session["current"]:
                await stage.delete(f"/api/auth/sessions/{session['id']}", other["access_token"])
        stage.clock.advance(fanout.CHECK_S)
        assert await stream.next() == ("session_revoked", {})
        assert (await stream.next())[0] == "end"


async def test_a_stream_ends_with_its_token(stage: BrokerStage) -> None:
    tokens = await stage.sign_in()
    async with listening(stage, tokens["access_token"]) as stream:
        await stream.next()
        stage.clock.advance(600)
        seen = [(await stream.next())[0] for _ in range(2)]
        assert seen[-1] == "end"


async def test_a_connection_that_must_be_renewed_is_told(stage: BrokerStage) -> None:
    tokens = await stage.sign_in()
    async with listening(stage, tokens["access_token"]) as stream:
        await stream.next()
        async with stage.database.transaction() as tx:
            await tx.execute("UPDATE notion_connections SET reauth_required = 1")
        stage.clock.advance(fanout.CHECK_S)
        assert await stream.next() == ("reauth_required", {"workspace_id": WORKSPACE})


async def test_a_grant_that_ended_at_notion_is_told_to_its_daemons(stage: BrokerStage) -> None:
    tokens = await stage.sign_in()
    opened = await stage.app[TOKENS].open(tokens["user"]["id"], None, "test")
    async with listening(stage, tokens["access_token"]) as stream:
        await stream.next()
        stage.notion.live_refresh.clear()
        with pytest.raises(ReauthRequired):
            await stage.app[TOKENS].refresh(opened)
        stage.clock.advance(fanout.CHECK_S)
        assert await stream.next() == ("reauth_required", {"workspace_id": WORKSPACE})


async def test_the_line_is_shown_to_stand(stage: BrokerStage) -> None:
    tokens = await stage.sign_in()
    async with listening(stage, tokens["access_token"]) as stream:
        await stream.next()
        stage.clock.advance(25)
        assert await stream.next() == ("comment", "beat")


async def test_nobody_listens_without_a_token(stage: BrokerStage) -> None:
    assert (await stage.browser.get("/api/events")).status == 401


async def test_a_reader_who_lags_too_far_is_dropped() -> None:
    claims = Claims("user", "session", "", "FREE", 1e12)
    stream = fanout.Stream(claims)
    for _ in range(fanout.WAITING + 1):
        stream.put(b"x")
    assert stream.is_closed
    assert await stream.next() is None


async def test_the_ninth_stream_of_an_account_ends_its_first(stage: BrokerStage) -> None:
    tokens = await stage.sign_in()
    async with AsyncExitStack() as streams:
        opened = [
            await streams.enter_async_context(listening(stage, tokens["access_token"]))
            for _ in range(fanout.PER_ACCOUNT + 1)
        ]
        assert (await opened[-1].next())[0] == "ready"
        assert [(await opened[0].next())[0] for _ in range(2)] == ["ready", "end"]
