"""The middleware: order of checks, versions, request ids, limits, the count."""

from __future__ import annotations

import pytest

from cloud_broker.sandbox import grants, seed
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage, paragraph

CHILDREN = f"blocks/{seed.EMPTY_PAGE}/children"
NOBODY = {"Authorization": "Bearer ntn_wrong"}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "nowhere"), ("PUT", CHILDREN), ("POST", f"blocks/{seed.HOME}")]
)
async def test_url_and_method_come_first(stage: SandboxStage, method: str, path: str) -> None:
    response = await stage.raw(method, path, b"{", Authorization=None)
    got = await response.json()
    assert (response.status, got["code"]) == (400, "invalid_request_url")
    assert got["message"] == "Invalid request URL."


async def test_json_comes_before_authorization(stage: SandboxStage) -> None:
    response = await stage.raw("PATCH", CHILDREN, b"{", Authorization="Bearer ntn_wrong")
    assert (await response.json())["code"] == "invalid_json"


@pytest.mark.parametrize(
    "body", [b'{"children":"\\ud800"}', b"[" * 100_000, b'{"children":1e999}', b"\xff", b"null"]
)
async def test_odd_bodies_are_refused_not_fatal(stage: SandboxStage, body: bytes) -> None:
    assert (await stage.raw("PATCH", CHILDREN, body)).status == 400


async def test_authorization_comes_before_the_version(stage: SandboxStage) -> None:
    response = await stage.raw("GET", "users/me", Authorization=None, Notion_Version=None)
    got = await response.json()
    assert response.status == 401
    assert got["message"] == 'Authorization header must use the format "Bearer <token>".'
    response = await stage.raw("GET", "users/me", **NOBODY)
    assert (await response.json())["message"] == "API token is invalid."


async def test_the_version_comes_before_the_body(stage: SandboxStage) -> None:
    response = await stage.raw("PATCH", CHILDREN, {"children": 1}, Notion_Version=None)
    got = await response.json()
    assert got["code"] == "missing_version"
    assert got["message"].endswith("should be defined, instead was `undefined`.")
    response = await stage.raw("PATCH", CHILDREN, {"children": 1}, Notion_Version="2031-01-01")
    assert (await response.json())["code"] == "validation_error"


async def test_answers_carry_a_request_id_and_the_sandbox_s_date(stage: SandboxStage) -> None:
    response = await stage.raw("GET", "users/me")
    got = await response.json()
    assert response.headers["x-notion-request-id"] == got["request_id"]
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Date"] == "Tue, 06 Oct 2026 09:32:37 GMT"


async def test_the_window_closes_after_the_rate_and_opens_when_it_ends(stage: SandboxStage) -> None:
    await stage.control("PATCH", "config", {"rate_per_token": 3})
    stage.clock.advance(1)
    for _ in range(3):
        await stage.ask("GET", "users/me")
    stage.clock.advance(10.5)
    response = await stage.raw("GET", "users/me")
    got = await response.json()
    assert response.status == 429
    assert response.headers["Retry-After"] == "50"
    assert got["code"] == "rate_limited"
    assert got["additional_data"] == {
        "rate_limit_reason": "public_api_request_rate_limit",
        "retry_after": "50",
    }
    stage.clock.advance(50)
    await stage.ask("GET", "users/me")


@pytest.mark.parametrize(
    ("knob", "shared", "reason"),
    [
        ("rate_per_token", False, ""),
        ("rate_per_integration", True, "public_api_request_rate_limit"),
        ("rate_per_workspace", True, "public_api_space_request_rate_limit"),
    ],
)
async def test_limits_have_the_scope_they_are_set_for(
    stage: SandboxStage, knob: str, shared: bool, reason: str
) -> None:
    await stage.control("PATCH", "config", {knob: 1})
    await stage.ask("GET", "users/me")
    other = grants.mint(stage.world, seed.MIRA, seed.WORKSPACE).access
    response = await stage.raw("GET", "users/me", Authorization=f"Bearer {other}")
    assert (response.status == 429) == shared
    # A token that is neither of the workspace nor of the integration is never concerned.
    made = await stage.control("POST", "integrations", {"client_id": "second"}, 201)
    stranger = grants.mint(
        stage.world, seed.MIRA, seed.OTHER_WORKSPACE, client_id=made["client_id"]
    ).access
    strange = await stage.raw("GET", "users/me", Authorization=f"Bearer {stranger}")
    assert strange.status == 200
    if shared:
        assert (await response.json())["additional_data"]["rate_limit_reason"] == reason


async def test_with_a_burst_the_limit_refills_evenly(stage: SandboxStage) -> None:
    await stage.control("PATCH", "config", {"rate_per_token": 30, "burst": 4})
    for _ in range(4):
        await stage.ask("GET", "users/me")
    response = await stage.raw("GET", "users/me")
    assert (response.status, response.headers["Retry-After"]) == (429, "2")
    stage.clock.advance(2)
    await stage.ask("GET", "users/me")
    assert (await stage.raw("GET", "users/me")).status == 429
    stage.clock.advance(3600)
    for _ in range(4):
        await stage.ask("GET", "users/me")
    assert (await stage.raw("GET", "users/me")).status == 429


async def test_calls_are_counted_by_route_failed_ones_too(stage: SandboxStage) -> None:
    await stage.append(seed.EMPTY_PAGE, paragraph("a"))
    await stage.refused("PATCH", CHILDREN, {})
    await stage.raw("GET", "nowhere")
    got = await stage.control("GET", "calls")
    assert got["total"] == 3
    assert got["by_route"] == {"PATCH /v1/blocks/{id}/children": 2, "unknown": 1}
    first = got["calls"][0]
    assert (first["method"], first["path"]) == ("PATCH", f"/v1/{CHILDREN}")
    assert (first["status"], first["created_blocks"]) == (200, 1)
    assert stage.token not in str(got)
    await stage.control("DELETE", "calls")
    assert (await stage.control("GET", "calls"))["total"] == 0


async def test_a_token_without_a_capability_is_refused(stage: SandboxStage) -> None:
    made = await stage.control("POST", "tokens", {"capabilities": ["read"]}, 201)
    stage.token = made["access_token"]
    await stage.listing(seed.EMPTY_PAGE)
    assert await stage.refused("PATCH", CHILDREN, {"children": []}) == (
        403,
        "restricted_resource",
        "Insufficient permissions for this endpoint.",
    )


async def test_a_free_workspace_runs_out_of_blocks(stage: SandboxStage) -> None:
    await stage.control("PATCH", "config", {"block_limit": 1})
    response = await stage.raw("PATCH", CHILDREN, {"children": [paragraph("a"), paragraph("b")]})
    got = await response.json()
    assert (response.status, got["code"]) == (403, "restricted_resource")
    assert got["additional_data"] == {"block_limit": "block_creation"}


async def test_a_token_sees_its_own_workspace_only(stage: SandboxStage) -> None:
    assert (await stage.refused("GET", f"pages/{seed.TEAM_PAGE}"))[0] == 404
