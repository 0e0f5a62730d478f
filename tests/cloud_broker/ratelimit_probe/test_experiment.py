"""The experiment against the real sandbox over loopback, in time that jumps."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from cloud_broker.cli.main import main
from cloud_broker.errors import ProbeFailed
from cloud_broker.ratelimit_probe.holders import LimitScope
from cloud_broker.ratelimit_probe.plan import Limit, Plan
from cloud_broker.ratelimit_probe.rehearsal import (
    JumpingClock,
    Rehearsal,
    TrackedTransport,
    rehearse,
)
from cloud_broker.ratelimit_probe.runner import Runner, Target
from cloud_broker.ratelimit_probe.tally import Result
from cloud_broker.ratelimit_probe.verdict import Conclusion, judge
from cloud_broker.secret import Secret
from cloud_broker.transport import AiohttpTransport

START = 1_791_279_120.0
SMALL = ["--expect", "30/10", "--duration", "30", "--cool-down", "10"]
PLAN = Plan(("A", "C"), (("A", "C"),), 4, 30, 10, Limit(30, 10))


def rehearsed(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    code = main(["ratelimit-probe", "--json", *SMALL, *options], {})
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, found


@pytest.mark.parametrize("scope", ["token", "integration", "workspace"])
def test_the_scope_of_the_sandbox_s_limit_is_named_with_confidence(
    scope: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = rehearsed(capsys, "--sandbox-scope", scope)
    verdict = found["verdict"]
    assert (code, verdict["answer"], verdict["scopes"]) == (0, "found", [scope])
    assert verdict["confidence"] >= 0.95
    alone = found["phases"][0]["tokens"]["A"]
    assert (alone["requests"], alone["admitted_before_first_429"]) == (
        120,
        pytest.approx(30, abs=2),
    )
    assert alone["admitted"] + alone["refused"] == 120
    assert 1 <= alone["longest_retry_after_s"] <= 10
    reason = "space_request" if scope == "workspace" else "request"
    assert list(alone["rate_limit_reasons"]) == [f"public_api_{reason}_rate_limit"]


@pytest.mark.parametrize("pair", ["AB", "AC"])
def test_one_pair_narrows_a_limit_per_token_down_to_what_it_does_not_share(
    pair: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = rehearsed(capsys, "--pairs", pair)
    other = "workspace" if pair == "AB" else "integration"
    assert found["verdict"]["answer"] == "narrowed"
    assert found["verdict"]["scopes"] == ["token", other]


def test_without_a_limit_none_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = rehearsed(capsys, "--sandbox-scope", "none")
    assert (code, found["verdict"]["answer"]) == (0, "no_limit_seen")
    assert all(
        count["refused"] == 0 for phase in found["phases"] for count in phase["tokens"].values()
    )


def test_a_rate_below_the_limit_is_inconclusive(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = rehearsed(capsys, "--rate", "1")
    assert (code, found["verdict"]["answer"]) == (1, "inconclusive")
    assert "raise --rate" in found["verdict"]["why"][0]


def test_a_seed_repeats_an_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    one, again, other = (
        rehearsed(capsys, "--pairs", "AB", "--duration", "10", "--seed", seed)[1]["phases"]
        for seed in "778"
    )
    assert one == again != other


def test_a_person_is_told_the_plan_before_and_the_verdict_after(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["ratelimit-probe", *SMALL, "--pairs", "AC", "--sandbox-scope", "workspace"]) == 0
    told = capsys.readouterr()
    before = told.err.partition("phase 1 of")[0]
    assert "A and C share: workspace" in before
    assert "603 requests in total" in before
    assert "A alone" in told.out
    assert "Verdict: the limit is per workspace" in told.out
    assert "To exclude a limit per address" in told.out


def a_runner(
    here: Rehearsal, told: list[str] | None = None, stop: asyncio.Event | None = None
) -> Runner:
    target = Target(here.origin, "users/me", "2026-03-11", here.tokens)
    tell: Callable[[str], None] = (lambda _: None) if told is None else told.append
    return Runner(
        target, here.transport, here.clock, random.Random(1), tell, stop or asyncio.Event()
    )


async def test_a_longer_retry_after_than_the_cool_down_is_waited_for() -> None:
    told: list[str] = []
    async with rehearse("token", Limit(30, 60), START, 0) as here:
        results = await a_runner(here, told).run(PLAN)
    # Windows of 60 s that began with phases of 30 s: the plan's pause of 10 s would meet them.
    assert [line for line in told if line.startswith("pause")] == ["pause of 40 s"] * 2
    assert [count.admitted for each in results for count in each.counts.values()] == [30] * 4


async def test_stopping_ends_it_with_what_there_is() -> None:
    stop = asyncio.Event()
    told: list[str] = []

    class Stopping(list[str]):
        def append(self, line: str) -> None:
            told.append(line)
            if "phase 2" in line:
                stop.set()

    async with rehearse("token", PLAN.expected, START, 0) as here:
        runner = a_runner(here, Stopping(), stop)
        holders = {label: await runner.holder(label) for label in PLAN.tokens}
        results = await runner.run(PLAN)
    assert [(each.phase.name, each.complete) for each in results] == [
        ("A alone", True),
        ("C alone", False),
    ]
    assert judge(PLAN, results, holders).answer is Conclusion.INCONCLUSIVE


async def test_a_token_that_is_not_accepted_is_told_by_its_letter() -> None:
    async with rehearse("token", PLAN.expected, START, 0) as here:
        tokens = {**here.tokens, "C": Secret("ntn_nobodys")}
        target = Target(here.origin, "users/me", "2026-03-11", tokens)
        runner = Runner(
            target, here.transport, here.clock, random.Random(1), print, asyncio.Event()
        )
        with pytest.raises(ProbeFailed) as failed:
            await runner.holder("C")
    assert "Token C" in failed.value.detail
    assert "401" in failed.value.detail
    assert "nobodys" not in f"{failed.value!r} {failed.value.detail}"


@asynccontextmanager
async def answering(status: int, body: Any) -> AsyncIterator[tuple[Runner, list[str]]]:
    """An API that answers everything alike."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    server = web.AppRunner(app)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    clock = JumpingClock(START)
    try:
        async with AiohttpTransport() as transport:
            origin = URL.build(scheme="http", host="127.0.0.1", port=server.addresses[0][1])
            tokens = {"A": Secret("a"), "C": Secret("c")}
            target = Target(origin, "users/me", "2026-03-11", tokens)
            watched = TrackedTransport(transport, clock)
            runner = Runner(target, watched, clock, random.Random(1), print, asyncio.Event())
            yield runner, asked
    finally:
        await server.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (404, {}, "got the status 404"),
        (
            429,
            {"additional_data": {"rate_limit_reason": "public_api_request_blocked"}},
            "has blocked token A",
        ),
    ],
)
async def test_an_answer_that_says_stop_stops_it(status: int, body: Any, why: str) -> None:
    async with answering(status, body) as (runner, asked):
        results = await runner.run(PLAN)
    assert why in (runner.gave_up or "")
    assert len(asked) <= 2  # the one that said so, and one that may have been on its way
    assert [each.complete for each in results] == [False]


async def test_failures_are_no_refusals() -> None:
    async with answering(503, {}) as (runner, asked):
        results: list[Result] = await runner.run(PLAN)
    assert len(asked) == PLAN.requests - 2
    counts = [count for each in results for count in each.counts.values()]
    assert {(count.failed, count.refused, count.admitted) for count in counts} == {(120, 0, 0)}


async def test_who_answers_something_else_is_no_api_of_ours() -> None:
    async with answering(200, ["hello"]) as (runner, _):
        with pytest.raises(ProbeFailed):
            await runner.holder("A")


def test_every_scope_has_words() -> None:
    from cloud_broker.ratelimit_probe import report

    assert set(report.SCOPE_PHRASES) == set(LimitScope)
    assert set(report.EXTRA_TOKENS) == set(LimitScope) - {LimitScope.TOKEN, LimitScope.ADDRESS}
