"""The daemon's queue before the broker's limiter, both real, in one thread on virtual time.

Time passes only when every task waits, so minutes take moments and every run is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from clipperd.broker.ratelimit import limits
from clipperd.broker.reply import Reply
from clipperd.delivery.dispatch import Dispatcher
from clipperd.delivery.ports import Dependencies, Timeouts
from clipperd.model import Position, Scope
from clipperd.notion.port import Call
from clipperd.outbox import accept, backlog
from clipperd.outbox.records import Target
from clipperd.pages.pages import Pages
from clipperd.pages.schema import PAGE_STEPS
from clipperd.storage.database import Connection, Database, Job
from cloud_broker.limits.gcra import Bucket, Rule, Window
from cloud_broker.limits.limiter import LimitCheck
from cloud_broker.limits.memory import MemoryLimiter
from cloud_broker.proxy.responses import limit_headers, whole_seconds
from tests.clipperd.delivery.rig import USER, Rig
from tests.clipperd.drafts import a_draft
from tests.clipperd.memory_notion import SCOPE, MemoryNotion
from tests.clocks import SkippingClock

T = TypeVar("T")
HIGH, NORMAL, LOW = 0, 1, 2


class _Jump(selectors.SelectSelector):
    """Nothing comes from outside: a wait is over at once, and that much later."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everybody waits, and for nothing"
        self.now += timeout
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


class _LoopClock(SkippingClock):
    """The wall and boot time of a virtual loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def now(self) -> float:
        return self._now + self._loop.time()

    def boot(self) -> float:
        return self._boot + self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Inline:
    """Runs jobs in the caller's thread; nothing here tests power cuts."""

    def __init__(self, _name: str, connection: Connection) -> None:
        self._connection = connection

    def start(self) -> None:
        self._connection.open()
        self._connection.sqlite.execute("PRAGMA synchronous=OFF")

    def put(self, job: Job) -> None:
        self._connection.execute([job])
        job.loop.call_soon(job.settle)

    def stop(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Limits:
    """``rules`` by the name that the broker gives them. It lets wait for up to ``patience_s``;
    ``tells``: with headers, as the broker; else Notion itself, a bare 429."""

    rules: Mapping[str, Rule]
    patience_s: float = 0.0
    tells: bool = True


BY_DEFAULT = {"user": Window(120), "route": Window(20)}
BROKER = Limits(BY_DEFAULT)
PATIENT = Limits({**BY_DEFAULT, "connection": Bucket(2.5, 6)}, patience_s=10.0)
BUCKET = Limits({"connection": Bucket(2.5, 6)})
WINDOW = Limits({"connection": Window(180)})
UNTOLD = Limits({"connection": Window(180)}, tells=False)


@dataclass
class Seen:
    """When writes were let through (seconds from the start) and how many were refused."""

    taken: list[float] = field(default_factory=list)
    refused: int = 0

    def used(self, per_second: float, from_s: float, to_s: float) -> float:
        """The share of a budget that was used between two moments."""
        count = sum(from_s <= at < to_s for at in self.taken)
        return count / (per_second * (to_s - from_s))

    @property
    def share_refused(self) -> float:
        """Of all writes that were tried."""
        return self.refused / max(1, self.refused + len(self.taken))


class Gated(MemoryNotion):
    """The model of Notion behind the broker's real limiter, some tenths of a second away."""

    def __init__(self, clock: SkippingClock, limits_: Limits, seed: int = 1) -> None:
        super().__init__(clock)
        self.limits, self.seen = limits_, Seen()
        self._begun = clock.boot()
        self._limiter = MemoryLimiter()
        self._rng = random.Random(seed)

    async def send(self, scope: Scope, call: Call) -> Reply:
        method, path = call.method, call.path
        await asyncio.sleep(self._rng.uniform(0.03, 0.08))
        route = method if method == "PATCH" else f"{method} {path.split('/', maxsplit=1)[0]}"
        keys = {"route": f"route {route}"}  # every route has a limit of its own
        asks = [LimitCheck(n, keys.get(n, n), rule) for n, rule in self.limits.rules.items()]
        now = self.clock.boot()
        decision = await self._limiter.decide(asks, (), now, self.limits.patience_s)
        told = limit_headers(decision.quotas) if self.limits.tells else {}
        told = {name.lower(): value for name, value in told.items()}
        if not decision.allowed:
            self.seen.refused += 1
            await asyncio.sleep(0.05)
            return Reply(
                429,
                {"object": "error", "code": "rate_limited", "message": "Slow down."},
                code="rate_limited",
                broker_code=f"limit_{decision.refused_by}" if self.limits.tells else None,
                retry_after_s=float(whole_seconds(decision.wait_s)),
                limits=limits(told),
            )
        await asyncio.sleep(decision.wait_s)
        self.seen.taken.append(self.clock.boot() - self._begun)
        reply = await super().send(scope, call)
        await asyncio.sleep(self._rng.uniform(0.1, 0.3))
        return Reply(reply.status, reply.body, reply.code, date=reply.date, limits=limits(told))


class Queue:
    """A daemon's queue at work."""

    def __init__(self, rig: Rig, world: Gated, dispatcher: Dispatcher) -> None:
        self.rig, self.world, self.dispatcher = rig, world, dispatcher
        self._numbers = itertools.count(1)

    async def fill(self, pages: int, each: int, priorities: Sequence[int] = (NORMAL,)) -> None:
        """An import: ``each`` clips to every page, none of which can travel with its neighbour."""
        names = [self.world.add_page(f"Page {number}") for number in range(pages)]
        await self.put(names, each, priorities)

    async def put(self, pages: Sequence[str], each: int, priorities: Sequence[int]) -> None:
        """Clips to these pages, each to a place of its own; ``priorities`` take turns."""
        targets = []
        for page in pages:
            anchors = [self.world.add(page, text=f"{n}") for n in range(each)]
            targets += [Target(Position("after_block", block_id=a), page_id=page) for a in anchors]

        def work(connection: Any) -> None:
            for number, target in enumerate(targets):
                self._accept(connection, target, priorities[number % len(priorities)])

        await self.rig.outbox.write(work)
        self.dispatcher.poke()

    def _accept(self, connection: Any, target: Target, priority: int) -> None:
        number = next(self._numbers)
        draft = a_draft(SCOPE, None, "x", targets=[target], priority=priority)
        ids = [f"delivery-{number}"]
        accept.accept(
            connection, draft, clip_id=f"clip-{number}", ids=ids, now=self.rig.clock.now()
        )

    @contextlib.asynccontextmanager
    async def indexing(self, pages: int) -> AsyncIterator[Pages]:
        """Beside the queue, the index of a workspace with so many pages begins to be read."""
        for number in range(pages):
            self.world.add_page(f"Page {number}")
        marks = Database.open(
            self.rig.folder / "marks.db",
            name="marks",
            steps=PAGE_STEPS,
            synchronous="FULL",
            make_executor=_Inline,
        )
        index = Pages(self.rig.cache, marks, self.world, self.rig.clock, self.rig.heard)
        filling = asyncio.create_task(index.catch_up(SCOPE))
        try:
            yield index
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
            await index.close()
            marks.close()

    async def clip(self, page: str) -> float:
        """A person's clip; return the seconds until it is delivered."""
        begun = self.rig.clock.boot()
        clip = await self.rig.clip(page, "now", priority=HIGH)
        self.dispatcher.poke((USER, SCOPE.workspace_id, page), priority=HIGH)
        await self.rig.outbox.until(USER, clip.id, lambda v: v.state == "delivered", 600)
        return self.rig.clock.boot() - begun

    async def eta_s(self) -> float | None:
        """When the queue expects to be empty; None once it is."""
        loads = await self.rig.outbox.read(lambda c: backlog.loads(c, USER))
        return self.dispatcher.eta_s(loads)


def play(folder: Path, limits_: Limits, script: Callable[[Queue], Awaitable[T]]) -> T:
    """Run ``script`` beside a daemon's queue, on time of its own."""
    loop = _Loop()
    try:
        return loop.run_until_complete(_play(folder, limits_, script, _LoopClock(loop)))
    finally:
        loop.close()


async def _play(
    folder: Path, limits_: Limits, script: Callable[[Queue], Awaitable[T]], clock: SkippingClock
) -> T:
    world = Gated(clock, limits_)
    rig = Rig(folder, world, clock, make_executor=_Inline)

    async def nothing(*_: object) -> None:
        return None

    deps = Dependencies(
        active_user=lambda: rig.user,
        bot_id=nothing,
        server_now=rig.deps.server_now,
        writes=world.record,
        entropy=rig.rng.randbytes,
        rng=rig.rng.random,
        run=rig.deps.run,
    )
    dispatcher = Dispatcher(
        rig.worker, rig.outbox, clock, rig.throttle, Timeouts(max_lanes=6), deps
    )
    running = asyncio.create_task(dispatcher.run())
    try:
        return await script(Queue(rig, world, dispatcher))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        rig.close()


def measured(folder: Path, limits_: Limits, *, minutes: int, pages: int, each: int) -> Seen:
    """What a deep queue on many pages uses of the limits in some minutes."""

    async def script(queue: Queue) -> Seen:
        await queue.fill(pages, each)
        await asyncio.sleep(60.0 * minutes)
        return queue.world.seen

    return play(folder, limits_, script)
