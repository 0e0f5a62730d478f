"""Sends webhooks as Notion does, and reads a stream as a daemon does."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse

from cloud_broker.clock import rfc3339
from tests.cloud_broker.broker_stage import WORKSPACE, BrokerStage, bearer

TOKEN = "secret_of_this_subscription"
PAGE = "3a1f0c9e-0000-4a4a-8c8c-00000000000a"
BOT = f"bot-of-{WORKSPACE}"
_numbers = itertools.count(1)


def an_event(stage: BrokerStage, **changes: Any) -> dict[str, Any]:
    """A person edits a page of the connected workspace, now."""
    return {
        "id": f"event-{next(_numbers):06d}",
        "timestamp": rfc3339(stage.clock.now()),
        "workspace_id": WORKSPACE,
        "workspace_name": "Lovelace",
        "subscription_id": "s",
        "integration_id": "i",
        "type": "page.content_updated",
        "authors": [{"id": "ada", "type": "person"}],
        "accessible_by": [{"id": BOT, "type": "bot"}],
        "attempt_number": 1,
        "entity": {"id": PAGE, "type": "page"},
        "data": {},
        **changes,
    }


async def post(
    stage: BrokerStage, event: dict[str, Any], **headers: str
) -> tuple[int, dict[str, Any]]:
    """Send an event, signed unless ``headers`` say otherwise."""
    raw = json.dumps(event).encode()
    sign = "sha256=" + hmac.new(TOKEN.encode(), raw, hashlib.sha256).hexdigest()
    given = {"X-Notion-Signature": sign, "Content-Type": "application/json", **headers}
    given = {name: value for name, value in given.items() if value}
    answer = await stage.browser.post("/api/notion/webhook", data=raw, headers=given)
    return answer.status, await answer.json()


class Listener:
    """Reads one stream."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.last_id: str | None = None

    async def next(self) -> tuple[str, Any]:
        """The next event's name and data; ("end", None) when the stream has ended."""
        name = data = None
        async for raw in self.response.content:
            field, _, value = raw.decode().rstrip("\n").partition(": ")
            if field == "id":
                self.last_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
            elif field == "" and value:
                return "comment", value
            elif name is not None:
                return name, data
        return "end", None


@asynccontextmanager
async def listening(
    stage: BrokerStage, access_token: str, last_id: str | None = None
) -> AsyncIterator[Listener]:
    """Open a stream."""
    headers = bearer(access_token) | ({"Last-Event-ID": last_id} if last_id is not None else {})
    async with stage.browser.get("/api/events", headers=headers) as response:
        assert response.status == 200, await response.text()
        yield Listener(response)


async def told(stage: BrokerStage) -> None:
    """Let the second pass that events of one page gather in."""
    await stage.turn()
    await stage.turn()
    stage.clock.advance(1.0)
