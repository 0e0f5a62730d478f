"""``login``, ``logout``, ``whoami``, ``workspaces``."""

from __future__ import annotations

import json
from pathlib import Path

from tests.clipperd.cli.commands import clipperd
from tests.clipperd.fake_daemon import SIGNED_IN, SIGNED_OUT, SIGNING_IN, FakeDaemon, running

PENDING = {"login_id": "l1", "state": "pending", "error": None}
URL = "https://broker.example/api/auth/notion?state=s"


async def test_login_opens_the_browser_and_waits_for_the_end(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.sessions = [SIGNED_OUT, SIGNED_IN]
    fake.logins = [PENDING, {**PENDING, "state": "done"}]
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "login")
    assert (result.code, result.opened) == (0, (URL,))
    assert "Signed in as ada@example.org." in result.out
    body = next(body for _, path, body in fake.seen if path == "/v1/session/login")
    assert body == {"return": "loopback", "purpose": "sign_in"}


async def test_login_only_prints_the_address_when_asked(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.sessions = [SIGNED_OUT, SIGNED_IN]
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "login", "--no-browser")
    assert (result.code, result.opened) == (0, ())
    assert URL in result.err


async def test_a_refused_login_fails_with_its_reason_and_a_way_on(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.sessions = [SIGNED_OUT]
    error = {"code": "workspace_taken", "title": "T", "detail": "It is taken.", "hint": "Choose."}
    fake.logins = [PENDING, {**PENDING, "state": "failed", "error": error}]
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "login")
    assert result.code == 1
    assert "It is taken." in result.err
    assert "Try again with: clipperd login" in result.err


async def test_login_watches_its_own_sign_in_only(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.sessions = [SIGNED_OUT, SIGNING_IN]  # another one is still under way
    fake.logins = [{**PENDING, "state": "canceled"}]
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "login", "--json")
    assert result.code == 1
    assert json.loads(result.err.splitlines()[-1])["error"]["code"] == "canceled"


async def test_a_pasted_address_finishes_a_sign_in_whose_browser_is_elsewhere(
    tmp_path: Path,
) -> None:
    fake = FakeDaemon()
    fake.sessions = [SIGNED_OUT, SIGNED_IN]
    fake.logins = [PENDING]
    back = "http://127.0.0.1:4711/v1/session/callback?token=t&state=s"
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "login", "--paste", stdin=f"nonsense\n{back}\n".encode())
    assert (result.code, result.opened) == (0, ())
    assert fake.callbacks == ["nonsense", back]
    assert "Paste the whole address" in result.err
    assert "Signed in as ada@example.org." in result.out


async def test_an_address_given_as_callback_finishes_the_sign_in(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "login", "--callback", "notion-clipper://auth?token=t")
    assert result.code == 0
    assert fake.callbacks == ["notion-clipper://auth?token=t"]


async def test_login_without_a_broker_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.sessions = [SIGNED_OUT]
    problem = {"code": "broker_not_configured", "detail": "No broker.", "hint": "Set broker_url."}
    fake.refuse = {"/v1/session/login": (409, problem)}
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "login")
    assert (result.code, result.opened) == (4, ())
    assert "Set broker_url." in result.err


async def test_login_does_nothing_for_who_is_signed_in(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "login")
    assert result.code == 0
    assert "You are signed in as ada@example.org." in result.out
    assert "/v1/session/login" not in [path for _, path, _ in fake.seen]


async def test_adding_a_workspace_ends_with_its_sign_in(tmp_path: Path) -> None:
    fake = FakeDaemon()
    more = SIGNED_IN | {"workspaces": [*SIGNED_IN["workspaces"], {"id": "w3", "name": "New"}]}
    fake.sessions = [SIGNED_IN, more]
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "login", "--add-workspace", "--json")
    assert [w["id"] for w in json.loads(result.out)["workspaces"]] == ["w1", "w2", "w3"]


async def test_adding_a_workspace_fails_when_none_came(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "login", "--add-workspace")
    assert result.code == 1
    assert "Nothing has changed" in result.err


async def test_logout_names_the_account(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "logout")
    assert "Signed out ada@example.org." in result.out
    assert ("DELETE", "/v1/session", None) in fake.seen


async def test_whoami_fails_when_nobody_is_signed_in(tmp_path: Path) -> None:
    fake = FakeDaemon()
    fake.sessions = [SIGNED_OUT]
    async with running(tmp_path, fake):
        result = await clipperd(tmp_path, "whoami")
    assert (result.code, "clipperd login" in result.out) == (1, True)


async def test_whoami_shows_account_and_workspaces(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "whoami")
    assert "Lab (current)" in result.out


async def test_a_workspace_is_chosen_by_name(tmp_path: Path) -> None:
    async with running(tmp_path) as fake:
        result = await clipperd(tmp_path, "workspaces", "--use", "home")
    assert result.code == 0
    assert ("PUT", "/v1/workspaces/current", {"workspace_id": "w2"}) in fake.seen


async def test_an_unknown_workspace_is_a_usage_error(tmp_path: Path) -> None:
    async with running(tmp_path):
        result = await clipperd(tmp_path, "workspaces", "--use", "nope")
    assert result.code == 2
