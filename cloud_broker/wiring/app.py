"""The composition root: builds everything from settings and ports, and owns what runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import fields
from random import SystemRandom
from typing import Any

from aiohttp import web

from cloud_broker.billing.inbox import Billing
from cloud_broker.clock import Clock
from cloud_broker.cluster.cluster import Cluster, over_redis, single_process
from cloud_broker.limits.memory import MemoryLimiter
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.proxy.admission import Budgets
from cloud_broker.proxy.routes import ROUTES as PROXY_ROUTES
from cloud_broker.randomness import Randomness, SystemRandomness
from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import Database
from cloud_broker.storage.migrations import migrate_patiently
from cloud_broker.transport import Transport
from cloud_broker.web import auth, billing, health, keys, proxy, user, writes
from cloud_broker.web.completion import Completion
from cloud_broker.web.drain import Drain
from cloud_broker.web.inbound import Inbound
from cloud_broker.web.metrics import METRICS
from cloud_broker.web.problems import problems, request_ids
from cloud_broker.web.rate_limit import AddressLimit
from cloud_broker.wiring.identity import Parts, assemble
from cloud_broker.wiring.proxy import ProxySettings, setup_proxy
from cloud_broker.wiring.push import setup_push

log = logging.getLogger(__name__)

SWEEP_S = 3600.0
AGAIN_S = 30.0  # after a background step failed
INBOUND: web.AppKey[Inbound] = web.AppKey("inbound")


def create_app(
    settings: Settings,
    *,
    database: Database,
    transport: Transport,
    clock: Clock,
    randomness: Randomness | None = None,
) -> web.Application:
    """Build the broker. Does no I/O: starting the application migrates and proves the keys.

    Starting raises DatabaseFailed or KeysRefused. ``database`` and ``transport`` stay the
    caller's to close, after the application's cleanup.
    """
    random = randomness or SystemRandomness()
    metrics = Metrics()
    parts = assemble(settings, database, transport, clock, random, metrics)
    bills = _billing(settings, database, parts, clock, random)
    inbound, completion, drain = _inbound(settings), Completion(proxy.only_reads), Drain()
    app = web.Application(
        middlewares=[
            inbound.middleware(),
            drain.middleware(),
            request_ids(clock, random),
            completion.middleware(),
            problems,
        ],
        client_max_size=settings.request_max_bytes,
    )
    app[INBOUND], app[keys.DRAIN] = inbound, drain
    app[keys.RANDOMNESS], app[keys.DATABASE] = random, database
    app[keys.SHARING] = sharing = _sharing(settings, database, clock, random)
    _offer(app, parts, bills, settings, clock)

    async def prepare(_: web.Application) -> AsyncIterator[None]:
        await migrate_patiently(database, clock)
        await parts.open(database, clock, random)
        yield
        await parts.tokens.close()
        inbound.close()
        await sharing.close()

    app.cleanup_ctx.append(prepare)
    setup_proxy(
        app,
        settings=_proxy_settings(settings),
        database=database,
        tokens=parts.tokens,
        sessions=parts.sessions,
        transport=transport,
        clock=clock,
        rng=SystemRandom(),
        randomness=random,
        audit=parts.audit,
        limiter=sharing.limiter,
        metrics=metrics,
    )
    _measure(app, sharing)
    ring, notices = parts.ring, sharing.notices
    pushing = setup_push(
        app, settings=settings, database=database, ring=ring, clock=clock, notices=notices
    )
    for step in (*_own_steps(parts), bills.turn, *pushing, *sharing.steps):
        app.cleanup_ctx.append(_running(_repeating(step, clock)))
    app.cleanup_ctx.append(_completing(completion, settings.drain_s))
    return app


def _offer(
    app: web.Application, parts: Parts, bills: Billing, settings: Settings, clock: Clock
) -> None:
    """Put handlers into the application, and what they ask for."""
    app[keys.SETTINGS] = settings
    app[keys.CLOCK] = clock
    app[keys.FLOOD] = _flood(settings, clock)
    app[keys.LIMITS] = _limits(_proxy_settings(settings).budgets)
    app[keys.SIGNER] = parts.signer
    app[keys.SESSIONS] = parts.sessions
    app[keys.TOKENS] = parts.tokens
    app[keys.ACCOUNTS] = parts.accounts
    app[keys.SIGN_IN] = parts.sign_in
    app[billing.BILLING] = bills
    for module in (auth, user, health, billing, writes):
        app.router.add_routes(module.ROUTES)


def _billing(
    settings: Settings, database: Database, parts: Parts, clock: Clock, random: Randomness
) -> Billing:
    return Billing(
        database,
        parts.tariff,
        secrets=settings.billing_secrets or (),
        audit=parts.audit,
        clock=clock,
        randomness=random,
        changed=parts.sessions.forget,
    )


def _measure(app: web.Application, sharing: Cluster) -> None:
    metrics = app[METRICS]
    metrics.gauge(
        "broker_limits_shared",
        "1: limits hold for all brokers together; 0: divided among them.",
        lambda: int(sharing.is_shared()),
    )
    metrics.gauge("broker_instances", "Brokers known to be alive.", sharing.brokers)


def _sharing(settings: Settings, database: Database, clock: Clock, random: Randomness) -> Cluster:
    if settings.redis_url is None:
        return single_process()
    return over_redis(
        settings.redis_url,
        database,
        budget_s=settings.redis_budget_ms / 1000,
        clock=clock,
        randomness=random,
        rng=SystemRandom(),
    )


def _flood(settings: Settings, clock: Clock) -> AddressLimit:
    scale, proxies = settings.limit_scale, settings.trusted_proxies
    return AddressLimit(MemoryLimiter(), clock, scale=scale, proxies=proxies)


def _inbound(settings: Settings) -> Inbound:
    return Inbound(per_address=settings.connections_per_address, proxies=settings.trusted_proxies)


def _proxy_settings(settings: Settings) -> ProxySettings:
    names = [field.name for field in fields(ProxySettings) if hasattr(settings, field.name)]
    return ProxySettings(**{name: getattr(settings, name) for name in names})


def _limits(budgets: Budgets) -> Callable[[str], dict[str, Any]]:
    """What ``GET /api/user/me`` says about limits: those that the proxy enforces."""

    def limits(tier: str) -> dict[str, Any]:
        return {
            "window_s": 60,
            "all": budgets.window(budgets.per_minute, tier).limit,
            "routes": {
                f"{route.method} /{'/'.join(route.words)}": budgets.window(
                    route.per_minute, tier
                ).limit
                for route in PROXY_ROUTES
            },
            "notion": {"rate_per_s": budgets.notion_rate, "burst": budgets.notion_burst},
        }

    return limits


def _own_steps(parts: Parts) -> tuple[Callable[[], Awaitable[float]], ...]:
    return parts.revocations.turn, _sweeping(parts)


def _sweeping(parts: Parts) -> Callable[[], Awaitable[float]]:
    async def sweep() -> float:
        await parts.sessions.sweep()
        await parts.sign_in.sweep()
        await parts.accounts.sweep()
        return SWEEP_S

    return sweep


def _completing(
    completion: Completion, drain_s: float
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def context(_: web.Application) -> AsyncIterator[None]:
        yield
        await completion.close(drain_s)

    return context


def _repeating(step: Callable[[], Awaitable[float]], clock: Clock) -> Callable[[], Awaitable[None]]:
    """Run ``step`` for ever; it returns the seconds until its next turn."""

    async def run() -> None:
        while True:
            try:
                wait_s = await step()
            except Exception as error:  # a loop's boundary: the next turn may do better
                log.error("background work failed", exc_info=error)
                wait_s = AGAIN_S
            await clock.sleep(wait_s)

    return run


def _running(
    run: Callable[[], Awaitable[None]],
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Own a background loop: started with the application, cancelled and awaited with it."""

    async def context(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.ensure_future(run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return context
