"""A running sandbox in the test's own process, and short ways to call it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from cloud_broker.sandbox import grants, seed
from cloud_broker.sandbox.app import BACKGROUND, CALLS, WORLD, create_app
from cloud_broker.sandbox.calls import Calls
from cloud_broker.sandbox.world import World
from tests.clocks import ManualClock

START = 1_791_279_120.0 + 37.5  # 37.5 s into a minute
NEW, OLD = "2026-03-11", "2025-09-03"
MISSING = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"


@dataclass(slots=True)
class SandboxStage:
    """The sandbox, a client for it, and a token of Mira's."""

    client: TestClient[Any, Any]
    world: World
    clock: ManualClock
    token: str
    bot_id: str
    version: str = NEW

    async def raw(
        self, method: str, path: str, body: Any = None, **headers: str | None
    ) -> ClientResponse:
        sent: dict[str, str | None] = {
            "Authorization": f"Bearer {self.token}",
            "Notion-Version": self.version,
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in sent.items() if value is not None}
        if isinstance(body, bytes):
            return await self.client.request(method, f"/v1/{path}", data=body, headers=kept)
        return await self.client.request(method, f"/v1/{path}", json=body, headers=kept)

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        response = await self.raw(method, path, body)
        got = await response.json()
        assert response.status == status, got
        return got

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
        response = await self.raw(method, path, body)
        got = await response.json()
        assert got["object"] == "error", got
        return response.status, got["code"], got["message"]

    async def append(self, parent: str, *blocks: Any, **where: Any) -> list[Any]:
        path = f"blocks/{parent}/children"
        got = await self.ask("PATCH", path, {"children": list(blocks), **where})
        results: list[Any] = got["results"]
        return results

    async def listing(self, parent: str, **query: str) -> Any:
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return await self.ask("GET", f"blocks/{parent}/children?{words}")

    async def texts(self, parent: str) -> list[str]:
        return [text_of(block) for block in (await self.listing(parent))["results"]]

    async def control(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        response = await self.client.request(method, f"/_sandbox/{path}", json=body)
        got = await response.json()
        assert response.status == status, got
        return got

    async def fault(self, kind: str, route: str = "*", **rule: Any) -> None:
        await self.control("POST", "faults", {"kind": kind, "route": route, **rule}, 201)

    async def settle(self) -> None:
        await self.client.app[BACKGROUND].idle()

    def total(self) -> int:
        calls: Calls = self.client.app[CALLS]
        return calls.total


@asynccontextmanager
async def staged(version: str = NEW, rate: int | None = None) -> AsyncIterator[SandboxStage]:
    """Start a sandbox with the seed world and no rate limit."""
    clock = ManualClock(START)
    app = create_app(clock=clock, rate_per_minute=rate)
    world = app[WORLD]
    token = grants.mint(world, seed.MIRA, seed.WORKSPACE)
    async with TestClient(TestServer(app)) as client:
        yield SandboxStage(client, world, clock, token.access, token.bot_id, version)


def paragraph(text: str, **more: Any) -> dict[str, Any]:
    """Make a paragraph block for a request."""
    return {"type": "paragraph", "paragraph": {"rich_text": rich(text), **more}}


def nested(kind: str, text: str, *children: Any) -> dict[str, Any]:
    """Make a block with children for a request."""
    return {kind: {"rich_text": rich(text), "children": list(children)}}


def rich(text: str) -> list[dict[str, Any]]:
    """Make rich text for a request."""
    return [{"type": "text", "text": {"content": text}}]


def text_of(block: dict[str, Any]) -> str:
    """Read the plain text of a block in a response."""
    return "".join(run["plain_text"] for run in block[block["type"]].get("rich_text", []))
