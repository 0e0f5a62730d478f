"""Malformed input: refused in Notion's shape, and kept out of every record."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import suppress

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cloud_broker.proxy.outcome import is_object
from cloud_broker.storage import audit as rows
from tests.cloud_broker.proxy.proxy_stage import PAGE, PROXY, WORKSPACE, ProxyStage


async def recorded(proxy: ProxyStage) -> str:
    await proxy.audit.flush()
    async with proxy.database.reading() as tx:
        return str(await tx.all("SELECT * FROM audit_log"))


async def spoken(
    proxy: ProxyStage, head: bytes, body: bytes = b"", *, has_length: bool = True
) -> bytes:
    """Speak to the proxy byte by byte, since no client library would say this."""
    reader, writer = await asyncio.open_connection(proxy.client.host, proxy.client.port)
    writer.write(head.replace(b"\n", b"\r\n") + b"Host: x\r\nConnection: close\r\n")
    length = f"Content-Length: {len(body)}\r\n" if has_length else ""
    writer.write(f"{length}\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_key_that_is_none_is_text_and_is_recorded_nowhere(proxy: ProxyStage) -> None:
    answer = await proxy.append("my secret clip")
    assert (answer.status, answer.headers["X-Broker-Code"]) == (400, "idempotency_key_invalid")
    assert "secret" not in await recorded(proxy)


async def test_bytes_that_are_no_text_do_not_stop_the_audit_log(proxy: ProxyStage) -> None:
    line = f"POST {PROXY}pages HTTP/1.1\nAuthorization: Bearer ada\n".encode()
    answer = await spoken(proxy, line + b"Idempotency-Key: \xff\n", b"{}")
    assert answer.startswith(b"HTTP/1.1 400")
    proxy.audit.record("relayed", "ada", facts={"route": "\udcff"}, subject={"key": "x" * 999})
    await proxy.call("GET", f"pages/{PAGE}")
    assert "pages.get" in await recorded(proxy)
    assert (await rows.verify(proxy.database))[1] is None


PACKED = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize("body", [b"{}", b"7", b"", PACKED, PACKED[:9]], ids=range(5))
@pytest.mark.parametrize(
    "coding", ["gzip", "deflate", "br", "x", "identity\nContent-Encoding: gzip"]
)
async def test_a_coded_body_is_refused_whatever_is_in_it(
    proxy: ProxyStage, coding: str, body: bytes
) -> None:
    line = f"POST {PROXY}search HTTP/1.1\nAuthorization: Bearer ada\nContent-Encoding: {coding}\n"
    answer = await spoken(proxy, line.encode(), body)
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert proxy.upstream.seen == []


async def test_a_body_whose_chunks_are_none_is_refused(proxy: ProxyStage) -> None:
    line = f"POST {PROXY}search HTTP/1.1\nAuthorization: Bearer ada\nTransfer-Encoding: chunked\n"
    answer = await spoken(proxy, line.encode(), b"zz\r\n{}\r\n", has_length=False)
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert proxy.upstream.seen == []


async def test_after_an_unforeseen_error_a_read_failed_and_a_write_was_not_sent(
    proxy: ProxyStage,
) -> None:
    proxy.tokens.bug = ZeroDivisionError("canary")
    read = await proxy.call("GET", f"pages/{PAGE}")
    assert (read.status, read.headers["X-Broker-Code"]) == (500, "internal")
    assert (await read.json())["object"] == "error"
    written = await proxy.append(proxy.key())
    assert (written.status, written.headers["X-Broker-Code"]) == (529, "internal")
    assert "canary" not in await written.text()
    once = {"Idempotency-Key": proxy.key(), "Idempotency-Key-Use": "once"}
    once["X-Workspace-Id"] = WORKSPACE
    body = {"children": [{"paragraph": {"text": "x"}}]}
    path = f"blocks/{PAGE}/children"
    written = await proxy.call("PATCH", path, headers=once, json=body)
    assert (written.status, written.headers["X-Broker-Code"]) == (409, "in_progress")
    proxy.tokens.bug = None
    written = await proxy.call("PATCH", path, headers=once, json=body)
    assert written.headers["X-Broker-Code"] == "idempotency_key_spent"
    assert proxy.upstream.seen == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def strictly(body: bytes) -> bool:
    """Whether the standard library decodes it to an object, its leniencies taken away."""

    def refuse(_: str) -> None:
        raise ValueError

    with suppress(ValueError, RecursionError):
        return isinstance(json.loads(body.decode(), parse_constant=refuse), dict)
    return False


@given(JSON, st.integers(0, 400), st.binary(max_size=3), st.booleans())
def test_an_object_that_is_passed_on_was_looked_at_byte_by_byte(
    value: object, at: int, noise: bytes, ascii_only: bool
) -> None:
    body = json.dumps({"x": value}, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    at = min(at, len(body))
    for broken in (body, body[:at] + noise + body[at + 1 :], body[:at]):
        if is_object(broken):  # it may be stricter: half a surrogate pair is no text
            assert strictly(broken), broken


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_every_whole_object_is_passed_on(value: object) -> None:
    assert is_object(json.dumps(value, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "body", [b'{"a":"\xff"}', b'{"\xff":1}', b'{"a":1}}', b'{"a":', b"[]", b"7", b"", b'{"a":NaN}']
)
async def test_what_is_no_whole_object_is_a_bad_gateway(proxy: ProxyStage, body: bytes) -> None:
    async def reply(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    proxy.upstream.always = reply
    answer = await proxy.call("GET", f"pages/{PAGE}")
    assert (answer.status, answer.headers["X-Broker-Code"]) == (502, "bad_gateway")


async def test_a_number_beyond_all_reason_reaches_only_who_reads_the_answer_as_it_is(
    proxy: ProxyStage,
) -> None:
    async def reply(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b'{"a":1e999}', content_type="application/json")

    proxy.upstream.always = reply
    assert (await proxy.call("GET", f"pages/{PAGE}")).status == 200
    older = {"Notion-Version": "2025-09-03"}
    assert (await proxy.call("GET", f"pages/{PAGE}", headers=older)).status == 502


async def test_half_an_emoji_reaches_notion_as_a_replacement_character(proxy: ProxyStage) -> None:
    answer = await proxy.append(proxy.key(), text="cut \ud83d")
    assert answer.status == 200
    (sent,) = proxy.upstream.applied
    assert json.loads(sent)["children"][0]["paragraph"]["text"] == "cut \ufffd"
