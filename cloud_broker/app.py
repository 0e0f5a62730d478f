"""The composition root: builds every part of the broker and connects them.

``create_app`` is the broker's table of contents. ``build_identity`` is the part of it that the
operator's commands use without the web.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import SystemRandom

from aiohttp import web
from yarl import URL

from cloud_broker.audit import Audit
from cloud_broker.billing.inbox import Billing
from cloud_broker.clock import Clock
from cloud_broker.cluster.cluster import over_redis, single_process
from cloud_broker.crypto.keyproof import prove
from cloud_broker.crypto.pepper import Pepper
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.crypto.signing import Signer
from cloud_broker.identity.accounts import Accounts, Eraser, Exporter
from cloud_broker.identity.connections import Tokens
from cloud_broker.identity.oauth import CALLBACK_PATH, NotionOAuth
from cloud_broker.identity.revocations import Revocations
from cloud_broker.identity.sessions import Sessions
from cloud_broker.identity.signin import SignIn
from cloud_broker.limits.memory import MemoryLimiter
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.proxy.admission import Admission, Budgets
from cloud_broker.proxy.attempts import Attempts, Upstream
from cloud_broker.proxy.relay import Relay
from cloud_broker.proxy.writes import Timeouts, Writes
from cloud_broker.push.fanout import Fanout
from cloud_broker.push.inbox import Inbox
from cloud_broker.randomness import Randomness, SystemRandomness
from cloud_broker.settings.config import Settings
from cloud_broker.settings.parsers import raw_keys
from cloud_broker.storage import accounts as account_rows
from cloud_broker.storage import audit as audit_rows
from cloud_broker.storage import billing as billing_rows
from cloud_broker.storage import connections as connection_rows
from cloud_broker.storage import idempotency, outboxes
from cloud_broker.storage import push as push_rows
from cloud_broker.storage import sessions as session_rows
from cloud_broker.storage.database import Database
from cloud_broker.storage.migrations import migrate
from cloud_broker.tariff import Tariff
from cloud_broker.transport import Transport
from cloud_broker.web import (
    auth,
    billing,
    events,
    health,
    keys,
    metrics,
    proxy,
    user,
    webhooks,
    writes,
)
from cloud_broker.web.completion import Completion
from cloud_broker.web.drain import Drain
from cloud_broker.web.inbound import Inbound
from cloud_broker.web.problems import problems, request_ids
from cloud_broker.web.rate_limit import RateLimit

log = logging.getLogger(__name__)

SWEEP_ACCOUNTS_S = 3600.0  # expired rows do no harm: every reader checks their time
SWEEP_PUSH_S = 600.0  # the push log grows with every edit in Notion
RETRY_STEP_S = 5.0  # after a background step failed: a failover takes seconds
INBOUND: web.AppKey[Inbound] = web.AppKey("inbound")

EXPORTS: Mapping[str, Exporter] = {
    "billing": billing_rows.of_user,
    "claims": account_rows.claims_of,
    "workspaces": connection_rows.of_user,
    "sessions": session_rows.of_user,
    "refresh_tokens": session_rows.refresh_tokens_of,
    "sign_ins": session_rows.handoffs_of,
    "writes": idempotency.of_user,
    "outboxes": outboxes.of_user,
    "audit": audit_rows.of_user,
}
"""Every stored row about a user, by its name in an export; a test finds a missing table."""

ERASERS: tuple[Eraser, ...] = (
    billing_rows.erase,
    idempotency.erase,
    outboxes.erase,
    push_rows.erase,
)
"""Delete the rows that no foreign key deletes together with the account."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The parts that know accounts, sessions and connections."""

    ring: KeyRing
    audit: Audit
    signer: Signer
    pepper: Pepper
    sessions: Sessions
    revocations: Revocations
    tokens: Tokens
    accounts: Accounts
    sign_in: SignIn
    tariff: Tariff

    async def open(self, database: Database, clock: Clock, random: Randomness) -> None:
        """Load the pepper and prove the encryption keys. Raises KeysRefused or DatabaseFailed."""
        await self.pepper.load(database, clock=clock, randomness=random)
        await prove(self.ring, database, clock=clock)


def build_identity(
    settings: Settings,
    database: Database,
    transport: Transport,
    clock: Clock,
    random: Randomness,
    measured: Metrics,
) -> Identity:
    """Build the identity parts without I/O. Call ``Identity.open`` before you use them."""
    ring = KeyRing(raw_keys(settings.encryption_keys))
    signer = Signer(raw_keys(settings.signing_keys), issuer=settings.public_url, clock=clock)
    pepper = Pepper(ring)
    oauth = _notion_oauth(settings, transport)
    audit = Audit(database, clock, random, living=account_rows.existing, opened=measured.opened)
    tariff = Tariff(settings.billing_tiers or {}, settings.billing_grace_days * 86_400)
    sessions = Sessions(
        database,
        signer,
        clock=clock,
        randomness=random,
        access_token_s=settings.access_token_s,
        audit=audit,
        tariff=tariff,
    )
    revocations = Revocations(database, ring, oauth, clock=clock, randomness=random, audit=audit)
    tokens = Tokens(
        database, ring, oauth, clock=clock, randomness=random, audit=audit, revocations=revocations
    )
    accounts = Accounts(
        database,
        ring,
        sessions,
        tokens,
        revocations,
        pepper=pepper,
        clock=clock,
        randomness=random,
        audit=audit,
        tariff=tariff,
        exports=EXPORTS,
        erasers=ERASERS,
    )
    sign_in = SignIn(
        database,
        oauth,
        accounts,
        sessions,
        revocations,
        audit=audit,
        clock=clock,
        randomness=random,
        cookie_prefix="__Host-" if settings.is_https else "",
    )
    return Identity(
        ring, audit, signer, pepper, sessions, revocations, tokens, accounts, sign_in, tariff
    )


def create_app(
    settings: Settings,
    *,
    database: Database,
    transport: Transport,
    clock: Clock,
    randomness: Randomness | None = None,
) -> web.Application:
    """Build the broker from its settings and ports, without I/O.

    Starting the application migrates the database and proves the encryption keys; it raises
    DatabaseFailed or KeysRefused. The caller closes ``database`` and ``transport`` after the
    application's cleanup.
    """
    random = randomness or SystemRandomness()
    measured = Metrics()

    # Accounts, sessions, connections to Notion; subscriptions.
    identity = build_identity(settings, database, transport, clock, random, measured)
    subscriptions = Billing(
        database,
        identity.tariff,
        secrets=settings.billing_secrets or (),
        audit=identity.audit,
        clock=clock,
        randomness=random,
        changed=identity.sessions.forget,
    )

    # Limits and wake-ups: shared by all brokers over Redis, else within this process.
    cluster = single_process()
    if settings.redis_url is not None:
        cluster = over_redis(
            settings.redis_url,
            database,
            budget_s=settings.redis_budget_ms / 1000,
            clock=clock,
            randomness=random,
            rng=SystemRandom(),
            on_failure=measured.redis_failures.add,
        )

    # The proxy to Notion.
    budgets = Budgets(
        scale=settings.limit_scale,
        tiers=settings.tiers,
        notion_rate=settings.notion_rate,
        notion_burst=settings.notion_burst,
    )
    origin = URL(settings.notion_api_url).origin()
    attempts = Attempts(
        Upstream(origin, settings.notion_version, settings.response_max_bytes),
        transport=transport,
        admission=Admission(cluster.limiter, clock, budgets),
        tokens=identity.tokens,
        metrics=measured,
        clock=clock,
        rng=SystemRandom(),
    )
    running_writes = Writes(
        idempotency.Idempotency(database),
        attempts,
        timeouts=Timeouts.of(settings.upstream_write_s),
        clock=clock,
        randomness=random,
    )
    relay = Relay(
        tokens=identity.tokens,
        attempts=attempts,
        writes=running_writes,
        audit=identity.audit,
        metrics=measured,
        clock=clock,
        answer_within_s=settings.answer_within_s,
    )

    # Notion's webhooks, and the event streams of daemons.
    inbox = Inbox(
        database,
        identity.ring,
        cluster.notifier,
        clock,
        token=settings.webhook_token,
        is_pending=bool(settings.webhook_pending),
        poll_s=settings.effective_push_poll_s,
    )
    fanout = Fanout(
        database,
        cluster.notifier,
        clock,
        poll_s=settings.effective_push_poll_s,
        expects_webhooks=inbox.expects_webhooks,
        on_subscription=identity.sessions.forget,
    )

    # HTTP: the middlewares from the outermost to the innermost, the handlers' parts, the routes.
    proxies = settings.trusted_proxies
    inbound = Inbound(per_address=settings.connections_per_address, proxies=proxies)
    drain, completion = Drain(), Completion(proxy.only_reads)
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
    app[INBOUND] = inbound
    app[keys.SETTINGS] = settings
    app[keys.CLOCK] = clock
    app[keys.RANDOMNESS] = random
    app[keys.DATABASE] = database
    app[keys.CLUSTER] = cluster
    app[keys.DRAIN] = drain
    app[health.READINESS] = readiness = health.Readiness(database)
    app[keys.BUDGETS] = budgets
    # In one process, addresses get a memory of their own: they must not displace the accounts'.
    limiter = MemoryLimiter() if settings.redis_url is None else cluster.limiter
    app[keys.RATE_LIMIT] = RateLimit(limiter, clock, scale=settings.limit_scale, proxies=proxies)
    app[keys.SIGNER] = identity.signer
    app[keys.SIGN_IN] = identity.sign_in
    app[keys.SESSIONS] = identity.sessions
    app[keys.ACCOUNTS] = identity.accounts
    app[keys.TOKENS] = identity.tokens
    app[billing.BILLING] = subscriptions
    app[proxy.RELAY] = relay
    app[webhooks.INBOX] = inbox
    app[events.FANOUT] = fanout
    app[metrics.METRICS] = measured
    for module in (auth, user, health, billing, writes, proxy, metrics, webhooks, events):
        app.router.add_routes(module.ROUTES)

    # Gauges: numbers that /metrics reads at each scrape.
    for name, help_text, read in (
        (
            "broker_database_ready",
            "1: the database took a write when it was last tried, at each scrape.",
            lambda: int(readiness.database),
        ),
        ("broker_writes_under_way", "Writes being executed now.", lambda: running_writes.under_way),
        ("broker_audit_rows_lost", "Audit rows without room.", lambda: identity.audit.lost),
        (
            "broker_limits_shared",
            "1: limits hold for all brokers together; 0: divided among them.",
            lambda: int(cluster.is_shared()),
        ),
        ("broker_instances", "Brokers known to be alive.", cluster.brokers),
        (
            "broker_redis_up",
            "1: Redis decides; 0: the log and /readyz say why not. Absent without Redis.",
            None if cluster.redis_trouble is None else lambda: int(cluster.is_shared()),
        ),
        ("broker_event_streams", "Event streams open now.", lambda: fanout.attached),
    ):
        if read is not None:
            measured.gauge(name, help_text, read)

    # Background work: each step returns the seconds until it runs again.
    async def sweep_accounts() -> float:
        await identity.sessions.sweep()
        await identity.sign_in.sweep()
        await identity.accounts.sweep()
        return SWEEP_ACCOUNTS_S

    async def sweep_push() -> float:
        await inbox.sweep()
        return SWEEP_PUSH_S

    steps = (
        identity.revocations.run_once,
        sweep_accounts,
        subscriptions.run_once,
        inbox.run_once,
        fanout.run_once,
        fanout.check,
        fanout.beat,
        sweep_push,
        *cluster.steps,
    )

    # Start in this order, stop in the reverse: streams, handlers, background work, writes.
    async def lifespan(_: web.Application) -> AsyncIterator[None]:
        await migrate(database, clock)
        await identity.open(database, clock, random)
        await fanout.open()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(cluster.close)
            await cluster.open()
            stack.callback(inbound.close)
            stack.push_async_callback(identity.tokens.close)
            stack.push_async_callback(identity.audit.close)
            for run in (identity.audit.run, running_writes.purge_for_ever):
                await stack.enter_async_context(in_background(run))
            stack.push_async_callback(running_writes.close, settings.drain_s)
            for step in steps:
                await stack.enter_async_context(in_background(repeating(step, clock)))
            stack.push_async_callback(completion.close, settings.drain_s)
            yield

    async def end_streams(_: web.Application) -> None:
        fanout.close()

    app.cleanup_ctx.append(lifespan)
    app.on_shutdown.append(end_streams)
    return app


@asynccontextmanager
async def in_background(run: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run a loop as a task for the length of a block, then cancel it and wait for its end."""
    task = asyncio.ensure_future(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def repeating(step: Callable[[], Awaitable[float]], clock: Clock) -> Callable[[], Awaitable[None]]:
    """Make a loop of ``step``, which returns the seconds until its next run."""

    async def run() -> None:
        while True:
            try:
                wait_s = await step()
            except Exception as error:  # a loop's boundary: the next run may succeed
                log.error("A background step failed; the broker repeats it.", exc_info=error)
                wait_s = RETRY_STEP_S
            await clock.sleep(wait_s)

    return run


def _notion_oauth(settings: Settings, transport: Transport) -> NotionOAuth:
    return NotionOAuth(
        transport,
        api_url=settings.notion_api_url,
        version=settings.notion_version,
        client_id=settings.notion_client_id,
        client_secret=settings.notion_client_secret,
        callback_url=settings.public_url + CALLBACK_PATH,
    )
