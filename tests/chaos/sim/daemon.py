"""A daemon in the simulation: the parts of ``clipperd/daemon/assembly.py`` on real files."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from clipperd.broker.auth import GrantedWorkspace, User
from clipperd.daemon.assembly import Daemon as Parts
from clipperd.daemon.assembly import assemble
from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.daemon.system import System
from clipperd.keychain.system import MemorySecrets
from clipperd.session.credentials import secret_name
from clipperd.settings.config import load
from clipperd.settings.locations import locate
from clipperd.storage.database import Database
from clipperd.storage.disposable import open_cache
from tests.chaos.sim.broker import USER
from tests.chaos.sim.disk import Clerk, executor_factory
from tests.chaos.sim.line import Line
from tests.chaos.sim.loop import Process
from tests.chaos.sim.machine import Machine
from tests.chaos.sim.notion import ORIGIN, Notion
from tests.chaos.sim.trace import Trace

T = TypeVar("T")
# What the run counts, kept in the daemon's own file so that it is as durable as what it counts.
_TALLY = """
CREATE TABLE sim_unknown (key TEXT PRIMARY KEY);
CREATE TABLE sim_asked (key TEXT PRIMARY KEY);
CREATE TRIGGER sim_unknown_a AFTER UPDATE OF phase ON request WHEN NEW.phase <> 'sending'
  BEGIN INSERT OR IGNORE INTO sim_unknown VALUES (NEW.key); END;
CREATE TRIGGER sim_asked_a AFTER UPDATE OF reason ON delivery
  WHEN NEW.reason = 'outcome_unknown' AND OLD.request_key IS NOT NULL
  BEGIN INSERT OR IGNORE INTO sim_asked VALUES (OLD.request_key); END;
"""


class Down(Exception):
    """The daemon is not there, or ended before it answered."""


class Daemon:
    """One installation: its files, its keychain and its line outlive its processes."""

    def __init__(
        self, machine: Machine, line: Line, folder: Path, notion: Notion, trace: Trace
    ) -> None:
        """``folder`` holds its databases."""
        self.machine = machine
        self.line = line
        self.parts: Parts | None = None
        self._folder = folder
        self._notion = notion
        self._trace = trace
        self._keychain = MemorySecrets()
        self._clerks: list[Clerk] = []
        self._fills = 0
        self._up = asyncio.Event()
        self._ending = asyncio.Event()
        settings = {
            "home": str(folder),
            "broker_url": "https://broker.example",
            "secrets": "memory",
            "refresh_s": 86_400.0,
        }
        self._settings = load({}, settings, "")

    @property
    def name(self) -> str:
        """For the trace, and on its requests."""
        return self.machine.name

    def start(self) -> Process:
        """Begin a new life on the same files."""
        process = self.machine.boot_process()
        process.on_death.append(self._died)
        _ = process.start(self._live(process))
        self._trace.note(self.name, "starts")
        return process

    def stop(self) -> None:
        """SIGTERM: it ends by itself, soon."""
        self._ending.set()

    async def ended(self) -> None:
        """Return once a stop that was asked for is over; at once without one."""
        if self._ending.is_set() and self.machine.process.alive:
            over = asyncio.Event()
            self.machine.process.on_death.append(over.set)
            await over.wait()

    async def up(self) -> None:
        """Return once it answers."""
        await self._up.wait()

    async def call(self, work: Callable[[Parts], Coroutine[Any, Any, T]], suffix: str = "") -> T:
        """Have the daemon do what a request of its API would, as itself. Raises Down."""
        if self.parts is None or not self.machine.process.alive:
            raise Down
        parts, answer = self.parts, self.machine.loop.create_future()

        async def run() -> None:
            ORIGIN.set(self.name + suffix)
            try:
                result = await work(parts)
            except Exception as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        def died() -> None:
            if not answer.done():
                answer.set_exception(Down())

        self.machine.process.on_death.append(died)
        _ = self.machine.process.start(run())
        result: T = await answer
        return result

    def full(self, *, on: bool) -> None:
        """The disk is full, or has room again; a new life finds room.

        By turns what fits into the file's own gaps still goes in, as on a disk that fills up, and
        nothing does, so that what Notion has just applied cannot be written down.
        """
        self._fills += on
        for clerk in self._clerks:
            clerk.full(on=on, wholly=self._fills % 2 == 0)

    def tally(self) -> tuple[int, int]:
        """How many requests had an unknown outcome, and how many of them were left to a person."""
        connection = sqlite3.connect(self._folder / "outbox.db")
        try:
            found = connection.execute(
                "SELECT (SELECT count(*) FROM sim_unknown), (SELECT count(*) FROM sim_asked)"
            ).fetchone()
            return int(found[0]), int(found[1])
        finally:
            connection.close()

    async def sign_in(self) -> None:
        """Once, before anything else: whose daemon it is."""
        await self._keychain.set(secret_name(USER), "refresh")

        async def remember(parts: Parts) -> None:
            token = self._notion.token
            workspace = GrantedWorkspace(token.workspace_id, "Mira's", None, token.bot_id)
            await parts.session.accounts.remember(User(USER, "mira@example.com"), [workspace])
            await parts.session.open()
            parts.background.session_changed()

        await self.call(remember)

    async def _live(self, process: Process) -> None:
        ORIGIN.set(self.name)
        rng = random.Random(self.machine.rng.random())
        self._clerks = []
        make_executor = executor_factory(self.machine, process, self._clerks)
        outbox = Database.open(
            self._folder / "outbox.db",
            name="outbox",
            steps=STEPS,
            synchronous="FULL",
            make_executor=make_executor,
        )
        cache = open_cache(self._folder / "cache.db", CACHE_STEPS, make_executor=make_executor)
        system = System(
            clock=self.machine,
            http=self.line,
            entropy=rng.randbytes,
            rng=rng.random,
            secrets=self._keychain,
        )
        parts = await assemble(self._settings, locate(self._folder), outbox, cache, system)
        await parts.session.open()
        self._ending = asyncio.Event()
        async with parts.background.running():
            self.parts = parts
            self._up.set()
            await self._ending.wait()
            self.parts = None
            self._up.clear()
        await parts.close()
        cache.close()
        outbox.close()
        process.kill()

    def _died(self) -> None:
        self.parts = None
        self._clerks = []
        self._up.clear()
        self._trace.note(self.name, f"ends at step {self.machine.process.steps}")


class Template:
    """New databases as the real code makes them, once, to be copied for each run."""

    def __init__(self, folder: Path) -> None:
        """Make them in ``folder``."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, steps in (("outbox", STEPS), ("cache", CACHE_STEPS)):
            file = folder / f"{name}.db"
            Database.open(file, name=name, steps=steps, synchronous="NORMAL").close()
        connection = sqlite3.connect(folder / "outbox.db")
        connection.executescript(_TALLY)
        connection.close()

    def copy(self, folder: Path) -> None:
        """Put fresh ones into ``folder``."""
        folder.mkdir(parents=True)
        for name in ("outbox.db", "cache.db"):
            shutil.copy(self._folder / name, folder / name)
        connection = sqlite3.connect(folder / "outbox.db")
        with connection:  # another installation
            connection.execute("UPDATE outbox_id SET id = ?", (f"outbox-{folder.name.lower()}",))
        connection.close()
