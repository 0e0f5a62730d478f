"""Sessions: access tokens, rotating refresh tokens, reuse, revocation, the session list."""

from __future__ import annotations

import hashlib
from typing import Any

import jwt
import pytest

from cloud_broker.crypto.signing import ACCESS, HANDOFF
from cloud_broker.errors import SessionExpired
from cloud_broker.web.keys import SESSIONS, SIGNER
from tests.cloud_broker.broker_stage import VERIFIER, BrokerStage


async def refreshed(stage: BrokerStage, token: str) -> dict[str, Any]:
    answer = await stage.refresh(token)
    assert answer.status == 200, await answer.text()
    return dict(await answer.json())


async def test_an_access_token_says_who_and_for_how_long(stage: BrokerStage) -> None:
    answer = await stage.sign_in()
    header = jwt.get_unverified_header(answer["access_token"])
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert header == {"alg": "EdDSA", "kid": "one", "typ": "at+jwt"}
    assert claims["sub"] == claims["userId"] == answer["user"]["id"]
    assert claims["email"] == "ada@example.org"
    assert claims["exp"] - claims["iat"] <= 600
    assert {"iss", "aud", "sid", "jti"} <= claims.keys()


async def test_the_published_keys_verify_an_access_token(stage: BrokerStage) -> None:
    token = (await stage.sign_in())["access_token"]
    keys = await (await stage.browser.get("/.well-known/jwks.json")).json()
    key = jwt.PyJWK(keys["keys"][0])
    claims = jwt.decode(
        token, key, audience="http://127.0.0.1:8787/api", options={"verify_iat": False}
    )
    assert claims["iss"] == "http://127.0.0.1:8787"
    assert "d" not in keys["keys"][0]


async def test_an_access_token_ends_by_itself(stage: BrokerStage) -> None:
    token = (await stage.sign_in())["access_token"]
    assert (await stage.get("/api/user/me", token)).status == 200
    stage.clock.advance(601)
    late = await stage.get("/api/user/me", token)
    assert late.status == 401
    assert (await late.json())["code"] == "session_expired"
    assert late.headers["WWW-Authenticate"] == "Bearer"


async def test_a_refresh_token_rotates(stage: BrokerStage) -> None:
    first = await stage.sign_in()
    second = await refreshed(stage, first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert second["user"] == first["user"]
    assert (await stage.get("/api/user/me", second["access_token"])).status == 200


async def test_a_lost_answer_signs_nobody_out(stage: BrokerStage) -> None:
    first = await stage.sign_in()
    await refreshed(stage, first["refresh_token"])  # this answer never arrived
    again = await refreshed(stage, first["refresh_token"])
    third = await refreshed(stage, again["refresh_token"])
    assert (await stage.get("/api/user/me", third["access_token"])).status == 200


async def test_reuse_after_the_successor_was_used_ends_the_session(stage: BrokerStage) -> None:
    first = await stage.sign_in()
    second = await refreshed(stage, first["refresh_token"])
    third = await refreshed(stage, second["refresh_token"])
    reused = await stage.refresh(first["refresh_token"])
    assert (reused.status, (await reused.json())["code"]) == (400, "invalid_grant")
    assert (await stage.refresh(third["refresh_token"])).status == 400
    assert (await stage.get("/api/user/me", third["access_token"])).status == 401


async def test_a_second_use_is_written_down(stage: BrokerStage) -> None:
    handoff = await stage.hand_off()
    body = {"grant_type": "handoff", "token": handoff, "code_verifier": VERIFIER}
    await stage.token(**body)
    await stage.token(**body)
    first = await stage.sign_in()
    second = await refreshed(stage, first["refresh_token"])
    await refreshed(stage, second["refresh_token"])
    await stage.refresh(first["refresh_token"])
    token = (await stage.sign_in())["access_token"]
    export = await (await stage.get("/api/user/export", token)).json()
    ended = [row for row in export["audit"] if row["event"] == "session_ended"]
    assert [row["facts"]["why"] for row in ended] == ["handoff_reused", "refresh_token_reused"]
    sid = jwt.decode(first["access_token"], options={"verify_signature": False})["sid"]
    assert ended[1]["subject"] == {"session": sid}


async def test_of_two_successors_the_second_to_be_used_ends_the_session(stage: BrokerStage) -> None:
    first = await stage.sign_in()
    thief = await refreshed(stage, first["refresh_token"])
    owner = await refreshed(stage, first["refresh_token"])
    newest = await refreshed(stage, thief["refresh_token"])
    assert (await stage.refresh(owner["refresh_token"])).status == 400
    assert (await stage.get("/api/user/me", newest["access_token"])).status == 401


async def test_a_session_that_nobody_uses_for_sixty_days_ends(stage: BrokerStage) -> None:
    first = await stage.sign_in()
    stage.clock.advance(60 * 86_400 + 1)
    assert (await stage.refresh(first["refresh_token"])).status == 400


async def test_logging_out_ends_the_session_at_once(stage: BrokerStage) -> None:
    answer = await stage.sign_in()
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    assert (await stage.browser.post("/api/auth/logout", headers=headers)).status == 204
    assert (await stage.get("/api/user/me", answer["access_token"])).status == 401
    assert (await stage.refresh(answer["refresh_token"])).status == 400


async def test_sessions_are_listed_and_ended_by_device(stage: BrokerStage) -> None:
    laptop, desktop = await stage.sign_in(), await stage.sign_in()
    listed = await (await stage.get("/api/auth/sessions", laptop["access_token"])).json()
    other = next(s["id"] for s in listed["sessions"] if not s["current"])
    ended = await stage.delete(f"/api/auth/sessions/{other}", laptop["access_token"])
    assert [s["device"] for s in listed["sessions"]] == ["Ada's laptop"] * 2
    assert ended.status == 204
    assert (await stage.get("/api/user/me", desktop["access_token"])).status == 401
    assert (await stage.get("/api/user/me", laptop["access_token"])).status == 200


async def test_nobody_ends_another_accounts_session(stage: BrokerStage) -> None:
    ada = await stage.sign_in()
    stage.notion.person.id, stage.notion.workspace_id = "eve", "eves-workspace"
    eve = await stage.sign_in()
    listed = await (await stage.get("/api/auth/sessions", ada["access_token"])).json()
    path = f"/api/auth/sessions/{listed['sessions'][0]['id']}"
    assert (await stage.delete(path, eve["access_token"])).status == 404
    assert (await stage.get("/api/user/me", ada["access_token"])).status == 200


async def test_a_revocation_by_another_instance_counts_within_five_seconds(
    stage: BrokerStage,
) -> None:
    token = (await stage.sign_in())["access_token"]
    await stage.app[SESSIONS].verify(token)
    async with stage.database.transaction() as tx:
        await tx.execute("UPDATE sessions SET revoked_at = 1")
    await stage.app[SESSIONS].verify(token)
    stage.clock.advance(5)
    with pytest.raises(SessionExpired):
        await stage.app[SESSIONS].verify(token)


async def test_tokens_are_stored_as_hashes_only(stage: BrokerStage) -> None:
    handoff = await stage.hand_off()
    jti = jwt.decode(handoff, options={"verify_signature": False})["jti"]
    answer = await stage.token(grant_type="handoff", token=handoff, code_verifier=VERIFIER)
    refresh = (await answer.json())["refresh_token"]
    async with stage.database.reading() as tx:
        rows = [await tx.all(f"SELECT * FROM {name}") for name in ("refresh_tokens", "handoffs")]
    for secret in (refresh, jti):
        assert secret not in str(rows)
        assert hashlib.sha256(secret.encode()).hexdigest() in str(rows)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer a.b.c"])
async def test_a_call_without_a_good_token_is_refused(stage: BrokerStage, header: str) -> None:
    answer = await stage.browser.get("/api/user/me", headers={"Authorization": header})
    assert answer.status == 401


async def test_a_hand_off_is_no_access_token(stage: BrokerStage) -> None:
    handoff = await stage.hand_off()
    assert (await stage.get("/api/user/me", handoff)).status == 401


async def test_a_token_of_a_session_that_never_was_is_refused(stage: BrokerStage) -> None:
    forged = stage.app[SIGNER].sign(ACCESS, {"sub": "u", "sid": "s", "jti": "j"}, life_s=60)
    assert (await stage.get("/api/user/me", forged)).status == 401


async def test_a_token_whose_subject_is_not_its_sessions_is_refused(stage: BrokerStage) -> None:
    tokens = await stage.sign_in()
    listed = await (await stage.get("/api/auth/sessions", tokens["access_token"])).json()
    claims = {"sub": "somebody else", "sid": listed["sessions"][0]["id"], "jti": "j"}
    forged = stage.app[SIGNER].sign(ACCESS, claims, life_s=60)
    assert (await stage.get("/api/user/me", forged)).status == 401


async def test_a_hand_off_that_was_never_noted_is_refused(stage: BrokerStage) -> None:
    forged = stage.app[SIGNER].sign(HANDOFF, {"sub": "u", "jti": "j"}, life_s=60)
    answer = await stage.token(grant_type="handoff", token=forged, code_verifier="v" * 43)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "handoff"}, "invalid_input"),
        ({"grant_type": "refresh_token"}, "invalid_input"),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 5000}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "unknown"}, "invalid_grant"),
        ({"grant_type": "handoff", "token": "a.b.c", "code_verifier": "v"}, "invalid_grant"),
        ({"grant_type": "handoff", "unknown": 1}, "invalid_input"),
        ({"grant_type": 1}, "invalid_input"),
        ([], "invalid_input"),
    ],
)
async def test_a_bad_token_request_says_what_is_wrong(
    stage: BrokerStage, body: Any, code: str
) -> None:
    answer = await stage.browser.post("/api/auth/token", json=body)
    assert (answer.status, (await answer.json())["code"]) == (400, code)


async def test_ended_sessions_and_old_hand_offs_are_forgotten(stage: BrokerStage) -> None:
    answer = await stage.sign_in()
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    await stage.browser.post("/api/auth/logout", headers=headers)
    stage.clock.advance(8 * 86_400)
    await stage.app[SESSIONS].sweep()
    async with stage.database.reading() as tx:
        left = [await tx.all(f"SELECT 1 FROM {t}") for t in ("sessions", "handoffs")]
    assert left == [[], []]


async def test_a_token_of_bytes_that_are_no_text_is_no_token(stage: BrokerStage) -> None:
    sessions = stage.app[SESSIONS]
    with pytest.raises(SessionExpired):
        await sessions.verify("\udcff")


async def test_a_coded_body_is_refused(stage: BrokerStage) -> None:
    answer = await stage.browser.post(
        "/api/auth/token",
        data=b"{}",
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    assert (answer.status, (await answer.json())["code"]) == (415, "unsupported_media_type")


async def test_a_guessed_refresh_token_waits_for_no_writer(stage: BrokerStage) -> None:
    async with stage.database.transaction() as tx:
        await tx.execute("DELETE FROM handoffs")  # a writer is at work, and stays
        assert (await stage.refresh("a guess")).status == 400
