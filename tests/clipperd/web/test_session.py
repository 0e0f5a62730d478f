"""Routes of the session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from clipperd.web.access import Access
from clipperd.web.app import create_app, listening
from clipperd.web.handlers.session import ROUTES
from clipperd.web.keys import CLIPS, SESSION
from clipperd.web.tokens import CLIENT_STEPS, ApiTokens
from tests.clipperd.fake_broker import (
    WORKSPACE_A,
    WORKSPACE_B,
    FakeBroker,
    Fault,
    ada,
    running_broker,
)
from tests.clipperd.session.session_stage import SessionStage, running_world

TOKEN = "owner-token-of-endpoint-json-0123456789abcdef"
BROWSER = {
    "Accept": "text/html",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "cross-site",
    "Authorization": "",
}


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """A running fake broker."""
    async with running_broker() as started:
        yield started


@pytest.fixture
async def world(tmp_path: Path, broker: FakeBroker) -> AsyncIterator[SessionStage]:
    """A session on an empty store."""
    async with running_world(tmp_path, broker.url, steps=CLIENT_STEPS) as started:
        yield started


class OneClip:
    """Stands in for ``Clips``: one clip waits for workspace A."""

    async def unsent(self, workspace_id: str) -> int:
        return 1 if workspace_id == WORKSPACE_A else 0


@pytest.fixture
async def client(world: SessionStage) -> AsyncIterator[ClientSession]:
    """The routes behind the daemon's middleware; one clip waits for workspace A."""

    clients = await ApiTokens.open(world.db, world.clock, new_id=lambda: "c", new_token=lambda: "t")
    access = Access(TOKEN, instance_id="i", tokens=clients, clock=world.clock)
    app = create_app(routes=ROUTES, access=access, clock=world.clock, new_id=lambda: "r")
    app[SESSION] = world.session
    app[CLIPS] = OneClip()  # type: ignore[misc]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with listening(app) as at, ClientSession(at.url, headers=headers) as session:
        yield session


async def _sign_in(client: ClientSession, broker: FakeBroker) -> None:
    started = await (await client.post("/v1/session/login", json={"return": "app"})).json()
    back = broker.answer_login(started["login_url"], ada())
    assert (await client.post("/v1/session/callback", json={"url": back})).status == 200


async def test_the_app_signs_in_by_handing_over_its_deep_link(
    client: ClientSession, broker: FakeBroker
) -> None:
    response = await client.post("/v1/session/login", json={"return": "app"})
    started = await response.json()
    assert set(started) == {"login_id", "login_url", "expires_in"}
    assert started["expires_in"] == 600
    assert (await (await client.get("/v1/session")).json())["state"] == "signing_in"
    back = broker.answer_login(started["login_url"], ada(), deep_path="/callback")
    view = await (await client.post("/v1/session/callback", json={"url": back})).json()
    assert view["state"] == "signed_in"
    assert view["user"]["name"] == "Ada"
    assert view["workspaces"][0] == {
        "id": WORKSPACE_A,
        "name": "Home",
        "icon": "🏠",
        "current": True,
    }
    assert view == await (await client.get("/v1/session")).json()


async def test_the_browser_ends_on_a_page_for_people(
    client: ClientSession, broker: FakeBroker
) -> None:
    started = await (await client.post("/v1/session/login", json={"return": "loopback"})).json()
    back = broker.answer_login(started["login_url"], ada())
    response = await client.get("/v1/session/callback?" + back.partition("?")[2], headers=BROWSER)
    page = await response.text()
    assert response.status == 200
    assert response.content_type == "text/html"
    assert "You can close this window" in page
    assert "<script" not in page
    assert "handoff-" not in page
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert (await (await client.get("/v1/session")).json())["state"] == "signed_in"


@pytest.mark.parametrize("query", ["", "state=x&token=y", "error=<b>&state=<b>", "token=1&token=2"])
async def test_a_browser_sent_here_by_anybody_else_reads_an_error(
    client: ClientSession, broker: FakeBroker, query: str
) -> None:
    response = await client.get(f"/v1/session/callback?{query}", headers=BROWSER)
    assert response.status == 400
    assert response.content_type == "text/html"
    assert "<b>" not in await response.text()
    assert broker.calls == []


async def test_an_outage_at_the_last_step_can_be_mended_by_a_reload(
    client: ClientSession, broker: FakeBroker
) -> None:
    started = await (await client.post("/v1/session/login", json={"return": "loopback"})).json()
    path = "/v1/session/callback?" + broker.answer_login(started["login_url"], ada()).split("?")[1]
    broker.faults.append(Fault("drop_before", "token"))
    response = await client.get(path, headers=BROWSER)
    assert response.status == 503
    assert "Reload" in await response.text()
    assert (await client.get(path, headers=BROWSER)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"return": "elsewhere"},
        {"return": "app", "purpose": "rob"},
        {"return": "app", "redirect_uri": "https://evil.example"},
        {"return": "app", "device": "x" * 101},
        {"return": 1},
        [],
    ],
)
async def test_a_bad_login_body_starts_nothing(client: ClientSession, body: object) -> None:
    response = await client.post("/v1/session/login", json=body)
    assert (await response.json())["code"] == "invalid_input"
    assert (await (await client.get("/v1/session")).json())["state"] == "signed_out"


async def test_a_sign_in_can_be_canceled_once(client: ClientSession) -> None:
    started = await (await client.post("/v1/session/login", json={"return": "app"})).json()
    path = f"/v1/session/login/{started['login_id']}"
    assert (await client.delete(path)).status == 204
    assert (await (await client.delete(path)).json())["code"] == "not_found"
    assert (await (await client.get("/v1/session")).json())["state"] == "signed_out"


async def test_signing_out_answers_with_the_state_after(
    client: ClientSession, broker: FakeBroker
) -> None:
    await _sign_in(client, broker)
    view = await (await client.delete("/v1/session")).json()
    assert (view["state"], view["user"]) == ("signed_out", None)


async def test_workspaces_are_listed_and_chosen(client: ClientSession, broker: FakeBroker) -> None:
    nobody = await (await client.get("/v1/workspaces")).json()
    assert nobody["code"] == "not_signed_in"
    await _sign_in(client, broker)
    chosen = await client.put("/v1/workspaces/current", json={"workspace_id": WORKSPACE_B})
    listed = (await (await client.get("/v1/workspaces")).json())["workspaces"]
    assert (await chosen.json())["workspaces"] == listed
    assert [w["current"] for w in listed] == [False, True]


async def test_another_accounts_workspace_cannot_be_chosen(
    client: ClientSession, broker: FakeBroker
) -> None:
    await _sign_in(client, broker)
    response = await client.put("/v1/workspaces/current", json={"workspace_id": "other"})
    assert (await response.json())["code"] == "workspace_mismatch"


async def test_disconnecting_warns_of_unsent_clips(
    client: ClientSession, broker: FakeBroker
) -> None:
    await _sign_in(client, broker)
    warned = await (await client.delete(f"/v1/workspaces/{WORKSPACE_A}")).json()
    assert (warned["status"], warned["code"]) == (409, "unsent_clips")
    assert warned["params"] == {"count": 1}
    assert broker.calls_to("workspaces") == []
    done = await client.delete(f"/v1/workspaces/{WORKSPACE_A}?confirm=1")
    assert [w["id"] for w in (await done.json())["workspaces"]] == [WORKSPACE_B]
    assert len(broker.calls_to("workspaces")) == 1


async def test_disconnecting_an_idle_workspace_needs_no_word(
    client: ClientSession, broker: FakeBroker
) -> None:
    await _sign_in(client, broker)
    broker.expire_access()
    done = await client.delete(f"/v1/workspaces/{WORKSPACE_B}")
    assert [w["id"] for w in (await done.json())["workspaces"]] == [WORKSPACE_A]


async def test_a_disconnection_that_the_broker_did_not_hear_did_not_happen(
    client: ClientSession, broker: FakeBroker
) -> None:
    await _sign_in(client, broker)
    broker.faults += [Fault("status", "workspaces", 503, body={"code": "database_unavailable"})]
    failed = await (await client.delete(f"/v1/workspaces/{WORKSPACE_B}")).json()
    assert failed["code"] == "broker_unreachable"
    listed = (await (await client.get("/v1/workspaces")).json())["workspaces"]
    assert len(listed) == 2
