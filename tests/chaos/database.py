"""PostgreSQL that ends connections and fails over under a real broker, with writes under way.

The broker's address of the database is a forwarder. It leads to the server, to a second one that
takes no writes, or nowhere.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

from aiohttp import web

from cloud_broker.sandbox import seed as sandbox_seed
from tests.servers.forwarder import Forwarder, a_forwarder
from tests.servers.postgres import Postgres, a_postgres
from tests.stack.lone_broker import LoneBroker, a_key, a_lone_broker

_WRITERS = 6
_RECOVERS_S = 15.0
_ASK_AGAIN_S = 0.2
_END_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cloud-broker'"
)
TROUBLES = ("sessions ended", "connections reset", "read-only server", "no server")


@dataclass
class Outcome:
    """What became of the writes, and of the other routes."""

    troubles: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = ", ".join(f"{count} {what}" for what, count in sorted(self.answers.items()))
        met = ", ".join(f"{count} x {what}" for what, count in sorted(self.troubles.items()))
        return f"{self.writes} writes through {met}: {told}; {len(self.wrong)} wrong"


async def failovers(rounds: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Make every trouble ``rounds`` times while six writers append under keys."""
    found, rng = Outcome(), Random(f"database {seed}")
    with tempfile.TemporaryDirectory(prefix="clipperd-database-") as name:
        async with _scene(Path(name)) as scene:
            for number in range(rounds):
                for trouble in rng.sample(TROUBLES, len(TROUBLES)):
                    await scene.strike(trouble, found)
                say(f"  round {number + 1} of {rounds}: {found}")
    return found


@dataclass
class _Scene:
    lone: LoneBroker
    line: Forwarder
    first: Postgres
    second: Postgres
    arrived: Counter[str] = field(default_factory=Counter)
    is_over: bool = False

    async def strike(self, trouble: str, found: Outcome) -> None:
        """Make one trouble while everybody works; then everything must work again."""
        found.troubles[trouble] += 1
        self.is_over = False
        busy = [asyncio.ensure_future(self._write(n, found)) for n in range(_WRITERS)]
        busy.append(asyncio.ensure_future(self._look(found)))
        await asyncio.sleep(0.3)
        match trouble:
            case "sessions ended":
                for _ in range(15):
                    await asyncio.to_thread(self.first.sql, _END_ALL)
                    await asyncio.sleep(0.05)
            case "connections reset":
                for _ in range(15):
                    self.line.reset()
                    await asyncio.sleep(0.1)
            case _:
                self.line.lead_to(self.second.port if trouble == "read-only server" else None)
                await asyncio.sleep(2)
                if await self._ready() == 200:
                    found.wrong.append(f"ready with {trouble}")
                self.line.lead_to(self.first.port)
        begun = monotonic()
        while await self._ready() != 200 or not await self._works():
            if monotonic() - begun > _RECOVERS_S:
                found.wrong.append(f"no recovery {_RECOVERS_S} s after {trouble}")
                break
            await asyncio.sleep(_ASK_AGAIN_S)
        self.is_over = True
        await asyncio.gather(*busy)

    async def _write(self, writer: int, found: Outcome) -> None:
        number = 0
        while not self.is_over:
            number += 1
            found.writes += 1
            await self._settle(f"{sum(found.troubles.values())}-{writer}-{number}", found)

    async def _settle(self, text: str, found: Outcome) -> None:
        """Append one paragraph; repeat under its key until its outcome is known."""
        key, begun, what = a_key(), monotonic(), ""
        while monotonic() - begun < 60:
            answer = await self.lone.append(sandbox_seed.EMPTY_PAGE, text, key)
            what = f"{answer.status} {answer.headers.get('X-Broker-Code', '')}".strip()
            found.answers[what] += 1
            if answer.status not in (200, 409, 504, 529):
                found.wrong.append(f"{text}: {what}")
            if answer.status in (200, 504):
                break
            await asyncio.sleep(_ASK_AGAIN_S)
        else:
            found.wrong.append(f"{text}: never settled")
        if self.arrived[text] != 1:
            found.wrong.append(f"{text}: {what}, and at Notion {self.arrived[text]} times")

    async def _look(self, found: Outcome) -> None:
        """Ask the routes of sign-in and account: they answer, or say that they cannot."""
        while not self.is_over:
            for path in ("/api/user/me", "/api/auth/sessions"):
                status = await self._get(path)
                found.answers[f"{status} {path}"] += 1
                if status not in (200, 503):
                    found.wrong.append(f"{path}: {status}")
            await asyncio.sleep(0.02)

    async def _get(self, path: str) -> int:
        headers = {"Authorization": f"Bearer {self.lone.token}"}
        async with self.lone.http.get(self.lone.url + path, headers=headers) as answer:
            return answer.status

    async def _ready(self) -> int:
        return await self._get("/readyz")

    async def _works(self) -> bool:
        return (await self.lone.append(sandbox_seed.EMPTY_PAGE, a_key(), a_key())).status == 200


@asynccontextmanager
async def _scene(folder: Path) -> AsyncIterator[_Scene]:
    with a_postgres() as first, a_postgres() as second:
        url = first.fresh()
        name = url.rsplit("/", 1)[1]
        with a_forwarder(first.port) as line:
            through = url.replace(f":{first.port}/", f":{line.port}/")
            async with a_lone_broker(folder, BROKER_DATABASE_URL=through) as lone:
                second.sql(f"CREATE DATABASE {name} TEMPLATE template0")
                copy = url.replace(f":{first.port}/", f":{second.port}/")
                second.sql(first.dump(url), copy)
                second.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
                scene = _Scene(lone, line, first, second)

                async def note(request: web.Request) -> None:
                    if request.method == "PATCH":
                        (child,) = (await request.json())["children"]
                        scene.arrived[child["paragraph"]["rich_text"][0]["text"]["content"]] += 1

                lone.notion.instead = note
                yield scene
