"""The delivery engine on real databases and a model of Notion, moved step by step."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.delivery.dispatch import Dispatcher
from clipperd.delivery.ports import Dependencies, StepResult, Timeouts
from clipperd.delivery.throttle import Throttle
from clipperd.delivery.worker import Worker
from clipperd.errors import BrokerUnreachable
from clipperd.model import Position, Scope
from clipperd.outbox import actions, lanes, requests, views
from clipperd.outbox.identity import Run
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.records import ClipView, Target
from clipperd.outline.outlines import Outlines
from clipperd.outline.positions import PositionResolver
from clipperd.pages.pages import Pages
from clipperd.storage.database import Database
from tests.clipperd.drafts import a_draft
from tests.clipperd.memory_notion import BOT, SCOPE, Heard, MemoryNotion
from tests.clocks import SkippingClock

USER = SCOPE.user_id


def paragraph(text: str) -> dict[str, Any]:
    """A paragraph as a client would send it."""
    return {
        "object": "block",
        "type": "paragraph",
        "paragraph": {"rich_text": [{"type": "text", "text": {"content": text}}]},
    }


def blocks(*texts: str) -> dict[str, Any]:
    """Return content of one paragraph for each text."""
    return {"format": "blocks", "blocks": [paragraph(text) for text in texts]}


def once(kind: str, method: str = "PATCH") -> Any:
    """Return a fault for the first write only."""
    left = [kind]
    return lambda m, path: left.pop() if left and m == method else None


def at(*kinds: str | None) -> Any:
    """Return one fault after another for the writes, None for a good one."""
    left = list(kinds)
    return lambda method, path: left.pop(0) if left and method != "GET" else None


class StillClock:
    """Time stands still: whoever sleeps waits until the test is over."""

    def __init__(self, clock: SkippingClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now()

    def boot(self) -> float:
        return self._clock.boot()

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


class Rig:
    """Everything between the local API and the broker. ``crash`` forgets all but the files."""

    def __init__(
        self,
        folder: Path,
        world: MemoryNotion,
        clock: SkippingClock,
        seed: int = 1,
        **database_options: Any,
    ) -> None:
        """``database_options``: further arguments of ``Database.open``."""
        self.folder, self.world, self.clock = folder, world, clock
        self.rng = random.Random(seed)
        self.ids = itertools.count(1)
        self.heard = Heard()
        self.database_options = database_options
        self.user: str | None = USER
        self.server_ahead_s = 0.0
        self.knows_time = True
        self.open()

    def open(self) -> None:
        """Start the engine on what the files hold."""
        self.db = Database.open(
            self.folder / "outbox.db",
            name="outbox",
            steps=STEPS,
            synchronous="FULL",
            **self.database_options,
        )
        self.cache = Database.open(
            self.folder / "cache.db",
            name="cache",
            steps=CACHE_STEPS,
            synchronous="NORMAL",
            **self.database_options,
        )
        outlines = Outlines(self.cache, self.world, self.clock, self.heard)
        self.outlines = outlines
        self.pages = Pages(self.cache, self.db, self.world, self.clock, self.heard)
        self.places = PositionResolver(outlines, self.world, self.cache, self.clock)
        still = StillClock(self.clock)  # nobody is told to give up waiting for a clip
        self.outbox = Outbox(self.db, still, new_id=self.new_id, publish=self.heard)
        self.throttle = Throttle()
        self.deps = deps = Dependencies(
            active_user=lambda: self.user,
            bot_id=self._bot,
            server_now=self._server_now,
            entropy=self.rng.randbytes,
            rng=self.rng.random,
            writes=self.world.record,
            run=Run(f"run{next(self.ids)}", 0),
        )
        self.worker = Worker(
            self.outbox,
            self.world,
            self.places,
            self.pages,
            self.clock,
            self.throttle,
            Timeouts(),
            deps,
        )

    async def crash(self) -> None:
        """kill -9 and start again: memory is gone, the files stay."""
        self.db.close()
        self.cache.close()
        self.open()
        await self.outbox.write(requests.recover)

    def close(self) -> None:
        """Close the files."""
        self.db.close()
        self.cache.close()

    def new_id(self) -> str:
        return f"id-{next(self.ids)}"

    async def _server_now(self, scope: Scope) -> float:
        if not self.knows_time:
            raise BrokerUnreachable("no route", sent=False)
        return self.clock.now() + self.server_ahead_s

    async def _bot(self, scope: Scope) -> str | None:
        return BOT

    async def clip(
        self,
        page: str | None = None,
        content: Any = "hello",
        *,
        targets: list[Target] | None = None,
        position: Position | None = None,
        **more: Any,
    ) -> ClipView:
        """Accept a clip: text, or content in the API's form."""
        aims = targets or [Target(position or Position(), page_id=page)]
        draft = a_draft(SCOPE, page, content, targets=aims, **more)
        view, _, _ = await self.outbox.accept(draft)
        return view

    async def clip_with_unknown_outcome(self, page: str) -> ClipView:
        """Deliver a clip without a clear answer, and edit its block before the daemon looks."""
        self.world.fault = once("unknown_applied")
        clip = await self.clip(page, "one")
        await self.step(page)
        self.world.edit_text(self.world.children[page][0], "one, edited")
        await self.drain()
        return clip

    async def step(self, page: str) -> StepResult:
        """One step of a page's lane."""
        return await self.worker.step((USER, SCOPE.workspace_id, page))

    async def drain(self, rounds: int = 5000) -> None:
        """Step every lane that is due, moving time on when all wait, until nothing is left."""
        for _ in range(rounds):
            found = await self.outbox.read(lambda c: lanes.open_lanes(c, USER))
            boot = self.clock.boot()
            moved = False
            for lane, _priority in found:
                if self.throttle.due(lane) <= boot:
                    moved |= await self.worker.step(lane) is not StepResult.NOTHING
            coming = [
                self.throttle.due(lane) for lane, _ in found if self.throttle.due(lane) > boot
            ]
            if not moved and not coming:
                return
            if not moved:
                self.clock.advance(min(coming) - boot + 0.001)
        raise AssertionError("the queue does not come to rest")

    async def view(self, clip: ClipView) -> ClipView:
        """The clip as clients see it now."""
        return await self.outbox.read(lambda c: views.get(c, USER, clip.id))

    async def act(self, clip: ClipView, action: Any, *args: Any) -> ClipView:
        """Do what a person's click does."""

        def work(connection: Any) -> None:
            rows = actions.rows_of(connection, USER, clip.id, None)
            action(connection, rows, *args, self.clock.now())

        view, _ = await self.outbox.act(USER, clip.id, work)
        return view


@asynccontextmanager
async def dispatching(
    rig: Rig, parallel: int = 4, clock: StillClock | None = None
) -> AsyncIterator[Dispatcher]:
    """Run a dispatcher over the rig's engine."""

    async def nothing(*_: object) -> None:
        return None

    deps = Dependencies(
        active_user=lambda: rig.user,
        bot_id=nothing,
        server_now=rig.deps.server_now,
        entropy=rig.rng.randbytes,
        rng=rig.rng.random,
        writes=rig.world.record,
        run=rig.deps.run,
    )
    timeouts = Timeouts(max_lanes=parallel)
    dispatcher = Dispatcher(
        rig.worker, rig.outbox, clock or StillClock(rig.clock), rig.throttle, timeouts, deps
    )
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
