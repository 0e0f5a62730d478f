"""The account: it shows, exports, disconnects and erases."""

from __future__ import annotations

from tests.cloud_broker.broker_stage import (
    LOOPBACK,
    OTHER_WORKSPACE,
    WORKSPACE,
    BrokerStage,
    Person,
    parameters,
    state_of,
)
from tests.servers.broker_database import tables


async def everything_stored(stage: BrokerStage) -> str:
    names = await tables(stage.database)
    async with stage.database.reading() as tx:
        rows = {name: await tx.all(f"SELECT * FROM {name}") for name in names}
    return str(rows)


async def test_me_shows_profile_workspaces_subscription_and_limits(stage: BrokerStage) -> None:
    token = (await stage.sign_in())["access_token"]
    me = await (await stage.get("/api/user/me", token)).json()
    assert me["user"]["name"] == "Ada"
    assert me["workspaces"][0]["name"] == "Lovelace"
    assert me["subscription"] == {"tier": "FREE", "status": "active"}
    assert me["limits"]["all"] == 120
    assert me["limits"]["routes"]["POST /search"] == 30


async def test_no_notion_token_is_in_any_answer_or_in_clear_in_the_database(
    stage: BrokerStage,
) -> None:
    answer = await stage.sign_in()
    token = answer["access_token"]
    me = await (await stage.get("/api/user/me", token)).text()
    export = await (await stage.get("/api/user/export", token)).text()
    shown = str(answer) + me + export + await everything_stored(stage)
    assert "canary" not in shown


async def test_an_export_holds_what_is_kept_and_no_secret(stage: BrokerStage) -> None:
    token = (await stage.sign_in())["access_token"]
    answer = await stage.get("/api/user/export", token)
    export = await answer.json()
    assert export["profile"]["email"] == "ada@example.org"
    assert export["workspaces"][0]["id"] == WORKSPACE
    assert export["sessions"][0]["device"] == "Ada's laptop"
    assert export["profile"]["created_at"].endswith("Z")


async def test_a_disconnected_workspace_is_revoked_and_forgotten(stage: BrokerStage) -> None:
    token = (await stage.sign_in())["access_token"]
    assert (await stage.delete(f"/api/workspaces/{WORKSPACE}", token)).status == 204
    await stage.until(lambda: len(stage.notion.revoked) == 2)
    me = await (await stage.get("/api/user/me", token)).json()
    assert me["workspaces"] == []
    assert set(stage.notion.revoked) == {"ntn_canary_access_1", "nrt_canary_refresh_1"}


async def test_only_ones_own_workspace_can_be_disconnected(stage: BrokerStage) -> None:
    ada = (await stage.sign_in())["access_token"]
    stage.notion.person, stage.notion.workspace_id = Person(id="eve"), OTHER_WORKSPACE
    eve = (await stage.sign_in())["access_token"]
    assert (await stage.delete(f"/api/workspaces/{WORKSPACE}", eve)).status == 404
    me = await (await stage.get("/api/user/me", ada)).json()
    assert len(me["workspaces"]) == 1


async def test_a_revocation_that_fails_is_tried_again_later(stage: BrokerStage) -> None:
    token = (await stage.sign_in())["access_token"]
    stage.notion.revoke_status = 503
    await stage.delete(f"/api/workspaces/{WORKSPACE}", token)
    stage.notion.revoke_status = 200
    while len(stage.notion.revoked) < 2:
        stage.clock.advance(31)
        await stage.turn()
    async with stage.database.reading() as tx:
        assert await tx.all("SELECT id FROM notion_connections") == []


async def test_erasure_leaves_nothing_of_the_person(stage: BrokerStage) -> None:
    answer = await stage.sign_in()
    stage.notion.workspace_id = OTHER_WORKSPACE
    token = (await stage.sign_in())["access_token"]
    assert (await stage.delete("/api/user", token)).status == 204
    await stage.until(lambda: len(stage.notion.revoked) == 4)
    await stage.turn()
    stored = await everything_stored(stage)
    for trace in (
        answer["user"]["id"],
        "ada@example.org",
        "Ada",
        WORKSPACE,
        OTHER_WORKSPACE,
        stage.notion.person.id,
    ):
        assert trace not in stored
    assert (await stage.get("/api/user/me", token)).status == 401


async def test_the_person_may_come_back_after_erasure_and_nobody_else(stage: BrokerStage) -> None:
    token = (await stage.sign_in())["access_token"]
    await stage.delete("/api/user", token)
    assert (await stage.sign_in())["workspaces"][0]["id"] == WORKSPACE
    stage.notion.person = Person(id="eve")
    begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
    arrived = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    assert parameters(arrived.headers["Location"])["error"] == "workspace_taken"
