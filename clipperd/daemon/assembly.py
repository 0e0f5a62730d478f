"""The composition root: ``assemble`` builds every part of the daemon, and nothing else does."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from yarl import URL

from clipperd import health
from clipperd.broker.auth import BrokerAuth
from clipperd.broker.client import BrokerClient
from clipperd.broker.connectivity import Connectivity
from clipperd.broker.http import AiohttpHttp, Http
from clipperd.clips.clips import Clips
from clipperd.clips.passthrough import LanePassThrough
from clipperd.clips.submit import ClipSubmission
from clipperd.daemon.background import ActiveAccount, Background
from clipperd.daemon.system import System
from clipperd.delivery.dispatch import Dispatcher
from clipperd.delivery.ports import Dependencies, Timeouts
from clipperd.delivery.throttle import Throttle
from clipperd.delivery.worker import Worker
from clipperd.keychain.system import choose_secrets
from clipperd.machine.watch import Watch
from clipperd.notion.broker import BrokerNotion
from clipperd.notion.writes import BrokerWrites
from clipperd.outbox.identity import Run, newest_clip
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.purge import Purge
from clipperd.outline.freshness import FreshnessTracker
from clipperd.outline.outlines import Outlines
from clipperd.outline.positions import PositionResolver
from clipperd.pages.directory import Directory
from clipperd.pages.pages import Pages
from clipperd.push.event_handler import EventHandler
from clipperd.push.listener import Listener
from clipperd.session.accounts import Accounts
from clipperd.session.login import Logins
from clipperd.session.session import Session
from clipperd.settings.config import Settings
from clipperd.settings.locations import Locations
from clipperd.settings.proxy import Proxy, ProxyUnusable, proxy_for
from clipperd.settings.stored import StoredSettings
from clipperd.storage.backup import Backups
from clipperd.storage.database import Database
from clipperd.storage.disposable import Cache
from clipperd.web.hub import EventHub
from clipperd.web.tokens import ApiTokens

_DAY_S = 86400.0


class ListeningPort(msgspec.Struct):
    """The port of the local API; 0 until the daemon listens."""

    number: int = 0


class Publisher(msgspec.Struct):
    """Sends events to the clients, and reports a changed session to the daemon."""

    events: EventHub
    active: ActiveAccount
    on_session: Callable[[], None] = msgspec.field(default=lambda: None)

    def publish(self, type_: str, data: Mapping[str, Any], user_id: str | None = None) -> None:
        """Publish an event of ``user_id``, by default of the signed-in user.

        A ``session`` event goes to the streams of every user: it says which user is signed in.
        """
        owner = None if type_ == "session" else user_id or self.active.user_id
        self.events.publish(type_, data, owner)
        if type_ == "session":
            self.on_session()


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that the API, the process and the simulation use."""

    port: ListeningPort
    http: Http
    events: EventHub
    tokens: ApiTokens
    settings: StoredSettings
    connectivity: Connectivity
    session: Session
    pages: Pages
    outlines: Outlines
    listener: Listener
    dispatcher: Dispatcher
    clips: Clips
    submission: ClipSubmission
    passthrough: LanePassThrough
    health: health.Health
    background: Background

    async def close(self) -> None:
        """Stop the parts that own tasks or connections."""
        await self.pages.close()
        await self.outlines.close()
        await self.session.close()
        await self.http.drop_connections()


async def assemble(
    settings: Settings, locations: Locations, outbox_db: Database, cache_db: Cache, system: System
) -> Daemon:
    """Build every part in the order of its dependencies.

    Opens no connection and starts no task. Raises SecretsUnusable.
    """
    clock = system.clock

    # Local API: events, tokens of its clients, settings
    port = ListeningPort()
    events = EventHub(clock)
    active = ActiveAccount()
    publisher = Publisher(events, active)
    publish = publisher.publish
    tokens = await ApiTokens.open(
        outbox_db, clock, new_id=system.new_id, new_token=system.new_token
    )
    stored_settings = StoredSettings(settings, system.env, _flags(settings), locations.config_file)

    # Session: the keychain, the broker, the signed-in user
    secrets = system.secrets or choose_secrets(
        settings.secrets,
        service=_keyring_service(settings),
        file=locations.secrets_file,
        passphrase=settings.secrets_passphrase,
        key_file=settings.secrets_key_file,
    )
    base_url = None if settings.broker_url is None else URL(settings.broker_url)
    connectivity = Connectivity(clock, has_broker=base_url is not None)
    route = partial(proxy_for, setting=settings.proxy, env=system.env)
    http = system.http or AiohttpHttp(proxy=route, ca_file=settings.ca_file)
    broker = BrokerClient(base_url, http, connectivity, clock)
    accounts = Accounts(outbox_db, clock)
    logins = Logins(
        outbox_db,
        clock,
        broker=base_url or URL(),  # without one no sign-in starts
        port=lambda: port.number,
        device=settings.device or socket.gethostname(),
        random=system.entropy,
    )
    session = Session(
        accounts=accounts,
        logins=logins,
        auth=BrokerAuth(broker),
        secrets=secrets,
        connectivity=connectivity,
        clock=clock,
        publish=publish,
    )

    # Notion's pages: the index, the outlines, the positions to insert at, the push stream
    notion = BrokerNotion(broker, session)
    pages = Pages(cache_db, outbox_db, notion, clock, publish)
    freshness = FreshnessTracker(clock)
    outlines = Outlines(cache_db, notion, clock, publish, freshness)
    positions = PositionResolver(outlines, notion, cache_db, clock, settings.anchor_trust_s)
    listener = Listener(
        broker,
        session,
        EventHandler(session, positions, pages, freshness),
        freshness,
        cache_db,
        clock,
        active_user=active.get,
        rng=system.rng,
    )

    # Queue: the outbox, its delivery, the calls that bypass it
    outbox = Outbox(outbox_db, clock, new_id=system.new_id, publish=publish)
    timeouts = Timeouts(
        settle_silent_s=settings.settle_unknown_s,
        settle_answered_s=settings.settle_answered_s,
        retry_base_s=settings.retry_base_s,
        retry_cap_s=settings.retry_cap_s,
        keep_content_s=settings.content_days * _DAY_S,
        max_lanes=settings.max_parallel_pages,
    )

    deps = Dependencies(
        active_user=active.get,
        bot_id=accounts.bot_id,
        server_now=notion.server_now,
        writes=BrokerWrites(broker, session),
        entropy=system.entropy,
        rng=system.rng,
        run=Run(system.entropy(8).hex(), await outbox.read(newest_clip)),
    )
    throttle = Throttle()
    worker = Worker(outbox, notion, positions, pages, clock, throttle, timeouts, deps)
    dispatcher = Dispatcher(worker, outbox, clock, throttle, timeouts, deps)
    clips = Clips(
        outbox,
        accounts,
        dispatcher,
        clock,
        is_online=lambda: connectivity.status.state == "online",
    )
    submission = ClipSubmission(outbox, accounts, Directory(cache_db), dispatcher, clock)
    passthrough = LanePassThrough(
        notion,
        notion,
        dispatcher,
        outbox,
        positions,
        pages,
        clock,
        server_now=notion.server_now,
        entropy=system.entropy,
    )

    # Upkeep: background tasks and health checks
    backups = Backups(locations.outbox, locations.backups)
    background = Background(
        session=session,
        dispatcher=dispatcher,
        pages=pages,
        listener=listener,
        clock=clock,
        active=active,
        backups=backups,
        purge=Purge(
            outbox,
            backups,
            locations.quarantine,
            clock,
            keep_content_s=settings.content_days * _DAY_S,
        ),
        watch=Watch(system.os_events, clock, slept=system.slept, host=broker.host),
        drop_connections=broker.drop_connections,
        refresh_s=settings.refresh_s,
    )
    publisher.on_session = background.session_changed
    connectivity.observe(background.link_changed)
    cache_db.on_recreated = background.refresh_index
    checks: Mapping[str, health.Check] = {
        "disk": partial(health.check_disk, locations.data_dir),
        "queue_store": partial(health.check_queue_store, outbox_db),
        "queue_rescue": partial(health.check_recovery, locations.quarantine, clock),
        "cache_store": partial(health.check_cache_store, cache_db),
        "secrets": partial(health.check_secrets, secrets),
        "link": partial(health.check_link, connectivity, _proxy_name(settings, route)),
        "queue": partial(health.check_queue, clips),
        "other_accounts": partial(health.check_other_accounts, clips),
    }

    return Daemon(
        port=port,
        http=http,
        events=events,
        tokens=tokens,
        settings=stored_settings,
        connectivity=connectivity,
        session=session,
        pages=pages,
        outlines=outlines,
        listener=listener,
        dispatcher=dispatcher,
        clips=clips,
        submission=submission,
        passthrough=passthrough,
        health=health.Health(checks),
        background=background,
    )


def _keyring_service(settings: Settings) -> str:
    """Return the keyring entry's name, one for each home: two daemons must not share a session."""
    return "clipperd" if settings.home is None else f"clipperd:{settings.home}"


def _proxy_name(settings: Settings, route: Callable[[str], Proxy | None]) -> str | None:
    try:
        proxy = route(settings.broker_url) if settings.broker_url else None
    except ProxyUnusable:
        return None  # every request to the broker fails with the reason
    return proxy.name if proxy else None


def _flags(settings: Settings) -> dict[str, Any]:
    """Return the settings that the command line set: a change of the file does not affect them."""
    return {
        name: getattr(settings, name)
        for name, origin in settings.origins.items()
        if origin == "flag"
    }
