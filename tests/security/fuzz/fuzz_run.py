"""A whole broker on loopback before the recorder, signed-in users, and the requests sent to it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from aiohttp import ClientSession, CookieJar, web
from aiohttp.test_utils import TestServer, unused_port
from yarl import URL

from cloud_broker import app as broker
from cloud_broker.clock import SystemClock
from cloud_broker.proxy.routes import ROUTES
from cloud_broker.settings.config import Settings
from cloud_broker.storage.sqlite import open_sqlite
from cloud_broker.transport import AiohttpTransport
from tests.security.fuzz.grammar import PROXY, Case, case
from tests.security.fuzz.recorder import Recorder, workspace_of
from tests.security.fuzz.verdict import Who, judge, row_of
from tests.security.fuzz.wire import Answer, Line, NoHttp
from tests.security.whole_system import serving

WORKERS = 6
Doors = Sequence[tuple[str, str]]


@dataclass
class Report:
    """What a run found: faults with what replays them, and what it did at all."""

    faults: list[str] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    sent: int = 0
    took_s: float = 0.0

    def told(self) -> str:
        """For a person."""
        reached = sum(self.rows.values())
        lines = [f"{self.sent} requests in {self.took_s:.1f} s; {reached} reached Notion"]
        lines += [f"  {status or 'closed'}: {n}" for status, n in sorted(self.statuses.items())]
        lines += [f"  {self.rows[route.name]:6} {route.name}" for route in ROUTES]
        return "\n".join([*lines, *self.faults[:50]])


@dataclass
class FuzzRun:
    """What runs. Each worker is a person of their own: a request's token tells whose it is."""

    host: str
    port: int
    recorder: Recorder
    people: list[Who]
    doors: Doors

    async def run(self, seed: int, numbers: Iterable[int]) -> Report:
        """Send the requests ``numbers`` of ``seed``, several at once."""
        report = Report()
        begun = time.monotonic()
        shares: list[list[int]] = [[] for _ in self.people]
        for number in numbers:
            shares[number % len(self.people)].append(number)
        async with asyncio.TaskGroup() as group:
            for who, share in zip(self.people, shares, strict=True):
                group.create_task(self._work(who, seed, share, report))
        report.faults += [f"a stray at Notion: {stray}" for stray in self.recorder.strays]
        report.took_s = time.monotonic() - begun
        return report

    async def _work(self, who: Who, seed: int, numbers: list[int], report: Report) -> None:
        line: Line | None = None
        for number in numbers:
            each = case(seed, number, self.doors)
            raw = self._filled(each.head, each, who) + each.sent
            faults: list[str] = []
            answers: list[Answer] = []
            try:
                if each.odd:
                    answers = await self._alone(raw, each)
                else:
                    line, answers = await self._kept(raw, each, line)
            except (TimeoutError, NoHttp) as error:
                faults.append(f"no answer: {error!r}")
                line = None
            arrived = self.recorder.taken(who.number)
            faults += judge(each, answers, arrived, who)
            if line is not None and line.unasked:
                faults.append(f"more than was asked for: {line.unasked!r}")
                line = None
            report.sent += 1
            report.statuses[answers[0].status if answers else 0] += 1
            report.rows.update(row.name for row in map(row_of, arrived) if row is not None)
            report.faults += [f"{fault}\n    {each.replay()}" for fault in faults]
        if line is not None:
            line.close()
        report.faults += await self._still_signed_in(who)

    async def _kept(
        self, raw: bytes, each: Case, line: Line | None
    ) -> tuple[Line | None, list[Answer]]:
        """Over the kept connection; over a new one where the server has closed that."""
        while True:
            fresh = line is None or not line.is_usable
            if line is None or fresh:
                line = await Line.to(self.host, self.port)
            line.send(raw)
            answer = await line.answer(each.method)
            if answer is not None or fresh:
                break
            line = None  # it was being closed when this was sent
        if answer is None or answer.closes:
            line.close()
            return None, [answer] if answer else []
        return line, [answer]

    async def _alone(self, raw: bytes, each: Case) -> list[Answer]:
        """Over a connection of its own, to its end."""
        line = await Line.to(self.host, self.port)
        answers = []
        try:
            line.send(raw)
            if each.cut:
                line.end()
            while (answer := await line.answer(each.method)) is not None:
                answers.append(answer)
                if answer.closes and each.method == b"HEAD":
                    break  # a refusal of the parser's has a body, HEAD or not
                line.end()
        finally:
            line.close()
        return answers

    async def _still_signed_in(self, who: Who) -> list[str]:
        """Whoever was signed out on the way was refused for that, and not for what was sent."""
        line = await Line.to(self.host, self.port)
        head = f"GET {PROXY}v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {who.token}"
        line.send(head.encode() + b"\r\n\r\n")
        answer = await line.answer(b"GET")
        line.close()
        arrived = self.recorder.taken(who.number)
        if answer is None or answer.status != 200 or len(arrived) != 1:
            return [f"person {who.number} cannot call any more: {answer}"]
        return []

    def _filled(self, head: bytes, each: Case, who: Who) -> bytes:
        stamp = int(time.time() * 1000)
        tail = Random(f"key {each.seed} {each.number // 20}").getrandbits(62)  # some twice
        fills = {
            b"{token}": who.token,
            b"{workspace}": workspace_of(who.number),
            b"{WORKSPACE}": workspace_of(who.number).replace("-", "").upper(),
            b"{host}": f"{self.host}:{self.port}",
            b"{key}": _key(stamp // 100_000 * 100_000, tail),
            b"{KEY}": _key(stamp, tail).upper(),
            b"{old}": _key(stamp - 48 * 3_600_000, tail),
        }
        for name, value in fills.items():
            head = head.replace(name, value.encode())
        return head


def _key(stamp: int, tail: int) -> str:
    """A UUIDv7 of a moment."""
    digits = f"{stamp:012x}7{tail >> 50:03x}{0x8 | (tail >> 48) & 3:x}{tail & ((1 << 60) - 1):015x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


@asynccontextmanager
async def a_scene(folder: Path, people: int = WORKERS) -> AsyncIterator[FuzzRun]:
    """Start everything and sign everybody in."""
    recorder = Recorder()
    async with AsyncExitStack() as stack:
        notion = await stack.enter_async_context(TestServer(recorder.app()))
        port = unused_port()
        settings = Settings.from_env(_environment(str(notion.make_url("")).rstrip("/"), port))
        database = await open_sqlite(folder / "broker.db")
        stack.push_async_callback(database.close)
        transport = await stack.enter_async_context(AiohttpTransport())
        app = broker.create_app(
            settings, database=database, transport=transport, clock=SystemClock()
        )
        await stack.enter_async_context(serving(app, app[broker.INBOUND], port))
        host = f"{notion.host}:{notion.port}"
        signed_in = [
            Who(number, await _signed_in(URL(settings.public_url), number), host)
            for number in range(people)
        ]
        recorder.signing_in = False
        yield FuzzRun("127.0.0.1", port, recorder, signed_in, doors_of(app))


def doors_of(app: web.Application) -> Doors:
    """Method and path of every route of the application but the proxy's, in a fixed order."""
    return sorted(
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and not route.resource.canonical.startswith(PROXY)
    )


def _environment(notion_url: str, port: int) -> dict[str, str]:
    return {
        "BROKER_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "BROKER_NOTION_API_URL": notion_url,
        "BROKER_NOTION_CLIENT_ID": "client",
        "BROKER_NOTION_CLIENT_SECRET": "client-secret",
        "BROKER_ENCRYPTION_KEYS": "one:" + base64.b64encode(b"k" * 32).decode(),
        "BROKER_SIGNING_KEYS": "one:" + base64.b64encode(b"s" * 32).decode(),
        "BROKER_LIMIT_SCALE": "1000000",
        "BROKER_NOTION_RATE": "1000000",
        "BROKER_NOTION_BURST": "1000000",
    }


async def _signed_in(origin: URL, number: int) -> str:
    """Sign a person in as a daemon would; return the access token."""
    verifier = "v" * 43
    digest = hashlib.sha256(verifier.encode()).digest()
    query = {
        "source": "cli",
        "state": "state-of-the-fuzz",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "device": "fuzz",
        "redirect_uri": "http://127.0.0.1:9/v1/session/callback",
    }
    async with ClientSession(origin, cookie_jar=CookieJar(unsafe=True)) as browser:
        async with browser.get("/api/auth/notion", params=query, allow_redirects=False) as departed:
            state = URL(departed.headers["Location"]).query["state"]
        back = {"state": state, "code": str(number)}
        async with browser.get(
            "/api/auth/notion/callback", params=back, allow_redirects=False
        ) as arrived:
            handoff = URL(arrived.headers["Location"]).query["token"]
        body = {"grant_type": "handoff", "token": handoff, "code_verifier": verifier}
        async with browser.post("/api/auth/token", json=body) as answer:
            return str((await answer.json())["access_token"])
