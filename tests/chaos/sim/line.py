"""The network from a daemon to the brokers: it refuses, cuts, swallows, delays, repeats."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from yarl import URL

from clipperd.broker.http import Answer, Incoming
from clipperd.errors import BrokerUnreachable
from tests.chaos.sim.broker import Broker
from tests.chaos.sim.feed import Feed
from tests.chaos.sim.loop import PROCESS, Loop
from tests.chaos.sim.trace import Trace
from tests.chaos.sim.weather import LINE, pick

_HTML = Answer(502, {"content-type": "text/html"}, b"<html>502 Bad Gateway</html>")
_GATEWAY = tuple(
    Answer(status, {"content-type": "application/json"}, body)
    for status, body in (
        (200, b'{"status":"ok"}'),
        (400, b'{"code":"validation_error","message":"Bad Request"}'),
        (401, b'{"error":"invalid_grant","code":"unauthorized"}'),
        (403, b'{"code":"1020"}'),
        (404, b'{"code":"object_not_found","error":"not_found"}'),
        (429, b'{"message":"API rate limit exceeded"}'),
    )
)
"""A gateway, firewall or captive portal answers in JSON in the broker's place."""
_STUCK_S = 150.0  # the longest that something in between holds a request back


class Line:
    """The daemon's port ``transport.Http``; it outlives the daemon's lives."""

    def __init__(
        self,
        name: str,
        loop: Loop,
        brokers: Sequence[Broker],
        feed: Feed | None,
        rng: random.Random,
        scale: float,
        trace: Trace,
    ) -> None:
        """``name``: whose line; ``feed``: the event stream, None for brokers without one."""
        self.is_offline = False
        self.scale = scale
        self.faults: dict[str, int] = {}
        self._name = name
        self._loop = loop
        self._brokers = brokers
        self._feed = feed
        self._rng = rng
        self._trace = trace
        self._exchanges: dict[_Exchange, None] = {}

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None,
        total_s: float,
    ) -> Answer:
        """Exchange one request; see the port."""
        assert body is None or isinstance(body, bytes), "no file is sent here"
        fault = pick(self._rng, LINE, self.scale)
        await asyncio.sleep(self._rng.uniform(0.001, 0.1))
        up = [broker for broker in self._brokers if broker.machine.process.alive]
        if self.is_offline or not up or fault == "refused":
            if self._rng.random() < 0.3:
                await asyncio.sleep(5.0)
            raise BrokerUnreachable("The service cannot be reached.", sent=False)
        if fault is not None:
            self.faults[fault] = self.faults.get(fault, 0) + 1
            self._trace.note(self._name, f"{method} {url.path[-60:]} meets {fault}")
        exchange = _Exchange(self._loop, self._rng, fault)
        self._exchanges[exchange] = None
        try:
            for broker in self._rng.sample(up, 1 if fault != "twice" else min(2, len(up))):
                exchange.depart(broker, method, url, headers, body)
            async with asyncio.timeout(total_s):
                return await exchange.answer
        except TimeoutError:
            raise BrokerUnreachable("The service did not answer in time.", sent=True) from None
        finally:
            del self._exchanges[exchange]
            exchange.leave(is_read=method == "GET")

    @asynccontextmanager
    async def stream(
        self, url: URL, *, headers: Mapping[str, str], idle_s: float
    ) -> AsyncIterator[Incoming]:
        """Open the event stream; see the port."""
        await asyncio.sleep(self._rng.uniform(0.001, 0.1))
        up = [broker for broker in self._brokers if broker.machine.process.alive]
        if self.is_offline or not up:
            raise BrokerUnreachable("The service cannot be reached.", sent=False)
        if self._feed is None:
            yield _NoStream()
            return
        broker = self._rng.choice(up)
        last = headers.get("Last-Event-ID")
        with self._feed.attach(broker.machine.process, last, self._rng, idle_s) as reader:
            yield reader

    async def drop_connections(self) -> None:
        """Abandon every exchange under way."""
        self.cut()

    def cut(self) -> None:
        """Whatever is under way breaks off, as after sleep or a change of the network."""
        for exchange in self._exchanges:
            exchange.fail()
        if self._feed is not None:
            self._feed.cut(self._rng)


class _NoStream:
    """The answer of a broker without an event stream."""

    status = 404
    headers: Mapping[str, str] = {"content-type": "application/problem+json"}

    async def chunks(self) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for chunk in nothing:
            yield chunk


class _Exchange:
    """One request on its way to a broker and back."""

    def __init__(self, loop: Loop, rng: random.Random, fault: str | None) -> None:
        self.answer: asyncio.Future[Answer] = loop.create_future()
        self._loop = loop
        self._rng = rng
        self._fault = fault
        self._tasks: list[asyncio.Task[None]] = []
        self._outside = contextvars.copy_context()
        self._outside.run(PROCESS.set, None)

    def depart(
        self,
        broker: Broker,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> None:
        """The bytes leave for one broker."""
        delay_s = self._latency()
        match self._fault:
            case "cut_going":
                self._later(delay_s, self.fail)
                return
            case "lost_going":
                return
            case "html_502" | "gateway_json" as kind:
                foreign = _HTML if kind == "html_502" else self._rng.choice(_GATEWAY)
                self._later(delay_s, lambda: self._hear(foreign))
                if self._rng.random() < 0.5:
                    return
            case "late_going":
                delay_s = self._rng.uniform(10.0, _STUCK_S)
            case "cut_waiting":
                self._later(self._rng.uniform(0.0, 3.0), self.fail)
            case "twice":
                delay_s += self._rng.uniform(0.0, 5.0)
            case _:
                pass

        def arrive() -> None:
            if not broker.machine.process.alive:
                self.fail()
                return
            broker.machine.process.on_death.append(self.fail)
            self._tasks.append(broker.serve(method, url, headers, body, self._back))

        self._later(delay_s, arrive)

    def _back(self, answer: Answer) -> None:
        match self._fault:
            case "lost_coming":
                return
            case "half_answer":
                self._later(self._latency(), self.fail)
            case _:
                self._later(self._latency(), lambda: self._hear(answer))

    def leave(self, *, is_read: bool) -> None:
        """The daemon waits no more. A broker ends a read then, and a write is carried through."""
        if is_read and not self._loop.is_closed():  # what a killed daemon left may be freed later
            for task in self._tasks:
                task.cancel()

    def fail(self) -> None:
        """The connection breaks."""
        if not self.answer.done():
            self.answer.set_exception(
                BrokerUnreachable("The connection to the service broke off.", sent=True)
            )
            self.answer.exception()  # the daemon may have stopped listening

    def _hear(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def _latency(self) -> float:
        return min(3.0, self._rng.lognormvariate(-3.0, 0.8))

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, act, context=self._outside)
