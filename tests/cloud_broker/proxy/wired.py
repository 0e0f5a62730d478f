"""The proxy's parts over the fakes of a test, with the settings of a real broker."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from yarl import URL

from cloud_broker.audit import Audit
from cloud_broker.clock import Clock
from cloud_broker.identity.connections import Tokens
from cloud_broker.limits.limiter import Limiter
from cloud_broker.limits.memory import MemoryLimiter
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.proxy.admission import Admission, Budgets
from cloud_broker.proxy.attempts import Attempts, Upstream
from cloud_broker.proxy.relay import Relay
from cloud_broker.proxy.writes import Timeouts, Writes
from cloud_broker.randomness import Randomness
from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import Database
from cloud_broker.storage.idempotency import Idempotency
from cloud_broker.transport import Transport
from tests.cloud_broker.broker_stage import an_environment

DEFAULTS = Settings.from_env(an_environment())


def some_settings(**changes: Any) -> Settings:
    """The defaults of a broker, with ``changes`` to single fields."""
    return replace(DEFAULTS, **changes)


def budgets_of(settings: Settings) -> Budgets:
    return Budgets(
        scale=settings.limit_scale,
        tiers=settings.tiers,
        notion_rate=settings.notion_rate,
        notion_burst=settings.notion_burst,
    )


def a_relay(
    settings: Settings,
    *,
    database: Database,
    tokens: Tokens,
    transport: Transport,
    clock: Clock,
    rng: Random,
    randomness: Randomness,
    audit: Audit,
    metrics: Metrics,
    limiter: Limiter | None = None,
) -> tuple[Relay, Writes]:
    """Connect the parts as ``create_app`` does."""
    origin = URL(settings.notion_api_url).origin()
    attempts = Attempts(
        Upstream(origin, settings.notion_version, settings.response_max_bytes),
        transport=transport,
        admission=Admission(limiter or MemoryLimiter(), clock, budgets_of(settings)),
        tokens=tokens,
        metrics=metrics,
        clock=clock,
        rng=rng,
    )
    timeouts = Timeouts.of(settings.upstream_write_s)
    writes = Writes(
        Idempotency(database), attempts, timeouts=timeouts, clock=clock, randomness=randomness
    )
    relay = Relay(
        tokens=tokens,
        attempts=attempts,
        writes=writes,
        audit=audit,
        metrics=metrics,
        clock=clock,
        answer_within_s=settings.answer_within_s,
    )
    return relay, writes
