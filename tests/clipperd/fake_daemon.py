"""A small real HTTP server that speaks the local API's routes that the client uses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from clipperd.process import endpoint
from clipperd.process.endpoint import Endpoint

TOKEN = "t" * 43
PAGE = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
Json = dict[str, Any]


class FakeDaemon:
    """Keeps what it was sent; its tables can be changed by a test."""

    def __init__(self) -> None:
        self.instance_id = "instance-1"
        self.token = TOKEN
        self.proves = True
        self.port = 0
        self.seen: list[tuple[str, str, Any]] = []
        self.tokens_seen: list[str] = []
        self.sessions: list[Json] = [SIGNED_IN]
        self.similar: list[dict[str, Any]] = []
        """What a search finds that no title contains, as a typing error does."""
        self.remote: list[dict[str, Any]] = []
        self.remote_state = "merged"
        self.is_complete = True
        self.headings = [{"id": OTHER, "text": "To read", "level": 2, "index": 0, "path": []}]
        self.pages = [_page(PAGE, "Reading list"), _page(OTHER, "Reading notes")]
        self.clips: dict[str, Json] = {}
        self.events: list[tuple[str, Any]] = []
        self.delivers: bool | None = True
        self.asked_for_clip = asyncio.Event()
        self.status: Json = dict(STATUS)
        self.logins: list[Json] = [{"login_id": "l1", "state": "done", "error": None}]
        self.callbacks: list[str] = []
        self.refuse: dict[str, tuple[int, Json]] = {}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._gate])
        app.add_routes(
            [
                web.post("/v1/hello", self._hello),
                web.get("/v1/status", self._status),
                web.get("/v1/session", self._session),
                web.delete("/v1/session", self._accept),
                web.post("/v1/session/login", self._login),
                web.get("/v1/session/login/{id}", self._login_status),
                web.delete("/v1/session/login/{id}", self._accept),
                web.post("/v1/session/callback", self._callback),
                web.get("/v1/workspaces", self._workspaces),
                web.put("/v1/workspaces/current", self._accept),
                web.get("/v1/pages", self._pages),
                web.get("/v1/pages/{id}/outline", self._outline),
                web.post("/v1/clips", self._clip),
                web.post("/v1/convert", self._convert),
                web.patch("/v1/clips/{id}", self._edit),
                web.delete("/v1/clips/{id}", self._accept),
                web.get("/v1/clips", self._list),
                web.get("/v1/clips/{id}", self._one),
                web.get("/v1/clips/{id}/content", self._content),
                web.post("/v1/clips/{id}/{action}", self._act),
                web.post("/v1/queue/{action}", self._accept),
                web.post("/v1/shutdown", self._accept),
                web.get("/v1/events", self._events),
            ]
        )
        return app

    def published(self) -> Endpoint:
        return Endpoint(
            url=f"http://127.0.0.1:{self.port}",
            port=self.port,
            pid=4242,
            started_at="2026-11-22T10:00:00.000Z",
            instance_id=self.instance_id,
            token=self.token,
        )

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.seen.append((request.method, request.path_qs, body))
        if request.path == "/v1/hello":
            return await handler(request)  # type: ignore[no-any-return]  # aiohttp's old handler type
        sent = request.headers.get("Authorization", "")
        self.tokens_seen.append(sent.removeprefix("Bearer "))
        if sent != f"Bearer {self.token}":
            return _problem(401, {"code": "unauthenticated", "detail": "Wrong token."})
        for path, (status, problem) in self.refuse.items():
            if request.path.startswith(path):
                return _problem(status, problem)
        return await handler(request)  # type: ignore[no-any-return]  # as above

    async def _hello(self, request: web.Request) -> web.Response:
        nonce = (await request.json())["nonce"]
        proof = endpoint.proof(self.token, nonce, self.port, self.instance_id)
        shown = proof if self.proves else "0" * 64
        return web.json_response({"proof": shown, "instance_id": self.instance_id})

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self.status)

    async def _session(self, request: web.Request) -> web.Response:
        now = self.sessions[0]
        if len(self.sessions) > 1:
            self.sessions.pop(0)
        return web.json_response(now)

    async def _login(self, request: web.Request) -> web.Response:
        url = "https://broker.example/api/auth/notion?state=s"
        return web.json_response({"login_id": "l1", "login_url": url, "expires_in": 600})

    async def _login_status(self, request: web.Request) -> web.Response:
        return web.json_response(self.logins[0] if len(self.logins) == 1 else self.logins.pop(0))

    async def _callback(self, request: web.Request) -> web.Response:
        url = (await request.json())["url"]
        self.callbacks.append(url)
        if "token=" not in url:
            return _problem(400, {"code": "invalid_input", "detail": "That is not the address."})
        self.logins = [{"login_id": "l1", "state": "done", "error": None}]
        return web.json_response(SIGNED_IN)

    async def _workspaces(self, request: web.Request) -> web.Response:
        return web.json_response({"workspaces": SIGNED_IN["workspaces"]})

    async def _pages(self, request: web.Request) -> web.Response:
        wanted = request.query.get("q", "").casefold()
        remote = self.remote if "remote" in request.query else []
        found = [p for p in (*self.pages, *remote) if wanted in p["title"].casefold()]
        found = found or self.similar
        index = {"state": "complete", "complete": self.is_complete, "count": len(self.pages)}
        answer: Json = {"items": found, "next_cursor": None, "index": index}
        if "remote" in request.query:
            answer["remote"] = self.remote_state
        return web.json_response(answer)

    async def _outline(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"page_id": PAGE, "title": "Reading list", "headings": self.headings}
        )

    async def _convert(self, request: web.Request) -> web.Response:
        return web.json_response({"blocks": [], "losses": [], "requests": 1})

    async def _edit(self, request: web.Request) -> web.Response:
        return web.json_response(self.clips[request.match_info["id"]] | {"state": "queued"})

    async def _clip(self, request: web.Request) -> web.Response:
        body = await request.json()
        clip_id = f"clip-{len(self.clips) + 1}"
        state = {True: "delivered", False: "needs_attention", None: "queued"}[self.delivers]
        self.clips[clip_id] = {
            "id": clip_id,
            "state": state,
            "title": "A clip",
            "format": "markdown",
            "created_at": "2026-11-22T10:00:00.000Z",
            "content_for_test": body["content"],
            "deliveries": [
                {
                    "id": "d1",
                    "page_title": "Reading list",
                    "state": state,
                    "reason": None if self.delivers else "heading_gone",
                    "actions": ["undo"] if self.delivers else ["retry", "cancel"],
                    "notion_calls": 1,
                }
            ],
        }
        accepted = self.clips[clip_id] | {"state": "queued"}
        return web.json_response(accepted, status=202)

    async def _list(self, request: web.Request) -> web.Response:
        states = request.query.get("state")
        found = [c for c in self.clips.values() if states is None or c["state"] in states]
        at = int(request.query.get("cursor", "0"))
        more = str(at + 1) if at + 1 < len(found) else None
        return web.json_response({"items": found[at : at + 1], "next_cursor": more})

    async def _one(self, request: web.Request) -> web.Response:
        self.asked_for_clip.set()
        clip = self.clips.get(request.match_info["id"])
        if clip is None:
            return _problem(404, {"code": "not_found", "detail": "There is no such clip."})
        return web.json_response(clip)

    async def _content(self, request: web.Request) -> web.Response:
        clip = self.clips[request.match_info["id"]]
        if clip.get("erased"):
            return _problem(410, {"code": "content_erased", "detail": "Erased."})
        return web.json_response({"content": clip["content_for_test"]})

    async def _act(self, request: web.Request) -> web.Response:
        return web.json_response(self.clips[request.match_info["id"]])

    async def _accept(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b": hello\n\n")
        for number, (kind, data) in enumerate(self.events):
            text = f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
            await stream.write(text.encode())
        return stream


@asynccontextmanager
async def running(home: Path, daemon: FakeDaemon | None = None) -> AsyncIterator[FakeDaemon]:
    """Serve a fake daemon and publish its endpoint.json under ``home``."""
    fake = daemon or FakeDaemon()
    server = TestServer(fake.app())
    await server.start_server()
    try:
        assert server.port is not None
        fake.port = server.port
        endpoint.write(home / "endpoint.json", fake.published())
        yield fake
    finally:
        await server.close()


def _page(page_id: str, title: str) -> Json:
    path = [{"id": "x", "title": "Home"}]
    return {"id": page_id, "title": title, "kind": "page", "path": path}


def _problem(status: int, problem: Json) -> web.Response:
    return web.json_response(problem, status=status, content_type="application/problem+json")


SIGNED_IN: Json = {
    "state": "signed_in",
    "user": {"id": "u", "email": "ada@example.org", "name": "Ada"},
    "workspaces": [{"id": "w1", "name": "Lab", "current": True}, {"id": "w2", "name": "Home"}],
    "subscription": {"tier": "free", "status": "active"},
}
SIGNED_OUT: Json = {"state": "signed_out", "user": None, "workspaces": []}
SIGNING_IN: Json = {"state": "signing_in", "user": None, "workspaces": []}
STATUS: Json = {
    "version": "0.1.0",
    "connectivity": {"state": "offline", "since": "2026-11-22T10:00:00.000Z"},
    "queue": {"queued": 2, "needs_attention": 1, "paused_until": None},
    "index": {"state": "complete", "count": 1500},
}
