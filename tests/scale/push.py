"""Webhooks as Notion posts them, and a daemon's event stream as it reads it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import ClientSession, StreamReader

from tests.scale.fleet import WEBHOOK_TOKEN, a_key


@dataclass(frozen=True)
class Told:
    """One event of a stream; ``seq`` where it has a number."""

    kind: str
    data: dict[str, Any]
    seq: int | None


def an_event(workspace: str, page: str) -> bytes:
    """A person has edited ``page``, now."""
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {
        "id": a_key(),
        "timestamp": stamp,
        "workspace_id": workspace,
        "type": "page.content_updated",
        "authors": [{"id": "somebody", "type": "person"}],
        "entity": {"id": page, "type": "page"},
    }
    return json.dumps(event).encode()


async def post(http: ClientSession, url: str, raw: bytes) -> int:
    """Post a signed event to the broker at ``url``; return the status."""
    sign = "sha256=" + hmac.new(WEBHOOK_TOKEN.encode(), raw, hashlib.sha256).hexdigest()
    headers = {"X-Notion-Signature": sign, "Content-Type": "application/json"}
    async with http.post(f"{url}/api/notion/webhook", data=raw, headers=headers) as answer:
        return answer.status


async def heard(content: StreamReader) -> AsyncIterator[Told]:
    """Every event of a stream until it ends."""
    kind, seq = "", None
    async for line in content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "id":
            seq = int(value)
        elif name == "data":
            yield Told(kind, json.loads(value), seq)
            seq = None
