from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from clipperd.errors import ContentInvalid, InvalidInput
from clipperd.web.handlers import convert


@pytest.fixture
async def client() -> Any:
    app = web.Application()
    for route in convert.ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
    app.middlewares.append(told)
    async with TestClient(TestServer(app)) as client:
        yield client


@web.middleware
async def told(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except InvalidInput as error:
        return web.json_response({"code": error.code, "errors": error.errors}, status=400)
    return answer


async def test_the_preview_shows_blocks_losses_and_requests(client: Any) -> None:
    content = {"format": "markdown", "markdown": "###### t\n" + "\n\nx" * 100}
    async with client.post("/v1/convert", json={"content": content}) as reply:
        body = await reply.json()
    assert reply.status == 200
    assert body["requests"] == 2
    assert len(body["blocks"]) == 101
    assert [loss["kind"] for loss in body["losses"]] == ["heading_level"]


async def test_the_preview_names_the_place_of_what_is_wrong(client: Any) -> None:
    content = [{"format": "blocks", "blocks": [{"type": "nonsense"}]}]
    async with client.post("/v1/convert", json={"content": content}) as reply:
        body = await reply.json()
    assert body["code"] == ContentInvalid.code
    assert body["errors"] == [{"pointer": "/content/0/blocks/0/type", "code": "unknown_type"}]


async def test_the_preview_needs_the_clip_scope() -> None:
    assert [route.scope for route in convert.ROUTES] == ["clip"]
