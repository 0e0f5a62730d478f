"""What no client would send: told in Notion's shape, and kept out of every record."""

from __future__ import annotations

import asyncio

from cloud_broker.storage import audit as rows
from tests.cloud_broker.proxy.stage import PAGE, PROXY, Stage


async def recorded(proxy: Stage) -> str:
    await proxy.audit.flush()
    async with proxy.database.reading() as tx:
        return str(await tx.all("SELECT * FROM audit_log"))


async def spoken(proxy: Stage, head: bytes, body: bytes = b"") -> bytes:
    """Speak to the proxy byte by byte, since no client library would say this."""
    reader, writer = await asyncio.open_connection(proxy.client.host, proxy.client.port)
    writer.write(head.replace(b"\n", b"\r\n") + b"Host: x\r\nConnection: close\r\n")
    writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_key_that_is_none_is_text_and_is_recorded_nowhere(proxy: Stage) -> None:
    answer = await proxy.append("my secret clip")
    assert (answer.status, answer.headers["X-Broker-Code"]) == (400, "idempotency_key_invalid")
    assert "secret" not in await recorded(proxy)


async def test_bytes_that_are_no_text_do_not_stop_the_audit_log(proxy: Stage) -> None:
    line = f"POST {PROXY}pages HTTP/1.1\nAuthorization: Bearer ada\n".encode()
    answer = await spoken(proxy, line + b"Idempotency-Key: \xff\n", b"{}")
    assert answer.startswith(b"HTTP/1.1 400")
    proxy.audit.record("relayed", "ada", facts={"route": "\udcff"}, subject={"key": "x" * 999})
    await proxy.call("GET", f"pages/{PAGE}")
    assert "pages.get" in await recorded(proxy)
    assert (await rows.verify(proxy.database))[1] is None


async def test_a_body_that_does_not_decode_is_no_json(proxy: Stage) -> None:
    line = f"POST {PROXY}search HTTP/1.1\nAuthorization: Bearer ada\nContent-Encoding: gzip\n"
    answer = await spoken(proxy, line.encode(), b"{}")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"invalid_json" in answer


async def test_after_an_unforeseen_error_a_read_failed_and_a_write_is_unknown(
    proxy: Stage,
) -> None:
    proxy.tokens.bug = ZeroDivisionError("canary")
    read = await proxy.call("GET", f"pages/{PAGE}")
    assert (read.status, read.headers["X-Broker-Code"]) == (500, "internal")
    assert (await read.json())["object"] == "error"
    written = await proxy.append(proxy.key())
    assert (written.status, written.headers["X-Broker-Code"]) == (504, "write_outcome_unknown")
    assert "latest_sent_at" in (await written.json())["additional_data"]
    assert "canary" not in await written.text()
