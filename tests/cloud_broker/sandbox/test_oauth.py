"""OAuth: consent, codes, pairs, rotation, revocation, and both shapes of error."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import encode_basic_auth

from cloud_broker.sandbox import seed
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage

BACK = "http://127.0.0.1:9/callback?keep=1"
CLIENT = encode_basic_auth("sandbox-client", "sandbox-secret")


async def authorize(stage: SandboxStage, **query: str) -> dict[str, list[str]]:
    asked = {
        "client_id": "sandbox-client",
        "redirect_uri": BACK,
        "response_type": "code",
        "owner": "user",
        "state": "s&1",
        "auto": "1",
        **query,
    }
    response = await stage.client.get("/v1/oauth/authorize", params=asked, allow_redirects=False)
    assert response.status == 302, await response.text()
    return parse_qs(urlsplit(response.headers["Location"]).query)


async def post(stage: SandboxStage, path: str, body: Any, auth: str = CLIENT) -> tuple[int, Any]:
    headers = {"Authorization": auth}
    response = await stage.client.post(f"/v1/oauth/{path}", json=body, headers=headers)
    return response.status, await response.json()


async def signed_in(stage: SandboxStage, **query: str) -> dict[str, Any]:
    code = (await authorize(stage, **query))["code"][0]
    body = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
    status, got = await post(stage, "token", body)
    assert status == 200, got
    made: dict[str, Any] = got
    return made


async def renew(stage: SandboxStage, token: str) -> tuple[int, Any]:
    return await post(stage, "token", {"grant_type": "refresh_token", "refresh_token": token})


async def works(stage: SandboxStage, access: str) -> bool:
    response = await stage.raw("GET", "users/me", Authorization=f"Bearer {access}")
    return response.status == 200


async def test_consent_goes_back_with_a_code_the_state_and_the_client_s_own_query(
    stage: SandboxStage,
) -> None:
    back = await authorize(stage)
    assert back["state"] == ["s&1"]
    assert back["keep"] == ["1"]
    assert back["code"][0].startswith("code_")


async def test_denial_goes_back_with_access_denied(stage: SandboxStage) -> None:
    back = await authorize(stage, auto="deny")
    assert back["error"] == ["access_denied"]
    assert back["state"] == ["s&1"]
    assert "code" not in back


async def test_a_person_sees_who_asks_for_what_and_allows_with_one_click(
    stage: SandboxStage,
) -> None:
    query = {"client_id": "sandbox-client", "redirect_uri": BACK, "response_type": "code"}
    response = await stage.client.get("/v1/oauth/authorize", params=query)
    text = await response.text()
    assert "Clipper (sandbox) wants to use" in text
    assert "Mira&#x27;s Notion" in text
    link = text.partition('id="allow" href="')[2].partition('"')[0].replace("&amp;", "&")
    response = await stage.client.get(link, allow_redirects=False)
    assert "code=code_" in response.headers["Location"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "other"},
        {"response_type": "token"},
        {"redirect_uri": "javascript:alert(1)"},
        {"user": "nobody"},
        {"user": "Jonas Brandt", "workspace": "Mira's Notion"},
    ],
)
async def test_a_senseless_request_is_shown_not_sent_back(
    stage: SandboxStage, wrong: dict[str, str]
) -> None:
    query = {"client_id": "sandbox-client", "redirect_uri": BACK, "response_type": "code"}
    response = await stage.client.get(
        "/v1/oauth/authorize", params={**query, "auto": "1", **wrong}, allow_redirects=False
    )
    assert response.status == 400
    assert "Location" not in response.headers


async def test_a_code_becomes_a_pair_with_workspace_and_owner(stage: SandboxStage) -> None:
    got = await signed_in(stage)
    assert got["token_type"] == "bearer"
    assert got["access_token"].startswith("ntn_")
    assert got["refresh_token"].startswith("nrt_")
    assert got["workspace_id"] == seed.WORKSPACE
    assert got["workspace_name"] == "Mira's Notion"
    assert got["owner"]["user"]["person"]["email"] == "mira@example.com"
    assert got["duplicated_template_id"] is None
    assert "expires_in" not in got
    assert await works(stage, got["access_token"])


async def test_user_and_workspace_can_be_picked(stage: SandboxStage) -> None:
    got = await signed_in(stage, user="jonas@example.com", workspace="Northwind Team")
    assert got["workspace_id"] == seed.OTHER_WORKSPACE
    assert got["owner"]["user"]["id"] == seed.JONAS


async def test_each_authorization_has_its_own_pair_for_the_same_bot(stage: SandboxStage) -> None:
    one, other = await signed_in(stage), await signed_in(stage)
    assert one["bot_id"] == other["bot_id"]
    assert one["access_token"] != other["access_token"]
    assert await works(stage, one["access_token"])


async def test_a_code_is_single_use_bound_to_its_redirect_and_ends(stage: SandboxStage) -> None:
    code = (await authorize(stage))["code"][0]
    body = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
    assert (await post(stage, "token", body))[0] == 200
    status, got = await post(stage, "token", body)
    assert (status, got["code"], got["object"]) == (400, "invalid_grant", "error")
    code = (await authorize(stage))["code"][0]
    assert (await post(stage, "token", {**body, "code": code, "redirect_uri": "http://e/"}))[
        0
    ] == 400
    code = (await authorize(stage))["code"][0]
    stage.clock.advance(601)
    assert (await post(stage, "token", {**body, "code": code}))[0] == 400


async def test_a_refresh_rotates_both_and_the_old_pair_ends(stage: SandboxStage) -> None:
    old = await signed_in(stage)
    status, new = await renew(stage, old["refresh_token"])
    assert status == 200
    assert new["bot_id"] == old["bot_id"]
    assert await works(stage, new["access_token"])
    assert not await works(stage, old["access_token"])
    assert (await renew(stage, old["refresh_token"]))[1]["code"] == "invalid_grant"


async def test_without_rotation_the_refresh_token_stays(stage: SandboxStage) -> None:
    await stage.control("PATCH", "config", {"refresh_rotation": False})
    old = await signed_in(stage)
    _, new = await renew(stage, old["refresh_token"])
    assert new["refresh_token"] == old["refresh_token"]
    assert (await renew(stage, new["refresh_token"]))[0] == 200


async def test_the_old_pair_may_live_on_for_a_grace(stage: SandboxStage) -> None:
    await stage.control("PATCH", "config", {"old_pair_grace_s": 30})
    old = await signed_in(stage)
    await renew(stage, old["refresh_token"])
    assert await works(stage, old["access_token"])
    assert (await renew(stage, old["refresh_token"]))[0] == 200
    stage.clock.advance(31)
    assert not await works(stage, old["access_token"])
    assert (await renew(stage, old["refresh_token"]))[0] == 400


async def test_tokens_end_where_a_lifetime_is_configured(stage: SandboxStage) -> None:
    await stage.control("PATCH", "config", {"token_ttl_s": 60, "refresh_tokens": False})
    got = await signed_in(stage)
    assert got["refresh_token"] is None
    stage.clock.advance(61)
    assert not await works(stage, got["access_token"])


async def test_revoke_and_introspect(stage: SandboxStage) -> None:
    got = await signed_in(stage)
    body = {"token": got["access_token"]}
    assert (await post(stage, "introspect", body))[1]["active"] is True
    assert (await post(stage, "revoke", body))[0] == 200
    assert (await post(stage, "introspect", body))[1]["active"] is False
    assert not await works(stage, got["access_token"])
    assert (await renew(stage, got["refresh_token"]))[0] == 400


async def test_a_wrong_secret_gets_the_bare_shape(stage: SandboxStage) -> None:
    status, got = await post(stage, "token", {}, encode_basic_auth("sandbox-client", "wrong"))
    assert status == 401
    assert got["error"] == "invalid_client"
    assert got.keys() == {"error", "request_id"}


async def test_the_other_shape_can_be_had_for_all(stage: SandboxStage) -> None:
    await stage.control("PATCH", "config", {"oauth_error_shape": "rfc6749"})
    status, got = await post(stage, "token", {"grant_type": "password"})
    assert (status, got["error"]) == (400, "unsupported_grant_type")


async def test_oauth_calls_are_counted_apart(stage: SandboxStage) -> None:
    await signed_in(stage)
    got = await stage.control("GET", "calls")
    assert got["total"] == 0
    assert got["oauth"]["by_route"] == {"POST /v1/oauth/token": 1}


async def test_a_person_can_remove_the_connection(stage: SandboxStage) -> None:
    await stage.control("POST", "revoke", {"bot_id": stage.bot_id})
    assert not await works(stage, stage.token)


async def test_codes_and_refresh_tokens_are_worth_nothing_to_another_integration(
    stage: SandboxStage,
) -> None:
    body = {"client_id": "second", "client_secret": "its secret", "name": "Second"}
    await stage.control("POST", "integrations", body, 201)
    second = encode_basic_auth("second", "its secret")
    code = (await authorize(stage))["code"][0]
    body = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
    assert (await post(stage, "token", body, second))[0] == 400
    mine = await signed_in(stage)
    renewal = {"grant_type": "refresh_token", "refresh_token": mine["refresh_token"]}
    assert (await post(stage, "token", renewal, second))[0] == 400
    code = (await authorize(stage, client_id="second"))["code"][0]
    status, got = await post(stage, "token", {**body, "code": code}, second)
    assert status == 200
    assert got["bot_id"] != mine["bot_id"]
    renewal = {"grant_type": "refresh_token", "refresh_token": got["refresh_token"]}
    status, renewed = await post(stage, "token", renewal, second)
    assert (status, renewed["bot_id"]) == (200, got["bot_id"])
