"""Measures a broker's idle event streams, and its rate for a burst of webhooks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cloud_broker.clock import SystemClock, rfc3339
from cloud_broker.crypto.signing import ACCESS, Signer
from cloud_broker.storage.migrations import migrate
from cloud_broker.storage.sqlite import open_sqlite
from tests.bench.measure import cpu_of, machine, quantile
from tests.servers.ports import free_port

STREAMS = int(os.environ.get("BENCH_STREAMS", "200"))
EVENTS = 1_000
_TOKEN = "secret_for_the_bench"
_SEED = b"s" * 32


def run() -> list[str]:
    """Lines for ``make bench``: KB for each stream, and seconds to the last of a burst."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder)))


async def _run(folder: Path) -> list[str]:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    tokens = await _people(folder / "broker.db", origin)
    child = subprocess.Popen(  # noqa: ASYNC220 (a bench has nothing else to do)
        [sys.executable, "-m", "cloud_broker", "run"],
        env=_environment(folder, origin, port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        await _answering(port)
        streams += [await _stream(port, token) for token in tokens[:20]]
        before = _resident(child.pid)
        streams += [await _stream(port, token) for token in tokens[20:]]
        grown = _resident(child.pid) - before
        busy = cpu_of(child.pid)
        await asyncio.sleep(10)
        busy = cpu_of(child.pid) - busy
        posted_s, delivered_s, acks = await _burst(port, [reader for reader, _ in streams])
        ack_ms = [1000 * each for each in acks]
        return [
            f"push: {len(streams)} idle streams, {machine()}",
            f"push: {grown / (len(streams) - 20):.1f} KB a stream, {busy:.2f} s of CPU in 10 s",
            f"push: {EVENTS:,} webhooks taken in {posted_s:.2f} s; the last is delivered"
            f" {delivered_s:.2f} s after its answer (one second of which is gathering)",
            f"push: a webhook is acknowledged in p50 {quantile(ack_ms, 0.5):.0f} ms,"
            f" p99 {quantile(ack_ms, 0.99):.0f} ms, sixteen at a time",
        ]
    finally:
        for _, writer in streams:
            writer.close()
        child.terminate()
        child.wait()


async def _people(file: Path, origin: str) -> list[str]:
    """Accounts, each with a session and a workspace of its own; their access tokens."""
    database = await open_sqlite(file)
    await migrate(database, SystemClock())
    await database.close()
    signer = Signer([("one", _SEED)], issuer=origin, clock=SystemClock())
    never = 1 << 52
    with sqlite3.connect(file) as connection:
        for n in range(STREAMS):
            connection.execute(
                "INSERT INTO user_profiles (id, notion_user_id, created_at, updated_at)"
                " VALUES (?, ?, 0, 0)",
                (f"u{n}", f"n{n}"),
            )
            connection.execute(
                "INSERT INTO sessions (id, user_id, device, created_at, last_used_at, expires_at)"
                " VALUES (?, ?, 'bench', 0, 0, ?)",
                (f"s{n}", f"u{n}", never),
            )
            connection.execute(
                "INSERT INTO notion_connections (id, user_id, workspace_id, bot_id,"
                " notion_owner_id, kid, wrapped_key, access_token_sealed, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, 'one', x'00', x'00', 0, 0)",
                (f"c{n}", f"u{n}", f"w{n}", f"b{n}", f"n{n}"),
            )
    connection.close()
    return [
        signer.sign(
            ACCESS,
            {"sub": f"u{n}", "userId": f"u{n}", "sid": f"s{n}", "jti": f"j{n}", "email": ""},
            life_s=600,
        )
        for n in range(STREAMS)
    ]


def _environment(folder: Path, origin: str, port: int) -> dict[str, str]:
    return os.environ | {
        "BROKER_PORT": str(port),
        "BROKER_PUBLIC_URL": origin,
        "BROKER_DATABASE_URL": f"sqlite:///{folder / 'broker.db'}",
        "BROKER_NOTION_CLIENT_ID": "bench",
        "BROKER_NOTION_CLIENT_SECRET": "bench",
        "BROKER_ENCRYPTION_KEYS": "one:" + base64.b64encode(b"k" * 32).decode(),
        "BROKER_SIGNING_KEYS": "one:" + base64.b64encode(_SEED).decode(),
        "BROKER_WEBHOOK_TOKEN": _TOKEN,
        "BROKER_LOG_LEVEL": "ERROR",
        "BROKER_DRAIN_S": "1",
    }


async def _answering(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise AssertionError("the broker does not start")


async def _stream(port: int, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readuntil(b"event: ready")
    return reader, writer


async def _burst(
    port: int, readers: Sequence[asyncio.StreamReader]
) -> tuple[float, float, list[float]]:
    """Seconds until every webhook is answered, from then until the last arrived, and of each."""
    due = [sum(1 for n in range(EVENTS) if n % STREAMS == who) for who in range(STREAMS)]

    async def arrive(reader: asyncio.StreamReader, count: int) -> None:
        for _ in range(count):
            await reader.readuntil(b"event: page")

    arriving = asyncio.gather(*map(arrive, readers, due))
    begun = time.perf_counter()
    lanes = await asyncio.gather(*(_post(port, range(lane, EVENTS, 16)) for lane in range(16)))
    posted = time.perf_counter()
    await arriving
    acks = [each for lane in lanes for each in lane]
    return posted - begun, time.perf_counter() - posted, acks


async def _post(port: int, numbers: range) -> list[float]:
    """Post the events of these numbers over one connection; return what each answer took."""
    took = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for n in numbers:
        event = {
            "id": f"e{n}",
            "timestamp": rfc3339(SystemClock().now()),
            "workspace_id": f"w{n % STREAMS}",
            "type": "page.content_updated",
            "authors": [{"id": "a", "type": "person"}],
            "entity": {"id": f"p{n}", "type": "page"},
        }
        body = json.dumps(event).encode()
        sign = hmac.new(_TOKEN.encode(), body, hashlib.sha256).hexdigest()
        head = (
            "POST /api/notion/webhook HTTP/1.1\r\nHost: x\r\n"
            f"Content-Length: {len(body)}\r\nX-Notion-Signature: sha256={sign}\r\n\r\n"
        )
        begun = time.perf_counter()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        await reader.readuntil(b"}")
        took.append(time.perf_counter() - begun)
    writer.close()
    return took


def _resident(pid: int) -> float:
    """Kilobytes in memory now."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")
