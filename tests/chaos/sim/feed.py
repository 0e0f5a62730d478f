"""The event stream of a daemon: Notion's webhooks, late or lost, one event for each page.

It models docs/push.md; the daemon's side of it is real.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from clipperd.errors import BrokerUnreachable
from cloud_broker.sandbox.model import Change
from tests.chaos.sim.loop import Loop, Process
from tests.chaos.sim.notion import Notion

BEAT_S = 25.0
_TOKEN_S = 600.0  # a stream ends with its token


class Feed:
    """The log of what was told, and whoever reads it."""

    def __init__(self, loop: Loop, notion: Notion, rng: random.Random) -> None:
        """``rng`` decides how late each webhook is."""
        self._loop = loop
        self._notion = notion
        self._rng = rng
        self._log: list[bytes] = []
        self._readers: dict[Reader, None] = {}
        notion.world.listeners.append(self._changed)

    @contextmanager
    def attach(
        self, process: Process, last_id: str | None, rng: random.Random, idle_s: float
    ) -> Iterator[Reader]:
        """Read on after ``last_id``, from the broker's ``process``."""
        reader = Reader(self._loop, process, rng.uniform(20.0, _TOKEN_S), idle_s)
        since = len(self._log) if last_id is None else int(last_id)
        for event in self._log[since:]:
            reader.put(event)
        reader.put(b'event: ready\ndata: {"pages":true}\n\n')
        self._readers[reader] = None
        try:
            yield reader
        finally:
            self._readers.pop(reader, None)

    def cut(self, rng: random.Random) -> None:
        """Streams break off."""
        for reader in list(self._readers):
            if rng.random() < 0.7:
                reader.end()

    def _changed(self, change: Change) -> None:
        draw = self._rng.random()
        if draw < 0.03:
            return  # at most once, Notion says
        delay_s = self._rng.uniform(1.0, 30.0) if draw < 0.9 else self._rng.uniform(30.0, 300.0)
        self._loop.call_later(delay_s, self._tell, change)

    def _tell(self, change: Change) -> None:
        what = {"page.content_updated": "content", "page.created": "created"}.get(change.type)
        if what is None:
            return
        by_bot = change.actor_id == self._notion.token.bot_id
        told = {
            "workspace_id": change.workspace_id,
            "page_id": change.entity_id,
            "what": what,
            "by_bot": by_bot,
        }
        number = len(self._log) + 1
        data = msgspec.json.encode(told)
        event = b"id: %d\nevent: page\ndata: %s\n\n" % (number, data)
        self._log.append(event)
        for reader in self._readers:
            reader.put(event)


class Reader:
    """One open stream, ``transport.Incoming`` to the daemon."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, loop: Loop, process: Process, lasts_s: float, idle_s: float) -> None:
        """``process`` is the broker's: while it stands still it says nothing."""
        self._loop = loop
        self._process = process
        self._idle_s = idle_s
        self._ends_at = loop.time() + lasts_s
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        process.on_death.append(self.end)

    def put(self, event: bytes) -> None:
        """Something is told."""
        self._queue.put_nowait(event)

    def end(self) -> None:
        """It breaks off."""
        self._queue.put_nowait(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body; see the port."""
        silent_s = 0.0
        while self._loop.time() < self._ends_at:
            try:
                async with asyncio.timeout(BEAT_S):
                    chunk = await self._queue.get()
            except TimeoutError:
                chunk = b":\n\n"
            if chunk is None:
                raise BrokerUnreachable("The connection to the service broke off.", sent=True)
            if not self._process.runs:
                silent_s += BEAT_S
                if silent_s > self._idle_s:
                    raise BrokerUnreachable("The service did not answer in time.", sent=True)
                if chunk != b":\n\n":
                    self._queue.put_nowait(chunk)
                    await asyncio.sleep(BEAT_S)
                continue
            silent_s = 0.0
            yield chunk
