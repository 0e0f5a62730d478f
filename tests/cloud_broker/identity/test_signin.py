"""Signing in through the browser: states, cookies, return addresses, hand-offs."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from aiohttp import ClientResponse

from cloud_broker.errors import InvalidInput
from cloud_broker.identity.signin import read_request
from tests.cloud_broker.broker_stage import (
    HTML,
    LOOPBACK,
    OTHER_WORKSPACE,
    VERIFIER,
    WORKSPACE,
    BrokerStage,
    Person,
    a_broker,
    challenge,
    link_in,
    parameters,
    state_of,
)


def error_of(arrived: ClientResponse) -> str:
    """The error with which the browser is sent back to the daemon."""
    location = arrived.headers["Location"]
    assert location.startswith(LOOPBACK)
    query = parameters(location)
    assert query["state"] == "daemon-state-1"
    return query["error"]


async def test_the_browser_is_sent_to_notion_with_a_state_of_the_brokers_own(
    stage: BrokerStage,
) -> None:
    begun = await stage.begin_sign_in()
    query = parameters(begun.headers["Location"])
    assert begun.status == 302
    assert begun.headers["Location"].startswith(
        stage.settings.notion_api_url + "/v1/oauth/authorize?"
    )
    assert query["state"] != "daemon-state-1"
    assert len(query["state"]) == 43
    assert query["redirect_uri"] == "http://127.0.0.1:8787/api/auth/notion/callback"
    assert (query["client_id"], query["response_type"], query["owner"]) == (
        "client",
        "code",
        "user",
    )


async def test_the_loopback_redirect_brings_hand_off_and_the_daemons_state(
    stage: BrokerStage,
) -> None:
    begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
    arrived = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    assert arrived.status == 302
    assert arrived.headers["Location"].startswith(LOOPBACK + "?token=")
    assert parameters(arrived.headers["Location"])["state"] == "daemon-state-1"
    assert arrived.headers["Cache-Control"] == "no-store"
    assert arrived.headers["Referrer-Policy"] == "no-referrer"


async def test_the_app_gets_a_page_with_a_button_under_a_strict_policy(stage: BrokerStage) -> None:
    begun = await stage.begin_sign_in()
    arrived = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    page = await arrived.text()
    assert arrived.status == 200
    assert link_in(page).startswith("notion-clipper://auth?token=")
    policy = arrived.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_return_to_chooses_among_the_allowed_links(stage: BrokerStage) -> None:
    begun = await stage.begin_sign_in(return_to="notion-clipper://auth/callback")
    arrived = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    assert link_in(await arrived.text()).startswith("notion-clipper://auth/callback?token=")


async def test_a_denial_comes_back_as_access_denied(stage: BrokerStage) -> None:
    begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
    arrived = await stage.complete_sign_in(state=state_of(begun), error="access_denied")
    assert parameters(arrived.headers["Location"]) == {
        "error": "access_denied",
        "state": "daemon-state-1",
    }


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [("used-code", 200, "server_error"), ("good-code", 500, "temporarily_unavailable")],
)
async def test_a_failed_exchange_tells_the_daemon(
    stage: BrokerStage, code: str, status: int, error: str
) -> None:
    stage.notion.token_status = status
    begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
    arrived = await stage.complete_sign_in(state=state_of(begun), code=code)
    assert parameters(arrived.headers["Location"])["error"] == error


async def test_a_sign_in_that_cannot_begin_returns_to_the_daemon_too(stage: BrokerStage) -> None:
    async with stage.database.transaction() as tx:
        await tx.execute("DROP TABLE oauth_states")
    arrived = await stage.begin_sign_in(redirect_uri=LOOPBACK)
    assert error_of(arrived) == "service_unavailable"


async def test_a_state_works_once_even_when_two_callbacks_race(stage: BrokerStage) -> None:
    state = state_of(await stage.begin_sign_in(redirect_uri=LOOPBACK))
    both = await asyncio.gather(
        stage.complete_sign_in(state=state, code="good-code"),
        stage.complete_sign_in(state=state, code="good-code"),
    )
    assert sorted(answer.status for answer in both) == [302, 400]
    assert len(stage.notion.calls) == 1


async def test_a_state_dies_after_ten_minutes(stage: BrokerStage) -> None:
    begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
    stage.clock.advance(601)
    arrived = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    assert error_of(arrived) == "login_expired"
    again = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    assert again.status == 400  # no address to return to is known
    assert "login_expired" in await again.text()


async def test_another_browser_cannot_finish_the_sign_in(stage: BrokerStage) -> None:
    begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
    stage.browser.session.cookie_jar.clear()
    arrived = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    assert error_of(arrived) == "login_state_unknown"
    assert stage.notion.calls == []


async def test_a_missing_or_another_cookie_ends_the_sign_in(stage: BrokerStage) -> None:
    jar = stage.browser.session.cookie_jar
    (others,) = (await stage.begin_sign_in()).cookies.values()
    for value in (None, "", "A" * 43, "short", "é" * 43, others.value):
        begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
        (cookie,) = begun.cookies.values()
        jar.clear()
        if value is not None:
            jar.update_cookies({cookie.key: value})
        refused = await stage.complete_sign_in(state=state_of(begun), code="good-code")
        assert error_of(refused) == "login_state_unknown"
        jar.update_cookies({cookie.key: cookie.value})  # too late: the state is used up
        assert (await stage.complete_sign_in(state=state_of(begun), code="good-code")).status == 400
    assert stage.notion.calls == []


async def test_states_and_cookies_are_kept_as_hashes_only(stage: BrokerStage) -> None:
    begun = await stage.begin_sign_in()
    (cookie,) = begun.cookies.values()
    async with stage.database.reading() as tx:
        kept = str(await tx.all("SELECT * FROM oauth_states"))
    assert hashlib.sha256(cookie.value.encode()).hexdigest() in kept
    assert cookie.value not in kept
    assert state_of(begun) not in kept


async def test_two_sign_ins_in_one_browser_do_not_disturb_each_other(stage: BrokerStage) -> None:
    first, second = await stage.begin_sign_in(redirect_uri=LOOPBACK), await stage.begin_sign_in()
    assert (await stage.complete_sign_in(state=state_of(second), code="good-code")).status == 200
    assert (await stage.complete_sign_in(state=state_of(first), code="good-code")).status == 302


async def test_the_cookie_is_out_of_reach_of_scripts(stage: BrokerStage) -> None:
    cookie = (await stage.begin_sign_in()).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


async def test_over_https_the_cookie_is_secure_and_bound_to_the_host(tmp_path: Path) -> None:
    async with a_broker(tmp_path, BROKER_PUBLIC_URL="https://broker.example") as stage:
        cookie = (await stage.begin_sign_in()).headers["Set-Cookie"]
    assert cookie.startswith("__Host-")
    assert "Secure" in cookie
    assert "Domain" not in cookie


async def test_over_https_a_cookie_without_the_prefix_does_not_count(tmp_path: Path) -> None:
    async with a_broker(tmp_path, BROKER_PUBLIC_URL="https://broker.example") as stage:
        for prefix, brought in (("", "error"), ("__Host-", "token")):
            begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
            (cookie,) = begun.cookies.values()
            name = prefix + cookie.key.removeprefix("__Host-")
            answer = await stage.browser.get(
                "/api/auth/notion/callback",
                params={"state": state_of(begun), "code": "good-code"},
                headers={"Cookie": f"{name}={cookie.value}", **HTML},
                allow_redirects=False,
            )
            assert brought in parameters(answer.headers["Location"])


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1/v1/session/callback",
        "http://127.0.0.1:0/v1/session/callback",
        "http://127.0.0.1:65536/v1/session/callback",
        "http://127.0.0.1:080/v1/session/callback",
        "https://127.0.0.1:5000/v1/session/callback",
        "http://localhost:5000/v1/session/callback",
        "http://127.0.0.1:5000/v1/session/callback/",
        "http://127.0.0.1:5000/v1/session/callback?next=http://evil.example",
        "http://127.0.0.1:5000/v1/session/callback#x",
        "http://127.0.0.1:5000@evil.example/v1/session/callback",
        "http://user@127.0.0.1:5000/v1/session/callback",
        "http://127.0.0.1.evil.example:5000/v1/session/callback",
        "http://127.1:5000/v1/session/callback",
        "http://0.0.0.0:5000/v1/session/callback",
        "http://127.0.0.1:5000/v1/../session/callback",
        "http://127.0.0.1:5000\\@evil.example/v1/session/callback",
        "http://127.0.0.1:5000/v1/session/callback\n",
        "//127.0.0.1:5000/v1/session/callback",
        "http://127.0.0.1:٥٠٠٠/v1/session/callback",
        "javascript:alert(1)//127.0.0.1:5000/v1/session/callback",
        "http://[::1]:5000/cb",
        "",
    ],
)
async def test_only_the_daemons_own_loopback_address_is_returned_to(
    stage: BrokerStage, uri: str
) -> None:
    refused = await stage.begin_sign_in(redirect_uri=uri)
    assert refused.status == 400
    assert {"pointer": "/redirect_uri", "code": "invalid"} in (await refused.json())["errors"]


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "evil://auth",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "notion-clipper:",
        "notion-clipper:auth",
        "notion-clipper://",
        "notion-clipper://auth/",
        "notion-clipper://auth.evil.example",
        "notion-clipper://evil@auth",
        "notion-clipper://auth:80",
        "notion-clipper://auth?next=https://evil.example",
        "notion-clipper://auth#x",
        "notion-clipper://auth/../evil",
        "notion-clipper://auth/%2e%2e/evil",
        "notion-clipper://auth\\@evil.example",
        "notion-clipper://auth\n",
        " notion-clipper://auth",
        "NOTION-CLIPPER://AUTH",
        "notion-clipper://auth/callback/",
        "notion-clipper://auth\u2025callback",
    ],
)
def test_only_a_listed_deep_link_is_returned_to(uri: str) -> None:
    allowed = ("notion-clipper://auth", "notion-clipper://auth/callback")
    good = {
        "source": "app",
        "state": "daemon-state-1",
        "code_challenge": challenge(),
        "code_challenge_method": "S256",
        "device": "desk",
    }
    for link in allowed:
        query = list({**good, "return_to": link}.items())
        assert read_request(query, allowed).return_to == link
    with pytest.raises(InvalidInput) as refused:
        read_request(list({**good, "return_to": uri}.items()), allowed)
    assert refused.value.errors == [{"pointer": "/return_to", "code": "invalid"}]


async def test_loopback_over_ipv6_is_fine(stage: BrokerStage) -> None:
    begun = await stage.begin_sign_in(redirect_uri="http://[::1]:5000/v1/session/callback")
    assert begun.status == 302


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("return_to", "evil://auth"),
        ("return_to", "notion-clipper://auth.evil"),
        ("return_to", "notion-clipper://auth/callback/"),
        ("code_challenge", "too-short"),
        ("code_challenge", None),
        ("code_challenge_method", "plain"),
        ("code_challenge_method", None),
        ("state", None),
        ("state", "a b c d e f"),
        ("device", None),
        ("device", "x" * 101),
        ("device", "line\nbreak"),
        ("source", "web"),
        ("purpose", "other"),
    ],
)
async def test_each_parameter_is_checked_and_named(
    stage: BrokerStage, name: str, value: str | None
) -> None:
    refused = await stage.begin_sign_in(**{name: value})
    body = await refused.json()
    assert refused.status == 400
    assert body["code"] == "invalid_input"
    assert [fault["pointer"] for fault in body["errors"]] == [f"/{name}"]


async def test_the_command_line_needs_a_loopback_address(stage: BrokerStage) -> None:
    assert (await stage.begin_sign_in(source="cli")).status == 400
    assert (await stage.begin_sign_in(source="cli", redirect_uri=LOOPBACK)).status == 302


async def test_a_repeated_parameter_is_refused(stage: BrokerStage) -> None:
    begun = await stage.browser.get("/api/auth/notion?source=app&source=cli", allow_redirects=False)
    assert begun.status == 400


async def test_the_same_person_connects_a_second_workspace(stage: BrokerStage) -> None:
    first = await stage.sign_in()
    stage.notion.workspace_id = OTHER_WORKSPACE
    second = await stage.sign_in()
    assert second["user"]["id"] == first["user"]["id"]
    assert [w["id"] for w in second["workspaces"]] == [WORKSPACE, OTHER_WORKSPACE]


async def test_the_same_person_may_sign_in_again(stage: BrokerStage) -> None:
    first, second = await stage.sign_in(), await stage.sign_in()
    assert first["user"] == second["user"]
    assert len(second["workspaces"]) == 1


async def test_a_second_account_on_a_workspace_reads_why_not(stage: BrokerStage) -> None:
    await stage.sign_in()
    stage.notion.person = Person(id="another-person", name="Eve", email="eve@example.org")
    begun = await stage.begin_sign_in()
    refused = await stage.complete_sign_in(state=state_of(begun), code="good-code")
    page = await refused.text()
    assert refused.status == 409
    assert "one account" in page
    assert "ada@example.org" not in page
    assert parameters(link_in(page)) == {"error": "workspace_taken", "state": "daemon-state-1"}


async def test_every_refusal_with_a_known_state_returns_to_the_daemon(stage: BrokerStage) -> None:
    await stage.sign_in()
    stage.notion.person = Person(id="another-person", name="Eve", email="eve@example.org")
    for code, error, status, told in (
        ("good-code", None, 200, "workspace_taken"),
        ("good-code", None, 503, "temporarily_unavailable"),
        ("used-code", None, 200, "server_error"),
        (None, None, 200, "server_error"),
        (None, "invalid_scope", 200, "server_error"),
        (None, "access_denied", 200, "access_denied"),
    ):
        stage.notion.token_status = status
        begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
        answer = {"code": code, "error": error}
        given = {name: value for name, value in answer.items() if value is not None}
        arrived = await stage.complete_sign_in(state=state_of(begun), **given)
        assert error_of(arrived) == told


async def test_the_tokens_of_a_refused_account_are_given_back(stage: BrokerStage) -> None:
    await stage.sign_in()
    stage.notion.person = Person(id="another-person")
    begun = await stage.begin_sign_in(redirect_uri=LOOPBACK)
    await stage.complete_sign_in(state=state_of(begun), code="good-code")
    await stage.until(lambda: len(stage.notion.revoked) == 2)
    assert stage.notion.revoked == ["ntn_canary_access_2", "nrt_canary_refresh_2"]


async def test_a_problem_is_json_for_a_program_and_a_page_for_a_person(stage: BrokerStage) -> None:
    path = "/api/auth/notion/callback?state=unknown"
    program = await stage.browser.get(path)
    person = await stage.browser.get(path, headers=HTML)
    assert program.content_type == "application/problem+json"
    assert (await program.json())["code"] == "login_expired"
    assert person.content_type == "text/html"


async def test_a_hand_off_opens_a_session_once(stage: BrokerStage) -> None:
    handoff = await stage.hand_off()
    first = await stage.token(grant_type="handoff", token=handoff, code_verifier=VERIFIER)
    access = (await first.json())["access_token"]
    second = await stage.token(grant_type="handoff", token=handoff, code_verifier=VERIFIER)
    assert (first.status, second.status) == (200, 400)
    assert (await second.json())["code"] == "invalid_grant"
    assert (await stage.get("/api/user/me", access)).status == 401  # the session it made is over


async def test_a_hand_off_is_worth_nothing_without_the_verifier(stage: BrokerStage) -> None:
    wrong: dict[str, dict[str, str]] = {
        "missing": {},
        "empty": {"code_verifier": ""},
        "another": {"code_verifier": "w" * 43},
        "the challenge itself, as with plain": {"code_verifier": challenge()},
        "too short": {"code_verifier": VERIFIER[:42]},
        "too long": {"code_verifier": VERIFIER * 200},
    }
    for name, given in wrong.items():
        handoff = await stage.hand_off()
        body = {"grant_type": "handoff", "token": handoff}
        for more in (given, {"code_verifier": VERIFIER}):  # it died on the first try
            refused = await stage.token(**body, **more)
            assert (refused.status, (await refused.json())["code"]) == (400, "invalid_grant"), name


async def test_a_hand_off_lives_for_a_minute(stage: BrokerStage) -> None:
    handoff = await stage.hand_off()
    stage.clock.advance(61)
    late = await stage.token(grant_type="handoff", token=handoff, code_verifier=VERIFIER)
    assert late.status == 400


async def test_the_answer_names_account_workspaces_and_subscription(stage: BrokerStage) -> None:
    answer = await stage.sign_in()
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 600
    assert answer["user"]["email"] == "ada@example.org"
    assert answer["workspaces"] == [
        {
            "id": stage.notion.workspace_id,
            "name": "Lovelace",
            "icon": None,
            "bot_id": f"bot-of-{stage.notion.workspace_id}",
            "reauth_required": False,
        }
    ]
    assert answer["subscription"] == {"tier": "FREE", "status": "active"}
