"""Every fault of the sandbox, and the replay of a schedule."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientConnectionError, ClientPayloadError, ServerDisconnectedError

from cloud_broker.sandbox import seed
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage, paragraph, staged

PAGE = seed.EMPTY_PAGE
CHILDREN = f"blocks/{PAGE}/children"
APPEND = "PATCH /v1/blocks/{id}/children"
BODY = {"children": [paragraph("a"), paragraph("b")]}


@pytest.mark.parametrize(
    ("kind", "params", "status", "code", "applied"),
    [
        ("429", {"retry_after": 7}, 429, "rate_limited", False),
        ("529", {"retry_after": 7}, 529, "service_overload", False),
        ("409", {}, 409, "conflict_error", False),
        ("409", {"applied": True}, 409, "conflict_error", True),
        ("5xx_before", {"status": 502}, 502, "bad_gateway", False),
        ("5xx_after", {"status": 504}, 504, "gateway_timeout", True),
        ("5xx_after", {}, 500, "internal_server_error", True),
        ("uncommitted_503", {}, 503, "service_unavailable", False),
        ("committed_503", {}, 503, "service_unavailable", True),
        ("error", {"status": 401}, 401, "unauthorized", False),
    ],
)
async def test_error_answers_and_whether_the_write_took_place(
    stage: SandboxStage, kind: str, params: dict[str, object], status: int, code: str, applied: bool
) -> None:
    await stage.fault(kind, APPEND, times=1, params=params)
    response = await stage.raw("PATCH", CHILDREN, BODY)
    got = await response.json()
    assert (response.status, got["code"]) == (status, code)
    assert await stage.texts(PAGE) == (["a", "b"] if applied else [])
    assert response.headers.get("Retry-After") == ("7" if "retry_after" in params else None)
    assert (await stage.control("GET", "calls"))["calls"][0]["applied"] is applied


async def test_retry_after_may_be_a_date(stage: SandboxStage) -> None:
    await stage.fault("429", params={"retry_after": 20, "as_date": True})
    response = await stage.raw("GET", "users/me")
    assert response.headers["Retry-After"] == "Tue, 06 Oct 2026 09:32:57 GMT"


async def test_a_committed_503_names_what_was_created(stage: SandboxStage) -> None:
    await stage.fault("committed_503")
    response = await stage.raw("PATCH", CHILDREN, BODY)
    got = (await response.json())["additional_data"]
    assert got["committed_resource_id"] == PAGE
    assert got["committed_child_ids"] == stage.world.nodes[PAGE].children
    assert got["elapsed_ms"] == "55012"
    await stage.control("DELETE", "faults")
    await stage.control("DELETE", "calls")


async def test_a_refused_write_is_not_dressed_up_as_committed(stage: SandboxStage) -> None:
    await stage.fault("committed_503")
    assert (await stage.refused("PATCH", CHILDREN, {}))[0] == 400


@pytest.mark.parametrize(("kind", "texts"), [("drop_before", []), ("drop_after", ["a", "b"])])
async def test_dropped_connections(stage: SandboxStage, kind: str, texts: list[str]) -> None:
    await stage.fault(kind, APPEND)
    with pytest.raises(ClientConnectionError):
        await stage.raw("PATCH", CHILDREN, BODY)
    assert await stage.texts(PAGE) == texts
    assert (await stage.control("GET", "calls"))["calls"][0]["status"] is None


@pytest.mark.parametrize("answer", ["drop", "504"])
async def test_a_late_write_arrives_after_the_client_has_gone(
    stage: SandboxStage, answer: str
) -> None:
    await stage.fault("late", APPEND, params={"ms": 5000, "answer": answer})
    if answer == "drop":
        with pytest.raises(ServerDisconnectedError):
            await stage.raw("PATCH", CHILDREN, BODY)
    else:
        assert (await stage.raw("PATCH", CHILDREN, BODY)).status == 504
    assert await stage.texts(PAGE) == []
    stage.clock.advance(5)
    await stage.settle()
    assert await stage.texts(PAGE) == ["a", "b"]


async def test_garbage_is_200_and_no_json(stage: SandboxStage) -> None:
    await stage.fault("garbage", APPEND)
    response = await stage.raw("PATCH", CHILDREN, BODY)
    assert response.status == 200
    with pytest.raises(ValueError, match=r"codec|JSON|Expecting"):
        await response.json()
    assert await stage.texts(PAGE) == ["a", "b"]


async def test_a_truncated_answer_breaks_off(stage: SandboxStage) -> None:
    await stage.fault("truncated", APPEND)
    response = await stage.raw("PATCH", CHILDREN, BODY)
    with pytest.raises(ClientPayloadError):
        await response.read()
    assert await stage.texts(PAGE) == ["a", "b"]


async def test_a_gateway_s_html_has_a_ray_and_no_request_id(stage: SandboxStage) -> None:
    await stage.fault("html_502", APPEND)
    response = await stage.raw("PATCH", CHILDREN, BODY)
    assert response.status == 502
    assert response.content_type == "text/html"
    assert "cf-ray" in response.headers
    assert "x-notion-request-id" not in response.headers
    assert await stage.texts(PAGE) == []


async def test_a_huge_answer_is_as_large_as_asked_and_still_json(stage: SandboxStage) -> None:
    await stage.fault("huge", APPEND, params={"mb": 2})
    response = await stage.raw("PATCH", CHILDREN, BODY)
    raw = await response.read()
    assert len(raw) > 1_900_000
    assert len((await response.json())["results"]) == 2


async def test_latency_holds_the_answer_back(stage: SandboxStage) -> None:
    await stage.fault("latency", "GET *", params={"ms": 3000})
    asking = asyncio.ensure_future(stage.ask("GET", "users/me"))
    await stage.clock.slept_on.wait()
    assert not asking.done()
    stage.clock.advance(3)
    await asking


async def test_a_hold_lasts_until_its_rule_is_removed(stage: SandboxStage) -> None:
    await stage.fault("hold", "GET *", id="gate")
    asking = asyncio.ensure_future(stage.ask("GET", "users/me"))
    while not (await stage.control("GET", "faults"))["rules"][0]["fired"]:
        pass
    assert not asking.done()
    await stage.control("DELETE", "faults/gate")
    await asking


async def test_search_lag_by_rule(stage: SandboxStage) -> None:
    await stage.fault("search_lag", "POST /v1/search", params={"ms": 60_000})
    await stage.control("POST", "pages", {"title": "Brand new"}, 201)
    body = {"query": "Brand new"}
    assert (await stage.ask("POST", "search", body))["results"] == []
    stage.clock.advance(61)
    assert len((await stage.ask("POST", "search", body))["results"]) == 1


async def test_an_exact_schedule_counts_matching_calls_from_now(stage: SandboxStage) -> None:
    await stage.ask("GET", "users/me")
    await stage.fault("5xx_before", "GET /v1/users/me", on=[2, 4])
    got = [(await stage.raw("GET", "users/me")).status for _ in range(5)]
    await stage.listing(PAGE)
    assert got == [200, 500, 200, 500, 200]
    (rule,) = (await stage.control("GET", "faults"))["rules"]
    assert (rule["seen"], rule["fired"]) == (5, 2)


async def test_a_chance_replays_with_its_seed() -> None:
    async def run(seed_: int) -> list[int]:
        async with staged() as stage:
            rules = [{"kind": "5xx_before", "probability": 0.4}]
            await stage.control("POST", "faults", {"rules": rules, "seed": seed_}, 201)
            return [(await stage.raw("GET", "users/me")).status for _ in range(30)]

    first = await run(1)
    assert first == await run(1) != await run(2)
    assert {200, 500} == set(first)


async def test_a_rule_can_be_taken_back(stage: SandboxStage) -> None:
    await stage.fault("5xx_before", id="x")
    await stage.control("DELETE", "faults/x")
    await stage.ask("GET", "users/me")


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "explode"},
        {"kind": "429", "params": {"soon": 1}},
        {"kind": "5xx_after", "params": {"status": 418}},
        {"kind": "late", "params": {"answer": "maybe"}},
        {"kind": "409", "probability": 2},
        {"kind": "409", "probability": 0.5, "on": [1]},
        {"kind": "409", "rate": 1},
    ],
)
async def test_senseless_rules_are_refused(stage: SandboxStage, rule: dict[str, object]) -> None:
    assert "error" in await stage.control("POST", "faults", rule, 400)
    assert (await stage.control("GET", "faults"))["rules"] == []


async def test_new_seeds_keep_the_rules_that_are_there(stage: SandboxStage) -> None:
    await stage.fault("409", "GET /v1/users")
    await stage.control("POST", "faults", {"rules": [{"kind": "529"}], "seed": 3}, 201)
    rules = (await stage.control("GET", "faults"))["rules"]
    assert [rule["kind"] for rule in rules] == ["409", "529"]
