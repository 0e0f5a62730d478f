"""One user reaches no row of another in one daemon's store.

test_isolation_by_route.py walks the broker.
"""

from __future__ import annotations

from cloud_broker.sandbox.app import WORLD
from cloud_broker.sandbox.seed import (
    EMPTY_PAGE,
    JONAS,
    OTHER_WORKSPACE,
    TEAM_PAGE,
    WORKSPACE,
)
from tests.security.answers import Findings, no_problem
from tests.security.whole_system import Daemon, WholeSystem

MIRA_MAIL, JONAS_MAIL = "mira@example.com", "jonas@example.com"


def _tokens_of(house: WholeSystem, user_id: str) -> set[str]:
    world = house.notion[WORLD]
    return {f"Bearer {each.access}" for each in world.tokens.values() if each.user_id == user_id}


NAMES_THE_OWNER = ("/v1/status", "/v1/health")
"""They say how many clips wait here for which other account, and nothing else of it."""


async def test_after_a_change_of_account_nothing_of_the_first_is_seen(house: WholeSystem) -> None:
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
                if secret == MIRA_MAIL and path in NAMES_THE_OWNER:
                    assert secret in str(body)  # or nobody would know whose clips wait
                elif secret in str(body):
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


async def test_the_first_accounts_clips_are_still_there_when_it_comes_back(
    house: WholeSystem,
) -> None:
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


async def test_a_stream_shows_no_event_of_another_account(house: WholeSystem) -> None:
    async with house.daemon() as daemon:
        await daemon.sign_in(user=MIRA_MAIL, workspace=WORKSPACE)
        await _leave_traces(daemon)
        await daemon.call("DELETE", "/v1/session")
        await daemon.sign_in(user=JONAS_MAIL, workspace=OTHER_WORKSPACE)
        seen = await daemon.events(b"event: clip", then=daemon.clip(TEAM_PAGE, "for the team"))
        assert b"for the team" in seen
        assert b"canary of mira" not in seen
        assert EMPTY_PAGE.encode() not in seen
