"""Every route of the broker, from its own table: one user's session with another user's ids.

Jonas asks, Mira owns. Each route has an entry that says how it keeps them apart; a route without
an entry fails the test.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_broker.clock import SystemClock
from cloud_broker.proxy.routes import ROUTES as PROXY_ROUTES
from cloud_broker.proxy.routes import Route
from cloud_broker.sandbox.seed import MIRA, OTHER_WORKSPACE, READING_LIST, TEAM_PAGE, WORKSPACE
from tests.security.two_people import PROXY, Asked, TwoPeople, two_people

How = Callable[[TwoPeople, str, str], Awaitable[None]]


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[TwoPeople]:
    async with two_people(tmp_path) as people:
        yield people


# --- how a route keeps people apart ------------------------------------------------------------


async def _same_for_all(two: TwoPeople, method: str, path: str) -> None:
    """It knows no accounts: what it answers is the same without any."""
    answers = [
        await two.house.ask(method, path, token=token)
        for token in (two.token, two.mira["access_token"], None)
    ]
    if method == "GET" and path != "/metrics":
        bare = [(status, body) for status, _, body in answers]
        two.found.check(path, None if bare[0] == bare[1] == bare[2] else f"differs: {bare}")
    for secret in two.words | set(two.hers.values()):
        if secret in str(answers):
            two.found.check(path, f"shows {secret!r}")


async def _refuses_what_was_not_asked_for(two: TwoPeople, method: str, path: str) -> None:
    """It takes a secret that only the one has: anything else is refused alike."""
    for asked in (
        Asked(method, path, {"grant_type": "refresh_token", "refresh_token": "{session}"}),
        Asked(
            method, path, {"grant_type": "handoff", "token": "{user}", "code_verifier": "v" * 43}
        ),
        Asked(method, f"{path}?state={'A' * 43}&code={{user}}"),
    ):
        answer = await two.ask(asked.filled(two.hers))
        two.found.check(path, None if answer[0] in (302, 400, 401, 415) else f"{answer}")


async def _shows_ones_own(two: TwoPeople, method: str, path: str) -> None:
    """It takes no id: whose rows it shows is the token's."""
    for headers in ({}, {"X-Workspace-Id": WORKSPACE, "X-User-Id": "{user}"}):
        for query in ("", "?user_id={user}&workspace_id={workspace}&session_id={session}"):
            asked = Asked(method, path + query, headers=headers).filled(two.hers)
            status, _, body = await two.ask(asked)
            two.found.check(path, None if status == 200 else f"{status} {body}")
    _, _, hers = await two.house.ask(method, path, token=two.mira["access_token"])
    if not any(secret in str(hers) for secret in two.words | set(two.hers.values())):
        two.found.check(path, "does not even show hers to her: this proves nothing")


async def _refuses_hers(two: TwoPeople, method: str, path: str) -> None:
    """It takes an id: hers is like nobody's, of whatever kind."""
    start, _, rest = path.partition("{")
    for kind in two.hers:
        await two.refused(Asked(method, f"{start}{{{kind}}}{rest.partition('}')[2]}"), 404)
    await _she_is_still_there(two, path)


async def _ends_ones_own(two: TwoPeople, method: str, path: str) -> None:
    """It ends the session or the account of the token, and no other."""
    token = await two.jonas()
    asked = Asked(method, path, None if method == "DELETE" else {}, {"X-User-Id": "{user}"})
    status, _, _ = await two.ask(asked.filled(two.hers), token)
    two.found.check(path, None if status == 204 else f"{status}")
    after, _, _ = await two.house.ask("GET", "/api/user/me", token=token)
    two.found.check(path, None if after == 401 else "did not end the caller's own")
    await _she_is_still_there(two, path)
    two.token = await two.jonas()


async def _she_is_still_there(two: TwoPeople, where: str) -> None:
    for path in ("/api/user/me", f"{PROXY}/pages/{READING_LIST}"):
        status, _, body = await two.house.ask("GET", path, token=two.mira["access_token"])
        two.found.check(where, None if status == 200 else f"{path} of hers: {status} {body}")
    refresh = {"grant_type": "refresh_token", "refresh_token": two.mira["refresh_token"]}
    status, _, body = await two.house.ask("POST", "/api/auth/token", json=refresh)
    two.found.check(where, None if status == 200 else f"her session has ended: {body}")
    two.mira |= body


async def _hears_ones_own(two: TwoPeople, method: str, path: str) -> None:
    """A stream tells what concerns the token's account, from any number on."""
    await two.changed(WORKSPACE, two.hers["page"])
    for last in (None, "0"):
        headers = {"Authorization": f"Bearer {two.token}", "X-Workspace-Id": WORKSPACE}
        headers |= {} if last is None else {"Last-Event-ID": last}
        url = two.house.broker_url.join(type(two.house.broker_url)(path))
        async with two.house.browser.request(method, url, headers=headers) as stream:
            heard = await stream.content.readuntil(b"event: ready")
            await two.changed(WORKSPACE, two.hers["page"])
            await two.changed(OTHER_WORKSPACE, TEAM_PAGE)
            while TEAM_PAGE.encode() not in heard.rpartition(b"event: ready")[2]:
                heard += await stream.content.readany()
        for kind, value in two.hers.items():
            two.found.check(path, f"tells {kind}" if value.encode() in heard else None)


async def _believes_the_sender_only(two: TwoPeople, method: str, path: str) -> None:
    """It takes signed events, whoever brings them."""
    event = {"workspace_id": "{workspace}", "entity": {"id": "{page}"}, "type": "page.deleted"}
    if path == "/api/billing/webhook":
        bought = {"customer": "cus_1", "client_reference_id": "{user}"}
        event = {"id": "evt_1", "type": "checkout.session.completed", "data": {"object": bought}}
    before = await two.house.rows()
    forged = {"X-Notion-Signature": "sha256=" + "0" * 64, "Stripe-Signature": "t=1,v1=" + "0" * 64}
    for headers in ({}, forged):
        await two.refused(Asked(method, path, event, headers), 401)
    two.found.check(path, None if await two.house.rows() == before else "stored something")


async def _keeps_writes_apart(two: TwoPeople, method: str, path: str) -> None:
    """What one person's programs have written is told to them and settled by them alone."""
    stamp = f"{int(SystemClock().now() * 1000):012x}"
    key = f"{stamp[:8]}-{stamp[8:]}-7000-8000-{'1' if method == 'GET' else '2':>012}"
    block = {"type": "paragraph", "paragraph": {"rich_text": [{"text": {"content": "x"}}]}}
    headers = {"X-Workspace-Id": WORKSPACE}
    status, _, made = await two.house.ask(
        *("PATCH", f"{PROXY}/blocks/{READING_LIST}/children"),
        token=two.mira["access_token"],
        json={"children": [block]},
        headers={**headers, "Idempotency-Key": key},
    )
    assert status == 200, made
    body: dict[str, object] | None = {"created": []} if method == "PUT" else None
    where = path.replace("{key}", key) + ("?since=2020-01-01T00:00:00Z" if method == "GET" else "")
    for workspace in (WORKSPACE, OTHER_WORKSPACE):
        asked = Asked(method, where, body, {"X-Workspace-Id": workspace})
        status, _, told = await two.ask(asked)
        two.found.check(path, None if status in (200, 204) else f"{status} {told}")
        two.found.check(path, "tells her key" if key in str(told) else None)
    status, _, told = await two.house.ask(
        *("GET", "/api/notion/writes?since=2020-01-01T00:00:00Z"),
        token=two.mira["access_token"],
        headers=headers,
    )
    mine = [each for each in told["writes"] if each["key"] == key]
    created = [each["created"] for each in mine] == [[made["results"][0]["id"]]]
    two.found.check(path, None if created else f"{status} {mine}")


async def _by_the_table(two: TwoPeople, method: str, path: str) -> None:
    """The proxy: every row of its table, with every kind of hers in every place of an id."""
    for route in PROXY_ROUTES:
        for kind in two.hers:
            for asked in _calls(route, kind):
                await two.refused(asked, 400, 404)
                if kind == "page":
                    await two.refused(_within(asked, OTHER_WORKSPACE), 400, 404)
                    await two.refused(_within(asked, "{workspace}"), 403)
    for asked in OWN:
        for kind in two.hers:
            status, _, body = await two.ask(asked.filled({"any": two.hers[kind]}))
            two.found.check(f"{asked}", None if status in (200, 400) else f"{status} {body}")
    await _she_is_still_there(two, path)


OWN = (
    Asked("POST", f"{PROXY}/search", {"query": "Reading"}),
    Asked("POST", f"{PROXY}/search", {"start_cursor": "{any}"}),
    Asked("POST", f"{PROXY}/file_uploads", {"mode": "single_part"}),
    Asked("GET", f"{PROXY}/users/me"),
)
"""Calls that are about the caller's own, whatever they name."""


def _within(asked: Asked, workspace: str) -> Asked:
    return replace(asked, headers={"X-Workspace-Id": workspace})


def _calls(route: Route, kind: str) -> Iterator[Asked]:
    """Calls of a row, with an id of ``kind`` in each place that takes one."""
    an_id = f"{{{kind}}}"
    path = PROXY + route.path([an_id] * len(route.words)).removeprefix("/v1")
    block = {"type": "paragraph", "paragraph": {"rich_text": [{"text": {"content": "x"}}]}}
    file = {"type": "file_upload", "file_upload": {"id": an_id}}
    bodies: dict[str, dict[str, object]] = {
        "blocks.children.append": {"children": [block]},
        "blocks.update": {"in_trash": True},
        "pages.update": {"in_trash": True},
    }
    if any(word.startswith(":") for word in route.words):
        body = None if route.body is None else bodies.get(route.name, {})
        yield Asked(route.method, path, body, is_form=route.streams)
    own_page = f"{PROXY}/blocks/{TEAM_PAGE}/children"
    match route.name:
        case "pages.create":
            for parent in ("page_id", "database_id", "data_source_id"):
                yield Asked("POST", path, {"parent": {parent: an_id}, "properties": {}})
        case "pages.update":
            yield Asked("PATCH", f"{PROXY}/pages/{TEAM_PAGE}", {"icon": file})
        case "blocks.children.list":
            yield Asked("GET", f"{own_page}?start_cursor={an_id}")
        case "blocks.children.append":
            where = {"type": "after_block", "after_block": {"id": an_id}}
            yield Asked("PATCH", own_page, {"children": [block], "position": where})
            yield Asked("PATCH", own_page, {"children": [block], "after": an_id})
            yield Asked("PATCH", own_page, {"children": [{"type": "image", "image": file}]})
        case _:
            pass


CASES: dict[str, How] = {
    "* /api/notion/proxy/{path}": _by_the_table,
    "DELETE /api/auth/sessions/{session_id}": _refuses_hers,
    "DELETE /api/user": _ends_ones_own,
    "DELETE /api/workspaces/{workspace_id}": _refuses_hers,
    "GET /.well-known/jwks.json": _same_for_all,
    "GET /api/auth/notion": _refuses_what_was_not_asked_for,
    "GET /api/auth/notion/callback": _refuses_what_was_not_asked_for,
    "GET /api/auth/sessions": _shows_ones_own,
    "GET /api/events": _hears_ones_own,
    "GET /api/notion/writes": _keeps_writes_apart,
    "GET /api/user/export": _shows_ones_own,
    "GET /api/user/me": _shows_ones_own,
    "GET /healthz": _same_for_all,
    "GET /metrics": _same_for_all,
    "GET /readyz": _same_for_all,
    "POST /api/auth/logout": _ends_ones_own,
    "POST /api/auth/token": _refuses_what_was_not_asked_for,
    "POST /api/billing/webhook": _believes_the_sender_only,
    "POST /api/notion/webhook": _believes_the_sender_only,
    "PUT /api/notion/writes/{key}": _keeps_writes_apart,
}


@pytest.mark.timeout(180)
async def test_on_no_route_does_one_person_reach_what_is_the_others(two: TwoPeople) -> None:
    seen = len(two.house.witness.exchanges)
    walked = set()
    for route in two.house.broker.router.routes():
        assert route.resource is not None
        if route.method == "HEAD":
            continue  # aiohttp's twin of a GET
        walked.add(f"{route.method} {route.resource.canonical}")
        how = CASES.get(f"{route.method} {route.resource.canonical}")
        if how is None:
            two.found.append(
                f"{route.method} {route.resource.canonical}: say here how it is isolated"
            )
        else:
            await how(two, route.method, route.resource.canonical)
    assert not two.found, two.found.told()
    assert walked == set(CASES)
    hers = two.tokens_of(MIRA)
    sent = [each for each in two.house.witness.exchanges[seen:] if each.server == "notion"]
    own_calls = {f"/v1/pages/{READING_LIST}", f"/v1/blocks/{READING_LIST}/children"}
    under_hers = [each.url for each in sent if each.authorization in hers]
    assert set(under_hers) == own_calls
    assert len(sent) > 100


async def test_one_persons_use_spends_nothing_of_the_others(tmp_path: Path) -> None:
    async with two_people(tmp_path, BROKER_LIMIT_SCALE="1") as two:
        mira = two.mira["access_token"]
        full = await _left(two, mira)
        searches = [await two.ask(Asked("POST", f"{PROXY}/search", {})) for _ in range(31)]
        assert (searches[30][0], searches[30][1]["X-Broker-Code"]) == (429, "limit_route")
        exports = [await two.ask(Asked("GET", "/api/user/export")) for _ in range(7)]
        assert exports[6][0] == 429
        assert await _left(two, mira) == full - 1
        assert (await two.house.ask("GET", "/api/user/export", token=mira))[0] == 200


async def _left(two: TwoPeople, token: str) -> int:
    """How many searches are left to somebody after one more."""
    status, headers, body = await two.house.ask("POST", f"{PROXY}/search", token=token, json={})
    assert status == 200, body
    found = re.search(r'"route";r=([0-9]+)', headers["RateLimit"])
    assert found is not None
    return int(found[1])


async def test_what_is_remembered_of_one_token_says_nothing_of_another(two: TwoPeople) -> None:
    mira = two.mira["access_token"]
    for token in (mira, two.token):  # both verdicts are remembered now
        assert (await two.house.ask("GET", "/api/user/me", token=token))[0] == 200
    assert (await two.house.ask("POST", "/api/auth/logout", token=mira, json={}))[0] == 204
    assert (await two.house.ask("GET", "/api/user/me", token=mira))[0] == 401
    status, _, body = await two.ask(Asked("GET", "/api/user/me"))
    assert (status, body["user"]["email"]) == (200, "jonas@example.com")


async def test_one_persons_request_under_the_others_key_is_no_replay(two: TwoPeople) -> None:
    stamp = f"{int(SystemClock().now() * 1000):012x}"
    key = f"{stamp[:8]}-{stamp[8:]}-7000-8000-000000000001"
    block = {"type": "paragraph", "paragraph": {"rich_text": [{"text": {"content": "x"}}]}}
    path = f"{PROXY}/blocks/{READING_LIST}/children"
    asked = Asked("PATCH", path, {"children": [block]}, {"Idempotency-Key": key})
    hers = [
        await two.house.ask(
            *(asked.method, asked.path),
            token=two.mira["access_token"],
            json=asked.body,
            headers=dict(asked.headers),
        )
        for _ in range(2)
    ]
    assert [status for status, _, _ in hers] == [200, 200]
    assert hers[1][1]["Idempotency-Replayed"] == "true"
    status, headers, body = await two.ask(asked)
    assert (status, body["code"]) == (404, "object_not_found")
    assert hers[0][2]["results"][0]["id"] not in str(body)
    assert "Idempotency-Replayed" not in headers
    assert not two.found
