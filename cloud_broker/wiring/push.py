"""Mounting webhooks and event streams: their parts, routes, and loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from cloud_broker.clock import Clock
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.push.fanout import Fanout
from cloud_broker.push.inbox import Inbox
from cloud_broker.push.notifier import Notifier
from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import Database
from cloud_broker.web import events, webhooks
from cloud_broker.web.metrics import METRICS

SWEEP_S = 600.0
Turn = Callable[[], Awaitable[float]]


def setup_push(
    app: web.Application,
    *,
    settings: Settings,
    database: Database,
    ring: KeyRing,
    clock: Clock,
    notices: Notifier,
) -> tuple[Turn, ...]:
    """Add the routes; return the steps to be run for ever, which the caller owns.

    The database must be migrated before the application's next cleanup context.
    """
    intake = Inbox(
        database,
        ring,
        notices,
        clock,
        token=settings.webhook_token,
        is_pending=bool(settings.webhook_pending),
        look_s=settings.push_look_s,
    )

    async def hears() -> bool:
        return await intake.token() is not None

    fanout = Fanout(database, notices, clock, poll_s=settings.push_look_s, hears=hears)
    app[webhooks.INTAKE] = intake
    app[events.FANOUT] = fanout
    app.router.add_routes(webhooks.ROUTES)
    app.router.add_routes(events.ROUTES)
    app[METRICS].gauge("broker_event_streams", "Event streams open now.", lambda: fanout.attached)

    async def opened(_: web.Application) -> AsyncIterator[None]:
        await fanout.open()
        yield

    async def end_streams(_: web.Application) -> None:
        fanout.close()

    async def sweep() -> float:
        await intake.sweep()
        return SWEEP_S

    app.cleanup_ctx.append(opened)
    app.on_shutdown.append(end_streams)
    return (intake.turn, fanout.turn, fanout.check, fanout.beat, sweep)
