"""Runs the probe against a sandbox Notion of its own, without waiting times.

Real requests go over loopback to the real sandbox. Probe and sandbox share a simulated clock: it
stops while a request is under way, and skips the sleeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from yarl import URL

from cloud_broker.clock import Clock
from cloud_broker.ratelimit_probe.plan import Limit
from cloud_broker.sandbox import grants, seed
from cloud_broker.sandbox.app import WORLD, create_app
from cloud_broker.sandbox.model import Config, Integration
from cloud_broker.secret import Secret
from cloud_broker.transport import AiohttpTransport, Body, Response, Transport

SCOPES = ("token", "integration", "workspace", "none")
LABELS = ("A", "B", "C")
_SECOND = Integration("second-client", "second-secret", "Another integration")


class JumpingClock:
    """A clock that advances only during a sleep while no request is under way.

    It supports one sleeper at a time.
    """

    def __init__(self, start: float) -> None:
        """Start at ``start``, seconds since the epoch."""
        self._now = start
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return the same time: it never jumps back."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait for the requests under way, then advance by ``seconds``."""
        # Tasks start in the order of their creation, so earlier requests are counted here.
        await self._quiet.wait()
        self._now += max(0.0, seconds)

    def begin(self) -> None:
        """Count a request that starts."""
        self._under_way += 1
        self._quiet.clear()

    def end(self) -> None:
        """Count a request that ends."""
        self._under_way -= 1
        if self._under_way == 0:
            self._quiet.set()


class TrackedTransport:
    """A transport that reports its requests to the clock."""

    def __init__(self, inner: Transport, clock: JumpingClock) -> None:
        self._inner = inner
        self._clock = clock

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: Body = None,
        deadline: float = 30.0,
        max_bytes: int = 5 * 1024 * 1024,
        before_send: Callable[[], None] | None = None,
    ) -> Response:
        self._clock.begin()
        try:
            return await self._inner.send(
                method, url, headers, body, deadline, max_bytes, before_send
            )
        finally:
            self._clock.end()


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The sandbox's address, transport and clock, and three of its tokens.

    A and B share an integration, A and C a workspace, so that each scope shows.
    """

    origin: URL
    transport: Transport
    clock: Clock
    tokens: Mapping[str, Secret]
    integrations: Mapping[str, str]


@asynccontextmanager
async def rehearse(scope: str, limit: Limit, start: float, number: int) -> AsyncIterator[Rehearsal]:
    """Run a sandbox whose ``limit`` is per ``scope``; ``number`` seeds its ids."""
    clock = JumpingClock(start)
    config = Config(rate_per_token=None, window_s=limit.window_s)
    if scope != "none":
        config.update({f"rate_per_{scope}": limit.requests})
    app = create_app(clock=clock, seed=number, config=config)
    world = app[WORLD]
    world.integrations[_SECOND.client_id] = _SECOND
    own, other = world.own.client_id, _SECOND.client_id
    homes = ((seed.WORKSPACE, own), (seed.OTHER_WORKSPACE, own), (seed.WORKSPACE, other))
    wanted = dict(zip(LABELS, homes, strict=True))
    tokens = {
        label: Secret(grants.mint(world, seed.MIRA, workspace, client_id=client).access)
        for label, (workspace, client) in wanted.items()
    }
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin = URL.build(scheme="http", host="127.0.0.1", port=runner.addresses[0][1])
        async with AiohttpTransport() as transport:
            yield Rehearsal(
                origin,
                TrackedTransport(transport, clock),
                clock,
                tokens,
                {label: client for label, (_, client) in wanted.items()},
            )
    finally:
        await runner.cleanup()
