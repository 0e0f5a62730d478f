"""Webhooks: handshake, signature, aggregation, retries, payloads."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from cloud_broker.sandbox import seed
from tests.cloud_broker.sandbox.sandbox_stage import SandboxStage, paragraph, rich

PAGE = seed.EMPTY_PAGE


@dataclass
class Listener:
    url: str = ""
    status: int = 200
    heard: list[tuple[str | None, bytes]] = field(default_factory=list)

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append((request.headers.get("X-Notion-Signature"), await request.read()))
        return web.Response(status=self.status)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(raw) for _, raw in self.heard[1:]]


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener()
    app = web.Application()
    app.router.add_post("/hook", listener.hear)
    async with TestServer(app) as server:
        listener.url = str(server.make_url("/hook"))
        yield listener


async def subscribe(stage: SandboxStage, listener: Listener, *events: str) -> Any:
    body = {"url": listener.url, "events": events or ("*",), "verify": True}
    return await stage.control("POST", "webhooks", body, 201)


async def pass_window(stage: SandboxStage) -> None:
    stage.clock.advance(1)
    await stage.settle()


async def test_nothing_is_sent_before_the_handshake_s_token_comes_back(stage: SandboxStage) -> None:
    async with listening() as listener:
        made = await stage.control("POST", "webhooks", {"url": listener.url}, 201)
        token = json.loads(listener.heard[0][1])["verification_token"]
        assert made["state"] == "pending"
        await stage.append(PAGE, paragraph("a"))
        await pass_window(stage)
        path = f"webhooks/{made['id']}/verify"
        await stage.control("POST", path, {"verification_token": "wrong"}, 400)
        await stage.control("POST", path, {"verification_token": token})
        await stage.append(PAGE, paragraph("b"))
        await pass_window(stage)
        assert len(listener.events) == 1


async def test_an_event_names_no_bot_of_another_integration(stage: SandboxStage) -> None:
    await stage.control("POST", "integrations", {"client_id": "second"}, 201)
    await stage.control("POST", "tokens", {"client_id": "second"}, 201)
    async with listening() as listener:
        await subscribe(stage, listener, "page.content_updated")
        await stage.append(PAGE, paragraph("a"))
        await pass_window(stage)
        (event,) = listener.events
        assert event["integration_id"] == "sandbox-client"
        assert event["accessible_by"] == [{"id": stage.bot_id, "type": "bot"}]


async def test_edits_in_one_window_are_one_signed_event_without_content(
    stage: SandboxStage,
) -> None:
    async with listening() as listener:
        made = await subscribe(stage, listener, "page.content_updated")
        first = await stage.append(PAGE, paragraph("secret text"))
        second = await stage.append(PAGE, paragraph("b"))
        edit = {"op": "insert", "page_id": PAGE, "text": "c"}
        await stage.control("POST", "edit", edit)
        await pass_window(stage)
        (event,) = listener.events
        signature, raw = listener.heard[1]
        key = made["verification_token"].encode()
        assert signature == "sha256=" + hmac.new(key, raw, hashlib.sha256).hexdigest()
        assert b"secret text" not in raw
        assert event["type"] == "page.content_updated"
        assert event["entity"] == {"id": PAGE, "type": "page"}
        assert event["workspace_id"] == seed.WORKSPACE
        assert event["attempt_number"] == 1
        assert event["api_version"] == "2026-03-11"
        assert {"id": stage.bot_id, "type": "bot"} in event["authors"]
        assert {"id": seed.MIRA, "type": "person"} in event["authors"]
        assert event["accessible_by"] == [{"id": stage.bot_id, "type": "bot"}]
        assert event["data"]["parent"] == {"id": seed.HOME, "type": "page"}
        ids = [block["id"] for block in event["data"]["updated_blocks"]]
        assert ids[:2] == [first[0]["id"], second[0]["id"]]


async def test_pages_tell_when_they_come_go_and_change(stage: SandboxStage) -> None:
    async with listening() as listener:
        await subscribe(stage, listener, "page.created", "page.deleted", "page.properties_updated")
        title = {"title": {"title": rich("N")}}
        body = {"parent": {"page_id": PAGE}, "properties": title}
        page = await stage.ask("POST", "pages", body)
        await stage.ask("PATCH", f"pages/{page['id']}", {"properties": title})
        await stage.ask("PATCH", f"pages/{page['id']}", {"in_trash": True})
        await pass_window(stage)
        kinds = {event["type"]: event for event in listener.events}
        assert kinds.keys() == {"page.created", "page.deleted", "page.properties_updated"}
        assert kinds["page.properties_updated"]["data"]["updated_properties"] == ["title"]


async def test_a_failing_listener_is_asked_again_and_then_no_more(stage: SandboxStage) -> None:
    async with listening() as listener:
        await stage.control("PATCH", "config", {"webhook_attempts": 3, "webhook_backoff_s": 0})
        await subscribe(stage, listener)
        listener.status = 500
        await stage.append(PAGE, paragraph("a"))
        await pass_window(stage)
        assert [event["attempt_number"] for event in listener.events] == [1, 2, 3]
        assert len({event["id"] for event in listener.events}) == 1
        (shown,) = (await stage.control("GET", "webhooks"))["webhooks"]
        assert [each["status"] for each in shown["deliveries"]] == [500, 500, 500]


async def test_an_ended_subscription_hears_nothing(stage: SandboxStage) -> None:
    async with listening() as listener:
        made = await subscribe(stage, listener)
        await stage.append(PAGE, paragraph("a"))
        await stage.control("DELETE", f"webhooks/{made['id']}")
        await pass_window(stage)
        assert listener.events == []


async def test_a_listener_that_is_not_there_is_told_about(stage: SandboxStage) -> None:
    body = {"url": "http://127.0.0.1:9/nobody", "verify": True}
    made = await stage.control("POST", "webhooks", body, 201)
    assert (made["handshake_status"], made["state"]) == (0, "pending")
