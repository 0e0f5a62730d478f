"""Three brokers, one PostgreSQL, one Redis, one sandbox, and one signed-in user."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from uuid import UUID

from aiohttp import ClientError, ClientSession, ClientTimeout

from clipperd.cli.demo.web import fetch
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.stack.notion import Notion
from tests.stack.program import Program

BROKERS = 3
WEBHOOK_TOKEN = "secret_of_the_fleet"
PROXY = "/api/notion/proxy/v1/"
VERIFIER = "v" * 43
_CALLBACK = "http://127.0.0.1:9/v1/session/callback"


@dataclass
class Answer:
    """A broker's answer; status 0: the connection died."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


class Fleet:
    """The programs. ``a_fleet`` is the way to have one."""

    def __init__(self, folder: Path, database: str, redis: str | None, **changes: str) -> None:
        """``changes`` are settings of the brokers, BROKER_…"""
        self._folder = folder
        self.database = database
        sandbox_port = free_port()
        self.notion = Notion(f"http://127.0.0.1:{sandbox_port}")
        self._ready = folder / "sandbox.url"
        base = {name: text for name, text in os.environ.items() if not _is_ours(name)}
        argv = ["cloud_broker", "sandbox", "--port", str(sandbox_port), "--rate", "0"]
        argv += ["--ready-file", str(self._ready)]
        self.sandbox = Program("sandbox", argv, base, folder / "sandbox.txt")
        ports = [free_port() for _ in range(BROKERS)]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._env = base | {
            "BROKER_PUBLIC_URL": self.urls[0],
            "BROKER_DATABASE_URL": database,
            **({} if redis is None else {"BROKER_REDIS_URL": redis}),
            "BROKER_REDIS_BUDGET_MS": "2000",  # a busy machine is no failure here
            "BROKER_NOTION_API_URL": self.notion.url,
            "BROKER_NOTION_CLIENT_ID": "sandbox-client",
            "BROKER_NOTION_CLIENT_SECRET": "sandbox-secret",
            "BROKER_ENCRYPTION_KEYS": new_key(),
            "BROKER_SIGNING_KEYS": new_key(),
            "BROKER_NOTION_RATE": "500",
            "BROKER_NOTION_BURST": "500",
            "BROKER_UPSTREAM_WRITE_S": "8",
            "BROKER_DRAIN_S": "5",
            "BROKER_WEBHOOK_TOKEN": WEBHOOK_TOKEN,
            **changes,
        }
        self._ports = ports
        self.brokers = [self._broker(number) for number in range(BROKERS)]

    def _broker(self, number: int, module: str = "cloud_broker") -> Program:
        env = {**self._env, "BROKER_PORT": str(self._ports[number])}
        file = self._folder / f"broker-{number}.txt"
        return Program(f"broker {number}", [module, "run"], env, file)

    def open(self, count: int = BROKERS) -> None:
        """Start everything, or only so many brokers."""
        self.sandbox.start(self._ready.exists)
        for number in range(count):
            self.start(number)

    def start(self, number: int) -> None:
        """Start one broker and wait until it is ready."""
        url = self.urls[number]
        self.brokers[number].start(lambda: is_up(f"{url}/readyz"))

    def roll(self, number: int, **changes: str) -> None:
        """Stop one broker politely and start it with other settings."""
        self._env |= changes
        self.brokers[number].stop()
        self.brokers[number] = self._broker(number)
        self.start(number)

    def command(self, module: str, *words: str) -> tuple[int, str]:
        """Run a command with the brokers' settings; return its exit code and what it said."""
        argv = [sys.executable, "-m", module, *words]
        done = subprocess.run(argv, env=self._env, capture_output=True, text=True, timeout=40)
        return done.returncode, done.stdout + done.stderr

    def replace(self, number: int, module: str) -> None:
        """From its next start on, broker ``number`` is another program."""
        self.brokers[number] = self._broker(number, module)

    def setting(self, name: str) -> str:
        """A setting of the brokers as it is now."""
        return self._env[name]

    def close(self) -> None:
        """Stop everything."""
        for program in (*self.brokers, self.sandbox):
            program.stop()


class Person:
    """Somebody with a session, who asks one broker or another."""

    def __init__(
        self, fleet: Fleet, http: ClientSession, address: str, tokens: dict[str, Any]
    ) -> None:
        """``tokens``: the answer of ``POST /api/auth/token``."""
        self._fleet = fleet
        self.http = http
        self._address = address
        self.tokens = tokens
        self.workspace = str(tokens["workspaces"][0]["id"])
        self.user = str(tokens["user"]["id"])

    async def call(
        self, number: int, method: str, path: str, *, body: Any = None, key: str | None = None
    ) -> Answer:
        """One request to broker ``number``."""
        headers = {**self.headers, "X-Workspace-Id": self.workspace}
        if key is not None:
            headers["Idempotency-Key"] = key
        url = self._fleet.urls[number % BROKERS] + path
        try:
            async with self.http.request(method, url, headers=headers, json=body) as answer:
                plain = answer.content_type.endswith("json")
                got = await answer.json(content_type=None) if plain else await answer.text()
                return Answer(answer.status, dict(answer.headers), got)
        except ClientError:
            return Answer(0)

    async def append(self, number: int, page: str, text: str, key: str | None = None) -> Answer:
        """Append a paragraph."""
        body = {"children": [{"paragraph": {"rich_text": [{"text": {"content": text}}]}}]}
        return await self.call(
            number, "PATCH", f"{PROXY}blocks/{page}/children", body=body, key=key
        )

    @property
    def headers(self) -> dict[str, str]:
        token = self.tokens["access_token"]
        return {"Authorization": f"Bearer {token}", "X-Forwarded-For": self._address}


@contextmanager
def a_fleet(
    folder: Path, postgres: Postgres, redis: RedisServer, **changes: str
) -> Iterator[Fleet]:
    """Everything up, on a database of its own; stopped in any case."""
    url = postgres.fresh()
    fleet = Fleet(folder, url, redis.url, **changes)
    try:
        fleet.open()
        yield fleet
    finally:
        fleet.close()
        postgres.drop(url)


@asynccontextmanager
async def a_person(fleet: Fleet, user: str, at: int = 0) -> AsyncIterator[Person]:
    """Sign somebody in through the real flow, at one broker, from an address of their own."""
    address = f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"

    async with ClientSession(timeout=ClientTimeout(40)) as http:
        body = {
            "grant_type": "handoff",
            "token": await asyncio.to_thread(
                hand_off, fleet.urls[at], user, fleet.urls[0], address
            ),
            "code_verifier": VERIFIER,
        }
        url, headers = f"{fleet.urls[at]}/api/auth/token", {"X-Forwarded-For": address}
        async with http.post(url, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            tokens = await answer.json()
        yield Person(fleet, http, address, tokens)


@asynccontextmanager
async def a_newcomer(fleet: Fleet, user: str) -> AsyncIterator[Person]:
    """The same for an account that has spent nothing of any limit: the one before is erased."""
    async with a_person(fleet, user) as before:
        assert (await before.call(0, "DELETE", "/api/user")).status == 204
    async with a_person(fleet, user) as person:
        yield person


def hand_off(broker_url: str, user: str, public_url: str = "", address: str = "127.0.0.1") -> str:
    """What the browser of somebody who signs in brings back; VERIFIER makes it worth something.

    ``public_url``: where Notion sends the browser back to, if that is not ``broker_url``.
    """
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    query = {
        "source": "cli",
        "state": secrets.token_urlsafe(16),
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "device": "a test",
        "redirect_uri": _CALLBACK,
    }
    url, cookies = f"{broker_url}/api/auth/notion?{urlencode(query)}", dict[str, str]()
    while not url.startswith(_CALLBACK):
        if public_url and url.startswith(public_url):
            url = broker_url + url.removeprefix(public_url)
        if "/v1/oauth/authorize" in url:
            url += "&" + urlencode({"auto": "1", "user": user})
        sent = {"X-Forwarded-For": address}
        if cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        status, headers, body_ = fetch("GET", url, headers=sent)
        assert status in (302, 303), (status, body_[:300])
        for line in headers.get("set-cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            cookies[name.strip()] = value.strip()
        url = urljoin(url, headers["location"][0])
    return parse_qs(urlsplit(url).query)["token"][0]


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Look until it is so."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def new_key() -> str:
    """A key of 32 random bytes, in the form of the settings."""
    return f"k{secrets.token_hex(3)}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def a_key() -> str:
    """A fresh UUIDv7."""
    value = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    value = (value & ~(0xF << 76)) | (7 << 76)
    return str(UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62)))


def _is_ours(name: str) -> bool:
    return name.startswith(("CLIPPERD_", "BROKER_"))


def is_up(url: str) -> bool:
    """Whether an address answers 200."""
    try:
        return fetch("GET", url)[0] == 200
    except OSError:
        return False
