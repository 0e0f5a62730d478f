"""One person's session reaches nothing of another's: at the broker, and in one daemon's store."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.proxy.routes import ROUTES as PROXY_ROUTES
from cloud_broker.sandbox.app import WORLD
from cloud_broker.sandbox.seed import (
    EMPTY_PAGE,
    JONAS,
    MIRA,
    OTHER_WORKSPACE,
    TEAM_PAGE,
    WORKSPACE,
)
from tests.security.answers import Findings, no_problem
from tests.security.house import Daemon, House

PROXY = "/api/notion/proxy/v1"
MIRA_MAIL, JONAS_MAIL = "mira@example.com", "jonas@example.com"


@pytest.fixture
async def mira(house: House) -> dict[str, Any]:
    return await house.person(MIRA_MAIL, WORKSPACE)


@pytest.fixture
async def jonas(house: House) -> dict[str, Any]:
    return await house.person(JONAS_MAIL, OTHER_WORKSPACE)


def _tokens_of(house: House, user_id: str) -> set[str]:
    world = house.notion[WORLD]
    return {f"Bearer {each.access}" for each in world.tokens.values() if each.user_id == user_id}


async def test_no_call_of_one_person_goes_out_under_the_other_ones_token(
    house: House, mira: dict[str, Any], jonas: dict[str, Any]
) -> None:
    found = Findings()
    seen = len(house.witness.exchanges)
    before = await house.rows()
    workspaces: tuple[str | None, ...] = (OTHER_WORKSPACE, WORKSPACE, None)
    for route in PROXY_ROUTES:
        path = PROXY + route.path([TEAM_PAGE] * 2).removeprefix("/v1")
        body = {"in_trash": True} if route.name == "blocks.update" else None
        for workspace in workspaces:
            headers = {} if workspace is None else {"X-Workspace-Id": workspace}
            answer = await house.ask(
                route.method, path, token=mira["access_token"], json=body, headers=headers
            )
            where = f"{route.name} in {workspace}"
            if workspace == OTHER_WORKSPACE:
                found.check(where, no_problem(*answer, 400, 403, 404))
            if route.name not in ("search", "users.me", "file_uploads.create"):
                found.check(where, no_problem(*answer, 400, 403, 404))
            if TEAM_PAGE in str(answer[2].get("results", "")):
                found.check(where, "shows the other one's page")
    assert not found, found.told()
    after = await house.rows()
    assert {**after, "idempotency": 0} == {**before, "idempotency": 0}
    sent = [each for each in house.witness.exchanges[seen:] if each.server == "notion"]
    assert sent
    assert {each.authorization for each in sent} <= _tokens_of(house, MIRA)
    assert not {each.authorization for each in sent} & _tokens_of(house, JONAS)


async def test_one_person_can_end_or_see_nothing_of_the_others_account(
    house: House, mira: dict[str, Any], jonas: dict[str, Any]
) -> None:
    theirs = jwt.decode(jonas["access_token"], options={"verify_signature": False})
    mine = mira["access_token"]
    before, calls = await house.rows(), house.calls
    for method, path in (
        ("DELETE", f"/api/auth/sessions/{theirs['sid']}"),
        ("DELETE", f"/api/workspaces/{OTHER_WORKSPACE}"),
    ):
        assert no_problem(*await house.ask(method, path, token=mine), 404) is None
    for path in ("/api/user/me", "/api/user/export", "/api/auth/sessions"):
        status, _, body = await house.ask("GET", path, token=mine)
        assert status == 200
        for secret in (OTHER_WORKSPACE, "jonas", theirs["sub"], theirs["sid"]):
            assert secret not in str(body), path
    assert (await house.rows(), house.calls) == (before, calls)
    assert (await house.ask("GET", "/api/user/me", token=jonas["access_token"]))[0] == 200


async def test_one_persons_key_tells_nothing_of_the_others_write(
    house: House, mira: dict[str, Any], jonas: dict[str, Any]
) -> None:
    stamp = f"{int(SystemClock().now() * 1000):012x}"
    key = f"{stamp[:8]}-{stamp[8:]}-7000-8000-000000000001"
    block = {"type": "paragraph", "paragraph": {"rich_text": [{"text": {"content": "x"}}]}}
    answers = []
    for tokens, workspace, page in (
        (jonas, OTHER_WORKSPACE, TEAM_PAGE),
        (mira, WORKSPACE, EMPTY_PAGE),
    ):
        answers.append(
            await house.ask(
                "PATCH",
                f"{PROXY}/blocks/{page}/children",
                token=tokens["access_token"],
                json={"children": [block]},
                headers={"Idempotency-Key": key, "X-Workspace-Id": workspace},
            )
        )
    assert [answer[0] for answer in answers] == [200, 200], answers
    ids = [answer[2]["results"][0]["id"] for answer in answers]
    assert ids[0] != ids[1]
    assert "Idempotency-Replayed" not in answers[1][1]


async def test_after_a_change_of_account_nothing_of_the_first_is_seen(house: House) -> None:
    async with house.daemon() as daemon:
        await daemon.sign_in(user=MIRA_MAIL, workspace=WORKSPACE)
        made = await _leave_traces(daemon)
        seen = len(house.witness.exchanges)
        await daemon.call("DELETE", "/v1/session")
        await daemon.sign_in(user=JONAS_MAIL, workspace=OTHER_WORKSPACE)
        found = Findings()
        for method, path in _doors(made):
            status, headers, body = await daemon.call(method, path)
            if made["clip"] in path or path.startswith("/v1/workspaces/"):
                found.check(f"{method} {path}", no_problem(status, headers, body, 404, 409))
            elif status >= 500:
                found.check(f"{method} {path}", f"{status} {body}")
            for secret in ("canary of mira", "mira@example.com", made["clip"], "Reading list"):
                if secret in str(body):
                    found.check(f"{method} {path}", f"shows {secret!r}")
        headers = {"X-Workspace-Id": WORKSPACE}
        for path in ("/v1/pages", f"/v1/pages/{EMPTY_PAGE}", f"/v1/pages/{EMPTY_PAGE}/outline"):
            answer = await daemon.call("GET", path, headers=headers)
            found.check(f"{path} there", no_problem(*answer, 409))
        assert not found, found.told()
        later = [each for each in house.witness.exchanges[seen:] if each.server == "notion"]
        api = {each.authorization for each in later if "oauth" not in each.url}
        assert api
        assert api <= _tokens_of(house, JONAS)


async def _leave_traces(daemon: Daemon) -> dict[str, str]:
    """Clips, delivered and waiting, an outline, a favourite: all that a person leaves behind."""
    done = await daemon.clip(EMPTY_PAGE, "canary of mira, delivered")
    assert (await daemon.settled(done["id"]))["state"] == "delivered"
    await daemon.call("PUT", f"/v1/pages/{EMPTY_PAGE}/favorite")
    assert (await daemon.call("GET", f"/v1/pages/{EMPTY_PAGE}/outline"))[0] == 200
    waiting = await daemon.clip(
        EMPTY_PAGE, "canary of mira, waiting", not_before="2099-01-01T00:00:00Z"
    )
    return {"clip": waiting["id"], "done": done["id"]}


def _doors(made: dict[str, str]) -> list[tuple[str, str]]:
    one = f"/v1/clips/{made['clip']}"
    return [
        *(("GET", path) for path in ("/v1/status", "/v1/session", "/v1/workspaces", "/v1/health")),
        *(("GET", f"/v1/pages?view={view}") for view in ("recent", "used", "favorites", "all")),
        ("GET", "/v1/pages?q=reading"),
        ("GET", "/v1/pages?q=reading&remote=1"),
        ("GET", f"/v1/pages/{EMPTY_PAGE}"),
        ("GET", f"/v1/pages/{EMPTY_PAGE}?freshness=verified"),
        ("GET", f"/v1/pages/{EMPTY_PAGE}/outline"),
        ("GET", f"/v1/pages/{EMPTY_PAGE}/outline?freshness=cached"),
        ("PUT", f"/v1/pages/{EMPTY_PAGE}/favorite"),
        ("GET", "/v1/clips"),
        ("GET", "/v1/clips?q=canary"),
        ("GET", f"/v1/clips?page_id={EMPTY_PAGE}"),
        ("GET", one),
        ("GET", one + "/content"),
        *(("POST", f"{one}/{verb}") for verb in ("retry", "cancel", "undo")),
        ("DELETE", one),
        ("DELETE", f"/v1/workspaces/{WORKSPACE}"),
        ("DELETE", "/v1/clips"),
        ("POST", "/v1/queue/retry"),
        ("GET", f"/v1/notion/pages/{EMPTY_PAGE}"),
    ]


async def test_the_first_accounts_clips_are_still_there_when_it_comes_back(house: House) -> None:
    async with house.daemon() as daemon:
        await daemon.sign_in(user=MIRA_MAIL, workspace=WORKSPACE)
        made = await _leave_traces(daemon)
        await daemon.call("DELETE", "/v1/session")
        await daemon.sign_in(user=JONAS_MAIL, workspace=OTHER_WORKSPACE)
        await daemon.call("DELETE", "/v1/clips")
        await daemon.call("DELETE", "/v1/session")
        await daemon.sign_in(user=MIRA_MAIL, workspace=WORKSPACE)
        _, _, listed = await daemon.call("GET", "/v1/clips")
        assert {clip["id"] for clip in listed["items"]} == {made["clip"], made["done"]}
        status, _, body = await daemon.call("GET", f"/v1/clips/{made['clip']}/content")
        assert (status, "canary of mira, waiting" in str(body)) == (200, True)


async def test_a_stream_shows_no_event_of_another_account(house: House) -> None:
    async with house.daemon() as daemon:
        await daemon.sign_in(user=MIRA_MAIL, workspace=WORKSPACE)
        await _leave_traces(daemon)
        await daemon.call("DELETE", "/v1/session")
        await daemon.sign_in(user=JONAS_MAIL, workspace=OTHER_WORKSPACE)
        seen = await daemon.events(b"event: clip", then=daemon.clip(TEAM_PAGE, "for the team"))
        assert b"for the team" in seen
        assert b"canary of mira" not in seen
        assert EMPTY_PAGE.encode() not in seen
