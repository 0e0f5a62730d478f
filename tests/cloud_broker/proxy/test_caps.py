"""Sizes, depths and times: the proxy refuses an excess before it costs anything."""

from __future__ import annotations

import asyncio
import gzip
import io
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData, web
from aiohttp.test_utils import TestServer

from cloud_broker.web import bodies
from tests.cloud_broker.proxy.proxy_stage import CANARY, PAGE, PROXY, ProxyStage, a_proxy


async def _chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 65_536


def nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"query": value}


async def test_a_body_over_the_cap_is_refused_by_its_length(proxy: ProxyStage) -> None:
    answer = await proxy.call("POST", "search", data=b" " * (500 * 1024 + 1))
    assert (answer.status, answer.headers["X-Broker-Code"]) == (413, "request_too_large")
    assert proxy.upstream.seen == []


async def test_a_body_over_the_cap_is_refused_while_it_is_read(proxy: ProxyStage) -> None:
    answer = await proxy.call("POST", "search", data=_chunks(9))
    assert answer.status == 413


async def test_a_body_at_the_cap_is_relayed(proxy: ProxyStage) -> None:
    text = "x" * (500 * 1024 - len('{"query":""}'))
    answer = await proxy.call("POST", "search", data=f'{{"query":"{text}"}}')
    assert answer.status == 200


@pytest.mark.parametrize("pause_s", [0.02, 3600.0])
async def test_a_body_that_trickles_is_cut_off(
    tmp_path: Path, pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        while True:
            await asyncio.sleep(pause_s)
            yield b" "

    monkeypatch.setattr(bodies, "BODY_WITHIN_S", 0.2)
    async with a_proxy(tmp_path) as proxy:
        answer = await proxy.call("POST", "search", data=trickle())
        assert (answer.status, answer.headers["X-Broker-Code"]) == (408, "request_timeout")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[]", "validation_error"),
        (b'{"evil":1}', "validation_error"),
        (b'{"query":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "validation_error"),
    ],
)
async def test_a_bad_body_is_told_in_notions_codes(
    proxy: ProxyStage, body: bytes, code: str
) -> None:
    answer = await proxy.call("POST", "search", data=body)
    assert (answer.status, (await answer.json())["code"]) == (400, code)
    assert proxy.upstream.seen == []


async def test_thirty_two_levels_pass_and_no_more(proxy: ProxyStage) -> None:
    assert (await proxy.call("POST", "search", json=nested(31))).status == 200
    assert (await proxy.call("POST", "search", json=nested(32))).status == 400


async def test_a_doubled_key_means_to_notion_what_it_meant_here(proxy: ProxyStage) -> None:
    await proxy.call("POST", "search", data=b'{"page_size":1, "page_size":500}')
    assert proxy.upstream.requests[0]["body"] == b'{"page_size":100}'


async def test_a_refusal_never_repeats_the_bodys_text(proxy: ProxyStage) -> None:
    answer = await proxy.call("POST", "search", json={"my secret text": 1})
    assert "secret" not in await answer.text()


async def test_an_answer_over_the_cap_is_a_bad_gateway(proxy: ProxyStage) -> None:
    async def huge(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b" " * (5 * 1024 * 1024 + 1))

    proxy.upstream.always = huge
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert (answer.status, answer.headers["X-Broker-Code"]) == (502, "bad_gateway")
    assert len(proxy.upstream.seen) == 1


async def test_an_answer_nested_without_end_is_a_bad_gateway(proxy: ProxyStage) -> None:
    async def deep(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b'{"a":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}")

    proxy.upstream.always = deep
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert (answer.status, answer.headers["X-Broker-Code"]) == (502, "bad_gateway")


async def test_a_decompression_bomb_is_not_unpacked(proxy: ProxyStage) -> None:
    bomb = gzip.compress(b" " * 200_000_000, 9)

    async def explode(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    proxy.upstream.always = explode
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await proxy.call("GET", f"pages/{PAGE}")).status == 502
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 32 * 1024  # KiB; unpacked it has 200 MB


async def test_a_write_whose_answer_is_too_large_is_unknown(proxy: ProxyStage) -> None:
    async def huge(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b" " * (5 * 1024 * 1024 + 1))

    proxy.upstream.script = [huge]
    answer = await proxy.append(proxy.key())
    assert (await answer.json())["additional_data"]["upstream_status"] == "200"


async def test_a_file_part_goes_through_as_it_comes(proxy: ProxyStage) -> None:
    form = FormData()
    form.add_field("file", io.BytesIO(b"z" * 3_000_000), filename="a.png", content_type="image/png")
    answer = await proxy.call("POST", f"file_uploads/{PAGE}/send", data=form)
    assert answer.status == 200
    request = proxy.upstream.requests[0]
    assert len(request["body"]) > 3_000_000
    assert request["headers"]["Content-Length"] == str(len(request["body"]))
    assert request["headers"]["Content-Type"].startswith("multipart/form-data; boundary=")


async def test_the_first_bytes_of_a_file_arrive_before_its_last_are_sent(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def take(request: web.Request) -> web.StreamResponse:
        await request.content.readany()
        arrived.set()
        await request.read()
        return web.json_response({"object": "file_upload", "id": PAGE})

    async def parts() -> AsyncIterator[bytes]:
        yield b"--b"
        await arrived.wait()
        yield b"--"

    notion = web.Application()
    notion.router.add_route("*", "/{path:.*}", take)
    async with (
        TestServer(notion) as server,
        a_proxy(tmp_path, base_url=str(server.make_url("/"))) as proxy,
    ):
        answer = await proxy.call(
            "POST",
            f"file_uploads/{PAGE}/send",
            data=parts(),
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )
        assert answer.status == 200


async def test_a_file_whose_sender_leaves_is_not_sent_whole(tmp_path: Path) -> None:
    seen: list[bytes] = []
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def take(request: web.Request) -> web.StreamResponse:
        seen.append(await request.content.readany())
        arrived.set()
        try:
            seen.append(await request.read())
        finally:
            ended.set()
        raise AssertionError

    async def parts() -> AsyncIterator[bytes]:
        yield b"--b"
        await asyncio.Event().wait()

    notion = web.Application()
    notion.router.add_route("*", "/{path:.*}", take)
    async with (
        TestServer(notion) as server,
        a_proxy(tmp_path, base_url=str(server.make_url("/"))) as proxy,
    ):
        headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "9"}
        path = f"file_uploads/{PAGE}/send"
        caller = asyncio.ensure_future(proxy.call("POST", path, data=parts(), headers=headers))
        await arrived.wait()
        caller.cancel()
        await ended.wait()
        assert b"".join(seen) == b"--b"


async def test_a_file_part_over_its_cap_is_not_sent_whole(proxy: ProxyStage) -> None:
    answer = await proxy.call(
        "POST",
        f"file_uploads/{PAGE}/send",
        data=_chunks(330),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.status == 413
    assert len(proxy.upstream.seen) <= 1


async def test_a_form_that_trickles_or_breaks_off_says_nothing_against_notion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = (
        f"POST {PROXY}file_uploads/{PAGE}/send HTTP/1.1\r\nHost: x\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 999\r\n"
    )
    monkeypatch.setattr(bodies, "BODY_WITHIN_S", 0.2)
    async with a_proxy(tmp_path, speed=1, limit_scale=100) as proxy:
        url = proxy.client.make_url("/")
        for number in range(60):  # of more accounts than are needed to close the way for all
            proxy.upstream.arrived.clear()
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(f"{head}Authorization: Bearer m{number % 6}\r\n\r\nbegun".encode())
            await proxy.upstream.arrived.wait()
            if number < 3:  # the others leave
                assert b" 408 " in await reader.readline()
            writer.transport.abort()
        for user in ("m0", "ada"):
            assert (await proxy.call("GET", f"pages/{PAGE}", user=user)).status == 200


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain\tx"])
async def test_a_file_part_must_be_a_form(proxy: ProxyStage, kind: str) -> None:
    answer = await proxy.call(
        "POST", f"file_uploads/{PAGE}/send", data=b"x", headers={"Content-Type": kind}
    )
    assert answer.status == 400
    assert proxy.upstream.seen == []


async def test_the_token_is_in_no_answer_log_metric_or_row(
    proxy: ProxyStage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        texts = [await (await proxy.append(proxy.key(), text="clip-canary")).text()]
        texts += [await (await proxy.call("GET", f"pages/{PAGE}")).text()]
        texts += [await (await proxy.client.get("/metrics")).text()]
        await proxy.audit.flush()
    async with proxy.database.reading() as tx:
        for table in ("audit_log", "idempotency"):
            texts += [str(await tx.all(f"SELECT * FROM {table}"))]
    texts += [record.getMessage() for record in caplog.records]
    assert len(texts) > 4
    assert not any(CANARY in text or "clip-canary" in text for text in texts)
