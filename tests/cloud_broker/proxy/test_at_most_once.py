"""For any schedule of faults, Notion applies each append at most once per key."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cloud_broker.proxy.proxy_stage import (
    ProxyStage,
    Reply,
    Upstream,
    a_proxy,
    an_error,
    an_id,
    drops,
    says,
)

FAULTS = [
    "ok",
    "429",
    "529",
    "401",
    "500",
    "503",
    "409",
    "drop",
    "apply_drop",
    "apply_500",
    "apply_garbage",
    "committed",
    "silence",
    "apply_silence",
]
SILENCE_S = 0.2  # after which an answer is awaited no more


def faulty(upstream: Upstream, fault: str) -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        if fault == "ok":
            return await upstream.apply(request)
        if fault.startswith("apply_"):
            await upstream.apply(request)
        match fault.removeprefix("apply_"):
            case "drop":
                return await drops()(request)
            case "garbage":
                return web.Response(text="<html>")
            case "silence":
                await asyncio.Event().wait()
                raise AssertionError
            case "committed":
                await upstream.apply(request)
                return await says(503, an_error(503, committed_child_ids=[an_id(0)]))(request)
            case status:
                return await says(int(status), Retry_After="0")(request)

    return reply


async def _run(schedule: list[str], callers: int, leaving: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with a_proxy(
            Path(folder), speed=200, limit_scale=100, upstream_write_s=SILENCE_S
        ) as proxy:
            key = proxy.key()
            proxy.upstream.script = [faulty(proxy.upstream, fault) for fault in schedule]
            for _ in range(3):
                here = [asyncio.ensure_future(_one(proxy, key)) for _ in range(callers)]
                await _leave(here[:leaving])
                await asyncio.gather(*here[leaving:])
            applied = len(proxy.upstream.applied)
            assert applied <= 1
            told = await proxy.append(key)
            while told.headers.get("X-Broker-Code") == "in_progress":  # a slow machine
                told = await proxy.append(key)
            if told.status == 200:
                assert len(proxy.upstream.applied) == 1
            elif told.status in (429, 529):  # a pause, or a machine too slow for these leases
                assert len(proxy.upstream.applied) == 0
            else:
                assert told.headers["X-Broker-Code"] == "write_outcome_unknown"


async def _one(proxy: ProxyStage, key: str) -> None:
    answer = await proxy.append(key)
    if answer.status == 200:
        assert len(proxy.upstream.applied) == 1
    else:
        assert answer.status in (401, 409, 429, 504, 529)


async def _leave(callers: Sequence[asyncio.Future[None]]) -> None:
    """Some close their connections, some time after they have asked."""
    await asyncio.sleep(0.01)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    schedule=st.lists(st.sampled_from(FAULTS), max_size=6),
    callers=st.integers(1, 3),
    leaving=st.integers(0, 2),
)
def test_an_append_is_applied_at_most_once(schedule: list[str], callers: int, leaving: int) -> None:
    asyncio.run(_run(schedule, callers, leaving))
