"""The URL of a sign-in, and the answers that may return to it."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from clipperd.errors import InvalidInput
from clipperd.session.login import read_answer
from tests.clipperd.fake_broker import FakeBroker, ada
from tests.clipperd.session.session_stage import SessionStage


async def test_the_app_gets_an_address_without_a_redirect(
    world: SessionStage, broker: FakeBroker
) -> None:
    url = URL((await world.session.start_login("app")).login_url)
    assert url.with_query(None) == broker.url / "api/auth/notion"
    assert url.query["source"] == "app"
    assert url.query["code_challenge_method"] == "S256"
    assert url.query["device"] == "here"
    assert "redirect_uri" not in url.query


async def test_the_command_line_gets_the_loopback_redirect(world: SessionStage) -> None:
    url = URL((await world.session.start_login("loopback", device="laptop")).login_url)
    assert url.query["source"] == "cli"
    assert url.query["redirect_uri"] == "http://127.0.0.1:4711/v1/session/callback"
    assert url.query["device"] == "laptop"


async def test_the_challenge_is_the_hash_of_the_verifier(
    world: SessionStage, broker: FakeBroker
) -> None:
    started = await world.session.start_login("app")
    await world.session.finish_login(read_answer(broker.answer_login(started.login_url, ada())))
    verifier = broker.calls_to("token")[0].body["code_verifier"]
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    assert URL(started.login_url).query["code_challenge"] == digest.rstrip(b"=").decode()


async def test_every_sign_in_has_its_own_secrets(world: SessionStage) -> None:
    first = URL((await world.session.start_login("app")).login_url).query
    second = URL((await world.session.start_login("app")).login_url).query
    assert first["state"] != second["state"]
    assert first["code_challenge"] != second["code_challenge"]


@pytest.mark.parametrize(
    "url",
    [
        "notion-clipper://auth?token=t&state=s",
        "notion-clipper://auth/?token=t&state=s",
        "notion-clipper://auth/callback?token=t&state=s",
        "NOTION-CLIPPER://AUTH?token=t&state=s",
        "notion-clipper://auth?state=s&token=t&userId=ignored",
        "http://127.0.0.1:4711/v1/session/callback?token=t&state=s",
        "http://localhost:4711/v1/session/callback?token=t&state=s",
    ],
)
def test_the_documented_answers_are_read(url: str) -> None:
    answered = read_answer(url)
    assert (answered.token, answered.state, answered.error) == ("t", "s", None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "notion-clipper://auth",
        "notion-clipper://auth?token=t",
        "notion-clipper://auth?token=&state=s",
        "notion-clipper://auth?token=t&state=",
        "notion-clipper://auth?token=t&token=u&state=s",
        "notion-clipper://auth?state=s",
        "notion-clipper://auth/other?token=t&state=s",
        "notion-clipper://open?token=t&state=s",
        "clipperpro://auth?token=t&state=s",
        "https://127.0.0.1/v1/session/callback?token=t&state=s",
        "http://evil.example/v1/session/callback?token=t&state=s",
        "http://127.0.0.1.evil.example/v1/session/callback?token=t&state=s",
        "http://[::1/v1/session/callback?token=t&state=s",
        "notion-clipper://auth?" + "&".join(f"a{i}=1" for i in range(30)),
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        read_answer(url)


def test_an_error_word_is_passed_on_but_not_a_text() -> None:
    read = read_answer("notion-clipper://auth?error=workspace_taken&state=s")
    assert (read.error, read.token) == ("workspace_taken", None)
    read = read_answer("notion-clipper://auth?error=%3Cscript%3E&state=s&token=t")
    assert (read.error, read.token) == ("unknown", None)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    for url in (text, f"notion-clipper://auth?{text}", f"http://127.0.0.1:{text}"):
        try:
            answered = read_answer(url)
        except InvalidInput:
            continue
        assert answered.state
        assert (answered.token is None) != (answered.error is None)


def test_no_secret_is_in_the_repr_of_an_answer() -> None:
    assert "canary" not in repr(read_answer("notion-clipper://auth?token=canary&state=canary2"))
