"""The daemon's session against the real broker, over HTTP only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from clipperd.errors import ReauthRequired
from clipperd.keychain.system import MemorySecrets
from clipperd.session.credentials import secret_name
from clipperd.session.errors import LoginDenied, LoginExpired
from clipperd.session.login import Purpose, ReturnTo, read_answer
from clipperd.session.view import SessionView
from tests.clipperd.session.session_stage import SessionStage, running_world
from tests.cloud_broker.broker_stage import (
    HTML,
    WORKSPACE,
    BrokerStage,
    a_broker,
    link_in,
    state_of,
)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[BrokerStage]:
    """A running broker in front of a stand-in for Notion's OAuth."""
    folder = tmp_path / "broker"
    folder.mkdir()
    async with a_broker(folder) as started:
        yield started


@pytest.fixture
async def world(tmp_path: Path, stage: BrokerStage) -> AsyncIterator[SessionStage]:
    """The daemon's session side, pointed at that broker."""
    async with running_world(tmp_path, _address(stage)) as started:
        yield started


def _address(stage: BrokerStage) -> URL:
    return URL(str(stage.browser.make_url("/")).rstrip("/"))


async def _through_the_browser(stage: BrokerStage, login_url: str, code: str = "good-code") -> str:
    """Open the login address, agree at Notion, and return where the browser is sent in the end."""
    departed = await stage.browser.get(URL(login_url).path_qs, allow_redirects=False)
    assert departed.status == 302, await departed.text()
    given = {"code": code} if code else {"error": "access_denied"}
    arrived = await stage.browser.get(
        "/api/auth/notion/callback",
        params={"state": state_of(departed), **given},
        headers=HTML,
        allow_redirects=False,
    )
    return arrived.headers.get("Location") or link_in(await arrived.text())


async def _sign_in(
    world: SessionStage,
    stage: BrokerStage,
    return_to: ReturnTo = "app",
    purpose: Purpose = "sign_in",
) -> SessionView:
    started = await world.session.start_login(return_to, purpose)
    back = await _through_the_browser(stage, started.login_url)
    return await world.session.finish_login(read_answer(back))


@pytest.mark.parametrize("return_to", ["app", "loopback"])
async def test_a_person_signs_in_by_deep_link_and_by_loopback(
    world: SessionStage, stage: BrokerStage, return_to: ReturnTo
) -> None:
    view = await _sign_in(world, stage, return_to)
    assert view.state == "signed_in"
    assert view.user is not None
    assert view.user.email == "ada@example.org"
    assert [(w.id, w.name) for w in view.workspaces] == [(WORKSPACE, "Lovelace")]
    assert view.subscription is not None
    assert view.subscription.tier == "FREE"
    assert view.limits is not None
    assert await world.accounts.bot_id(await world.accounts.scope()) == f"bot-of-{WORKSPACE}"


async def test_declining_at_notion_is_a_denied_sign_in(
    world: SessionStage, stage: BrokerStage
) -> None:
    started = await world.session.start_login("app")
    back = await _through_the_browser(stage, started.login_url, code="")
    with pytest.raises(LoginDenied) as denied:
        await world.session.finish_login(read_answer(back))
    assert denied.value.params == {"error": "access_denied"}


async def test_a_hand_off_older_than_a_minute_has_expired(
    world: SessionStage, stage: BrokerStage
) -> None:
    started = await world.session.start_login("app")
    back = await _through_the_browser(stage, started.login_url)
    stage.clock.advance(61)
    with pytest.raises(LoginExpired):
        await world.session.finish_login(read_answer(back))


async def test_the_session_is_renewed_again_and_again(
    world: SessionStage, stage: BrokerStage
) -> None:
    view = await _sign_in(world, stage)
    assert view.user is not None
    seen = set()
    for _ in range(5):
        stage.clock.advance(660)
        world.clock.advance(660)
        seen.add(await world.session.token_for(view.user.id))
    assert len(seen) == 5
    assert await world.session.state() == "signed_in"


async def test_a_session_is_taken_up_after_a_restart(tmp_path: Path, stage: BrokerStage) -> None:
    kept = MemorySecrets()
    async with running_world(tmp_path, _address(stage), kept=kept) as world:
        await _sign_in(world, stage)
    async with running_world(tmp_path, _address(stage), kept=kept) as world:
        user = await world.accounts.current_user()
        assert user is not None
        assert (await stage.get("/api/user/me", await world.session.token_for(user))).status == 200


async def test_signing_out_ends_the_session_at_the_broker(
    world: SessionStage, stage: BrokerStage
) -> None:
    view = await _sign_in(world, stage)
    assert view.user is not None
    token = await world.session.token_for(view.user.id)
    refresh = await world.secrets.get(secret_name(view.user.id))
    assert refresh is not None
    await world.session.sign_out()
    while (await stage.get("/api/user/me", token)).status != 401:
        await stage.turn()  # it is told behind
    assert (await stage.refresh(refresh)).status == 400


async def test_a_session_ended_elsewhere_asks_for_a_new_sign_in(
    world: SessionStage, stage: BrokerStage
) -> None:
    view = await _sign_in(world, stage)
    assert view.user is not None
    token = await world.session.token_for(view.user.id)
    listed = await (await stage.get("/api/auth/sessions", token)).json()
    await stage.delete(f"/api/auth/sessions/{listed['sessions'][0]['id']}", token)
    world.clock.advance(660)
    with pytest.raises(ReauthRequired):
        await world.session.token_for(view.user.id)
    assert (await world.session.view()).why == "invalid_grant"
    assert (await _sign_in(world, stage)).state == "signed_in"


async def test_a_workspace_is_disconnected_at_the_broker(
    world: SessionStage, stage: BrokerStage
) -> None:
    view = await _sign_in(world, stage)
    assert view.user is not None
    await world.session.disconnect(await world.accounts.scope())
    me = await stage.get("/api/user/me", await world.session.token_for(view.user.id))
    assert (await me.json())["workspaces"] == []
    assert (await world.session.view()).workspaces == []
