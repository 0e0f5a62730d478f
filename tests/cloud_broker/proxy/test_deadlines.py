"""One deadline for everything, which a caller may shorten."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web

from tests.cloud_broker.proxy.proxy_stage import PAGE, WORKSPACE, Held, ProxyStage, a_proxy, says


def within(text: str) -> dict[str, str]:
    return {"X-Broker-Deadline": text, "X-Workspace-Id": WORKSPACE}


@pytest.mark.parametrize(("ours", "asked"), [(3600.0, "0.3"), (0.3, "9999")])
async def test_a_caller_may_shorten_its_deadline_and_not_lengthen_it(
    tmp_path: Path, ours: float, asked: str
) -> None:
    gate = asyncio.Event()

    async def silent(_: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    async with a_proxy(tmp_path, speed=1, answer_within_s=ours) as proxy:
        proxy.upstream.always = silent
        begun = time.monotonic()
        answer = await proxy.call("GET", f"pages/{PAGE}", headers=within(asked))
        assert (answer.status, answer.headers["X-Broker-Code"]) == (504, "upstream_timeout")
        assert time.monotonic() - begun >= 0.3
        gate.set()


async def test_a_wait_that_the_callers_deadline_does_not_allow_is_the_callers(
    proxy: ProxyStage,
) -> None:
    proxy.upstream.script = [says(429, Retry_After="8")]
    answer = await proxy.call("GET", f"pages/{PAGE}", headers=within("5.5"))
    assert (answer.status, answer.headers["Retry-After"]) == (429, "8")
    assert len(proxy.upstream.seen) == 1


async def test_a_write_goes_on_beyond_its_callers_deadline(proxy: ProxyStage) -> None:
    held, key = Held(proxy.upstream), proxy.key()
    headers = {**within("3"), "Idempotency-Key": key}
    body = {"children": [{"paragraph": {"text": "x"}}]}
    path = f"blocks/{PAGE}/children"
    answer = await proxy.call("PATCH", path, headers=headers, json=body)
    assert (answer.status, answer.headers["X-Broker-Code"]) == (409, "in_progress")
    held.gate.set()
    while (again := await proxy.append(key)).status == 409:
        pass
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(proxy.upstream.applied) == 1


@pytest.mark.parametrize("text", ["0", "-1", "", "1e3", "nan", "soon", "12345", "1.2345"])
async def test_a_deadline_that_is_none_is_refused(proxy: ProxyStage, text: str) -> None:
    answer = await proxy.call("GET", f"pages/{PAGE}", headers=within(text))
    assert (answer.status, (await answer.json())["code"]) == (400, "validation_error")
    assert proxy.upstream.seen == []
