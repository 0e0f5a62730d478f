"""Puts the proxy together and into the application: one call of the composition root."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from aiohttp import web
from yarl import URL

from cloud_broker.audit import Audit
from cloud_broker.clock import Clock
from cloud_broker.errors import DatabaseFailed
from cloud_broker.limits.limiter import Limiter
from cloud_broker.limits.memory import MemoryLimiter
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.proxy.admission import Admission, Budgets
from cloud_broker.proxy.attempts import Attempts, Upstream
from cloud_broker.proxy.ports import Sessions, Tokens
from cloud_broker.proxy.relay import Relay
from cloud_broker.proxy.writes import Timeouts, Writes
from cloud_broker.randomness import Randomness
from cloud_broker.storage.database import Database
from cloud_broker.storage.idempotency import Idempotency
from cloud_broker.transport import Transport
from cloud_broker.web import metrics as metrics_page
from cloud_broker.web import proxy as page

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """The settings that the proxy takes; each is the broker setting of the same name."""

    notion_api_url: str
    notion_version: str = "2026-03-11"
    limit_scale: float = 1.0
    tiers: Mapping[str, float] = field(default_factory=dict)
    notion_rate: float = 2.5
    notion_burst: int = 6
    request_max_bytes: int = 500 * 1024
    response_max_bytes: int = 5 * 1024 * 1024
    answer_within_s: float = 30.0
    upstream_write_s: float = 65.0
    drain_s: float = 70.0
    body_within_s: float = 30.0

    @property
    def budgets(self) -> Budgets:
        """The limits by these settings."""
        return Budgets(
            scale=self.limit_scale,
            tiers=self.tiers,
            notion_rate=self.notion_rate,
            notion_burst=self.notion_burst,
        )


def setup_proxy(
    app: web.Application,
    *,
    settings: ProxySettings,
    database: Database,
    tokens: Tokens,
    sessions: Sessions,
    transport: Transport,
    clock: Clock,
    rng: Random,
    randomness: Randomness,
    audit: Audit,
    limiter: Limiter | None = None,
    metrics: Metrics | None = None,
) -> None:
    """Add the proxy's routes, ``/metrics`` and its background work to ``app``.

    ``transport`` must be open as long as the application runs, ``database`` until it is cleaned
    up: writes under way get ``drain_s`` then. ``audit`` is run and flushed here.
    """
    measured = metrics or Metrics()
    attempts = Attempts(
        _upstream(settings),
        transport=transport,
        admission=Admission(limiter or MemoryLimiter(), clock, settings.budgets),
        tokens=tokens,
        metrics=measured,
        clock=clock,
        rng=rng,
    )
    writes = Writes(
        Idempotency(database),
        attempts,
        spans=Timeouts.of(settings.upstream_write_s),
        clock=clock,
        randomness=randomness,
    )
    app[page.RELAY] = Relay(
        tokens=tokens,
        attempts=attempts,
        writes=writes,
        audit=audit,
        metrics=measured,
        clock=clock,
        answer_within_s=settings.answer_within_s,
        pinned=settings.notion_version,
    )
    app[page.INTAKE] = _intake(settings, sessions, randomness)
    app[metrics_page.METRICS] = measured
    measured.gauge(
        "broker_writes_under_way", "Writes being executed now.", lambda: writes.under_way
    )
    measured.gauge("broker_audit_rows_lost", "Audit rows without room.", lambda: audit.lost)
    app.router.add_route("*", page.PREFIX + "{path:.*}", page.relay)
    app.router.add_routes(metrics_page.ROUTES)
    app.cleanup_ctx.append(_background(writes, audit, settings.drain_s))


def _upstream(settings: ProxySettings) -> Upstream:
    origin = URL(settings.notion_api_url).origin()
    return Upstream(origin, settings.notion_version, settings.response_max_bytes)


def _intake(settings: ProxySettings, sessions: Sessions, randomness: Randomness) -> page.Intake:
    return page.Intake(
        sessions,
        randomness,
        settings.notion_version,
        settings.request_max_bytes,
        settings.body_within_s,
    )


def _background(
    writes: Writes, audit: Audit, drain_s: float
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(_: web.Application) -> AsyncIterator[None]:
        loops = [
            asyncio.create_task(writes.purge_for_ever(), name="purge outcomes"),
            asyncio.create_task(audit.run(), name="write audit rows"),
        ]
        yield
        await writes.close(drain_s)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        try:
            await audit.flush()
        except DatabaseFailed as error:
            log.error("the last audit rows were not written", exc_info=error)

    return run
