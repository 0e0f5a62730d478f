"""A broker in the simulation: the real proxy, from the checked call to the sent bytes.

It leaves out HTTP and the sign-in; its session tokens are words that carry their expiry.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from email.utils import formatdate
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from yarl import URL

from clipperd.broker.http import Answer as Heard
from cloud_broker.audit import Audit
from cloud_broker.clock import from_rfc3339
from cloud_broker.errors import BrokerError, DatabaseFailed
from cloud_broker.identity.connections import OpenToken, Tokens
from cloud_broker.identity.sessions import Claims
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.proxy import bodies, versions
from cloud_broker.proxy.call import Call
from cloud_broker.proxy.errors import ProxyError, Unauthorized
from cloud_broker.proxy.keys import first_key, parse_key, parse_outbox
from cloud_broker.proxy.responses import ProxyResponse, from_refusal
from cloud_broker.proxy.routes import match
from cloud_broker.secret import Secret
from cloud_broker.storage.database import to_ms
from cloud_broker.storage.idempotency import Idempotency, KeyId
from cloud_broker.web.proxy import PREFIX, RELAY, refusal_of
from cloud_broker.web.writes import writes_body
from tests.chaos.sim.disk import SharedRows
from tests.chaos.sim.loop import Loop
from tests.chaos.sim.machine import Machine
from tests.chaos.sim.notion import Notion
from tests.chaos.sim.trace import Trace
from tests.chaos.sim.upstream import Upstream
from tests.cloud_broker.proxy.wired import a_relay, some_settings

USER = "user-mira"
ACCESS_S = 600
_PINNED = "2026-03-11"


class Ids:
    """The broker's port ``Randomness`` from dice that repeat."""

    def __init__(self, rng: random.Random) -> None:
        """``rng`` is its own."""
        self._rng = rng

    def new_id(self) -> str:
        """128 bits."""
        return self._rng.randbytes(16).hex()

    def new_secret(self) -> str:
        """256 bits."""
        return self._rng.randbytes(32).hex()


class _Connected(Tokens):
    """One connection, always open."""

    def __init__(self, notion: Notion) -> None:
        self._notion = notion

    async def open(
        self, user_id: str, workspace_id: str | None, purpose: str, *, fresh: bool = True
    ) -> OpenToken:
        assert workspace_id == self._notion.workspace
        token = self._notion.token
        secret = Secret(token.access)
        return OpenToken("connection", user_id, token.workspace_id, token.bot_id, secret, 1)

    async def refresh(self, opened: OpenToken) -> OpenToken:
        return opened


class _NoAudit(Audit):
    """Takes every event and keeps none."""

    def __init__(self) -> None:
        self.lost = 0

    def record(self, *_: object, **__: object) -> bool:
        return True


class Broker:
    """One instance; all share the rows."""

    def __init__(
        self,
        machine: Machine,
        notion: Notion,
        upstream: Upstream,
        rows: SharedRows,
        trace: Trace,
        *,
        is_tight: bool,
    ) -> None:
        """``is_tight``: with the limits of a real broker, else with limits that never bind."""
        self.machine = machine
        self._notion = notion
        self._upstream = upstream
        self._rows = rows
        self._trace = trace
        self._is_tight = is_tight
        self._app = web.Application()

    @property
    def loop(self) -> Loop:
        """The simulation's loop."""
        return self.machine.loop

    def start(self) -> None:
        """Begin a new life on the shared rows."""
        process = self.machine.boot_process()
        rng = random.Random(self.machine.rng.random())
        ids = Ids(rng)
        limits = {} if self._is_tight else {"notion_rate": 500.0, "notion_burst": 500}
        self._app = web.Application()
        settings = some_settings(
            notion_api_url="https://notion.example",
            limit_scale=1.0 if self._is_tight else 1000.0,
            tiers={},
            **limits,
        )
        self._app[RELAY], _ = a_relay(
            settings,
            database=self._rows,
            tokens=_Connected(self._notion),
            transport=self._upstream,
            clock=self.machine,
            rng=rng,
            randomness=ids,
            audit=_NoAudit(),
            metrics=Metrics(),
        )
        _ = process.start(self._purge())
        self._trace.note(self.machine.name, "starts")

    def serve(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        answered: Callable[[Heard], None],
    ) -> asyncio.Task[None]:
        """Answer one request as this process, if it lives so long."""

        async def work() -> None:
            answered(await self._answer(method, url, headers, body))

        return self.machine.process.start(work())

    async def _answer(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None
    ) -> Heard:
        if url.path == "/api/auth/token":
            return self._heard(200, self._tokens(), {})
        if url.path == "/api/user/me":
            return self._heard(200, b'{"limits":{}}', {})
        request_id = "request"
        try:
            claims = self._claims(headers)
            if url.path.startswith("/api/notion/writes"):
                with contextlib.suppress(DatabaseFailed):
                    return await self._written(method, url, body or b"")
                return self._heard(503, b"{}", {})
            call = _call(claims, method, url, headers, body, request_id)
            answer = await self._app[RELAY].answer(call)
        except ProxyError as refusal:
            answer = from_refusal(refusal, request_id)
        except BrokerError as error:
            answer = from_refusal(refusal_of(error), request_id)
        return self._said(answer)

    async def _written(self, method: str, url: URL, body: bytes) -> Heard:
        """What ``web/writes.py`` does."""
        rows = Idempotency(self._rows)
        if method == "PUT":
            who = KeyId(USER, self._notion.workspace, url.path.rpartition("/")[2])
            created = msgspec.json.decode(body)["created"]
            await rows.settle(who, created, to_ms(self.machine.now()))
            return self._heard(204, b"", {})
        since = to_ms(from_rfc3339(url.query["since"]))
        found = await rows.since(USER, self._notion.workspace, since, 2_000, first_key(since))
        body = msgspec.json.encode(writes_body(found, 2_000, self.machine.now()))
        return self._heard(200, body, {})

    def _tokens(self) -> bytes:
        ends = self.machine.now() + ACCESS_S
        workspace = {
            "id": self._notion.workspace,
            "name": "Mira's",
            "bot_id": self._notion.token.bot_id,
        }
        return msgspec.json.encode(
            {
                "access_token": f"access:{ends}",
                "expires_in": ACCESS_S,
                "refresh_token": "refresh",
                "user": {"id": USER, "email": "mira@example.com"},
                "workspaces": [workspace],
            }
        )

    def _claims(self, headers: Mapping[str, str]) -> Claims:
        ends = float(headers["Authorization"].rpartition(":")[2])
        if ends <= self.machine.now():
            raise Unauthorized
        return Claims(USER, "session", "mira@example.com", "FREE", ends)

    def _said(self, answer: ProxyResponse) -> Heard:
        return self._heard(answer.status, answer.body, answer.headers)

    def _heard(self, status: int, body: bytes, headers: Mapping[str, str]) -> Heard:
        shown = {name.lower(): value for name, value in headers.items()}
        shown["date"] = formatdate(self.machine.now(), usegmt=True)
        return Heard(status, shown, body)

    async def _purge(self) -> None:
        rows = Idempotency(self._rows)
        while True:
            await self.machine.sleep(600.0)
            with contextlib.suppress(DatabaseFailed):
                await rows.purge(to_ms(self.machine.now()))


def _call(
    claims: Claims,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    body: bytes | None,
    request_id: str,
) -> Call:
    """What ``web/proxy.py`` makes of a request. Raises Refusal."""
    query = parse_qsl(url.query_string, keep_blank_values=True)
    route, ids, pairs = match(method, url.raw_path.removeprefix(PREFIX), query)
    parsed = bodies.parse(route, body or b"")
    key = headers.get("Idempotency-Key") if route.kind == "write" else None
    return Call(
        claims=claims,
        route=route,
        ids=ids,
        query=pairs,
        version=_PINNED,
        pinned=_PINNED,
        request_id=request_id,
        body=None if parsed is None else versions.to_upstream(route, parsed, _PINNED),
        workspace=headers["X-Workspace-Id"],
        key=None if key is None else parse_key(key),
        is_single_use=headers.get("Idempotency-Key-Use") == "once",
        outbox=parse_outbox(headers["X-Outbox"]) if "X-Outbox" in headers else None,
    )
