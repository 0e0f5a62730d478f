"""The composition root: every part of the daemon is made here, and only here."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from clipperd.broker.auth import BrokerAuth
from clipperd.broker.client import BrokerClient, broker_url
from clipperd.broker.connectivity import Connectivity
from clipperd.broker.http import Http
from clipperd.clips.clips import Clips
from clipperd.clips.passthrough import LanePassThrough
from clipperd.clips.submit import ClipSubmission
from clipperd.clock import Clock
from clipperd.daemon.background import ActiveAccount, Background
from clipperd.daemon.system import System
from clipperd.delivery.dispatch import Dispatcher
from clipperd.delivery.ports import Dependencies, Timeouts
from clipperd.delivery.throttle import Throttle
from clipperd.delivery.worker import Worker
from clipperd.health import checks
from clipperd.keychain.secrets import Secrets
from clipperd.keychain.system import choose_secrets
from clipperd.machine.watch import Watch
from clipperd.model import Scope
from clipperd.notion.broker import BrokerNotion
from clipperd.notion.writes import BrokerWrites
from clipperd.outbox import requests
from clipperd.outbox.outbox import Outbox
from clipperd.outbox.purge import Purge
from clipperd.outline.freshness import FreshnessTracker
from clipperd.outline.outlines import Outlines
from clipperd.outline.positions import PositionResolver
from clipperd.pages.directory import Directory
from clipperd.pages.pages import Pages
from clipperd.process import logs
from clipperd.push.consequences import Consequences
from clipperd.push.listener import Listener
from clipperd.session.accounts import Accounts
from clipperd.session.login import Logins
from clipperd.session.session import Session
from clipperd.settings.config import Settings
from clipperd.settings.locations import Locations
from clipperd.settings.stored import StoredSettings
from clipperd.storage.backup import Backups
from clipperd.storage.database import Database, Store
from clipperd.web.handlers.health import Health
from clipperd.web.hub import EventHub
from clipperd.web.tokens import ApiTokens


class Address(msgspec.Struct):
    """Where the local API answers; known once it listens."""

    port: int = 0


class Bulletin(msgspec.Struct):
    """Tells clients of changes, and the daemon itself of a changed session."""

    events: EventHub
    active: ActiveAccount
    on_session: Callable[[], None] = msgspec.field(default=lambda: None)

    def publish(self, type_: str, data: Mapping[str, Any], user_id: str | None = None) -> None:
        """Tell of a change; without ``user_id`` it concerns whoever is signed in.

        A ``session`` event concerns everybody: it says who that is.
        """
        owner = None if type_ == "session" else user_id or self.active.user_id
        self.events.publish(type_, data, owner)
        if type_ == "session":
            self.on_session()


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was made; ``surface.py`` connects it to the API."""

    address: Address
    events: EventHub
    secrets: Secrets
    clients: ApiTokens
    connectivity: Connectivity
    accounts: Accounts
    session: Session
    pages: Pages
    outlines: Outlines
    listener: Listener
    dispatcher: Dispatcher
    background: Background
    clips: Clips
    intake: ClipSubmission
    passthrough: LanePassThrough
    settings: StoredSettings
    health: Health
    http: Http

    async def close(self) -> None:
        """Stop what still runs, from the outside in."""
        await self.pages.close()
        await self.outlines.close()
        await self.session.close()
        await self.http.drop_connections()


class _Link(msgspec.Struct, frozen=True):
    """The way to Notion under the account's session."""

    http: Http
    connectivity: Connectivity
    wire: BrokerClient
    accounts: Accounts
    session: Session
    notion: BrokerNotion

    async def server_now(self, scope: Scope) -> float:
        """The server's time, see ``delivery.terms``: who has a token has heard it."""
        await self.session.token_for(scope.user_id)
        return self.wire.server_now()


async def assemble(
    settings: Settings,
    places: Locations,
    journal: logs.Logs,
    outbox_db: Database,
    cache_db: Store,
    clock: Clock,
    env: Mapping[str, str],
    outside: System | None = None,
) -> Parts:
    """Make every part. Opens no connection and starts nothing. Raises SecretsUnusable.

    ``env`` is the environment that the settings were read from; ``outside`` None: this machine.
    """
    outside = outside or System.real()
    address, events, active = Address(), EventHub(clock), ActiveAccount()
    bulletin = Bulletin(events, active)
    vault = outside.secrets or _vault(settings, places, journal)
    link = _link(settings, outbox_db, clock, vault, address, bulletin, outside)
    pages = Pages(cache_db, outbox_db, link.notion, clock, bulletin.publish)
    outlines = Outlines(cache_db, link.notion, clock, bulletin.publish, FreshnessTracker(clock))
    sections = PositionResolver(outlines, link.notion, cache_db, clock, settings.anchor_trust_s)
    outbox = Outbox(outbox_db, clock, new_id=outside.new_id, publish=bulletin.publish)
    dispatcher = _dispatcher(settings, clock, outbox, link, sections, pages, active, outside)
    listener = _listener(
        cache_db, clock, link, pages, sections, outlines.vouching, active, outside.rng
    )
    watch = Watch(outside.notices, clock, slept=outside.slept, host=link.wire.base.host)
    background = _background(
        settings, clock, outbox, link, pages, dispatcher, active, listener, places, watch
    )
    bulletin.on_session = background.session_changed
    clips = Clips(outbox, link.accounts, dispatcher, clock)
    return Parts(
        address=address,
        events=events,
        secrets=vault,
        clients=await ApiTokens.open(outbox_db, clock, new_id=outside.new_id, new_token=_new_token),
        connectivity=link.connectivity,
        accounts=link.accounts,
        session=link.session,
        pages=pages,
        outlines=outlines,
        listener=listener,
        dispatcher=dispatcher,
        background=background,
        clips=clips,
        intake=ClipSubmission(outbox, link.accounts, Directory(cache_db), dispatcher, clock),
        passthrough=LanePassThrough(
            link.notion,
            link.notion,
            dispatcher,
            outbox,
            sections,
            pages,
            clock,
            server_now=link.server_now,
            entropy=outside.entropy,
        ),
        settings=StoredSettings(settings, env, _flags(settings), places.config_file),
        health=_health(places, clock, outbox_db, cache_db, vault, link, clips),
        http=link.http,
    )


def _health(
    places: Locations,
    clock: Clock,
    outbox: Database,
    cache: Store,
    vault: Secrets,
    link: _Link,
    clips: Clips,
) -> Health:
    return Health(
        checks(
            data_dir=places.data_dir,
            quarantine=places.quarantine,
            clock=clock,
            outbox=outbox,
            cache=cache,
            secrets=vault,
            connectivity=link.connectivity,
            clips=clips,
        )
    )


def _vault(settings: Settings, places: Locations, journal: logs.Logs) -> Secrets:
    if settings.secrets_passphrase:
        journal.redactor.add(settings.secrets_passphrase)
    return choose_secrets(
        settings.secrets,
        service=_service(settings),
        file=places.secrets_file,
        passphrase=settings.secrets_passphrase,
        key_file=settings.secrets_key_file,
    )


def _service(settings: Settings) -> str:
    """The keyring's name for this daemon; each home of its own, or two would share a session."""
    return "clipperd" if settings.home is None else f"clipperd:{settings.home}"


def _flags(settings: Settings) -> dict[str, Any]:
    """The settings that a flag decided, for they outlast any change of the file."""
    return {
        name: getattr(settings, name)
        for name, origin in settings.origins.items()
        if origin == "flag"
    }


def _new_token() -> str:
    return secrets.token_urlsafe(32)


def _link(
    settings: Settings,
    db: Database,
    clock: Clock,
    vault: Secrets,
    address: Address,
    bulletin: Bulletin,
    outside: System,
) -> _Link:
    base = broker_url(settings.broker_url)
    http, connectivity = outside.http, Connectivity(clock)
    wire = BrokerClient(base, http, connectivity, clock)
    accounts = Accounts(db, clock)
    logins = Logins(
        db,
        clock,
        broker=base,
        port=lambda: address.port,
        device=settings.device or socket.gethostname(),
        random=outside.entropy,
    )
    session = Session(
        accounts=accounts,
        logins=logins,
        auth=BrokerAuth(wire),
        secrets=vault,
        connectivity=connectivity,
        clock=clock,
        publish=bulletin.publish,
    )
    return _Link(http, connectivity, wire, accounts, session, BrokerNotion(wire, session))


def _listener(
    cache: Store,
    clock: Clock,
    link: _Link,
    pages: Pages,
    sections: PositionResolver,
    vouching: FreshnessTracker,
    active: ActiveAccount,
    rng: Callable[[], float],
) -> Listener:
    return Listener(
        link.wire,
        link.session,
        Consequences(link.session, sections, pages, vouching),
        vouching,
        cache,
        clock,
        active_user=active.get,
        rng=rng,
    )


def _background(
    settings: Settings,
    clock: Clock,
    outbox: Outbox,
    link: _Link,
    pages: Pages,
    dispatcher: Dispatcher,
    active: ActiveAccount,
    listener: Listener,
    places: Locations,
    watch: Watch,
) -> Background:
    backups = Backups(places.outbox, places.backups)
    erasure = Purge(
        outbox,
        backups,
        places.quarantine,
        clock,
        keep_content_s=settings.content_days * 86400.0,
    )
    background = Background(
        link.session,
        dispatcher,
        pages,
        outbox,
        clock,
        active,
        listener=listener,
        backups=backups,
        watch=watch,
        drop=link.wire.drop_connections,
        erasure=erasure,
        refresh_s=settings.refresh_s,
    )
    link.connectivity.listen(background.link_changed)
    return background


def _dispatcher(
    settings: Settings,
    clock: Clock,
    outbox: Outbox,
    link: _Link,
    sections: PositionResolver,
    pages: Pages,
    active: ActiveAccount,
    outside: System,
) -> Dispatcher:
    timing = Timeouts(
        settle_silent=settings.settle_unknown_s,
        settle_answered=settings.settle_answered_s,
        retry_base=settings.retry_base_s,
        retry_cap=settings.retry_cap_s,
        keep_content=settings.content_days * 86400.0,
        parallel=settings.max_parallel_pages,
    )

    async def delivered(scope: Scope, page_id: str) -> None:
        await pages.used(scope, page_id)
        title = await pages.title_of(scope, page_id)
        if title is not None:
            await outbox.change(lambda c: requests.entitled(c, scope, page_id, title))

    around = Dependencies(
        active_user=active.get,
        bot_id=link.accounts.bot_id,
        server_now=link.server_now,
        delivered=delivered,
        writes=BrokerWrites(link.wire, link.session),
        entropy=outside.entropy,
        rng=outside.rng,
    )
    pace = Throttle()
    courier = Worker(outbox, link.notion, sections, clock, pace, timing, around)
    return Dispatcher(courier, outbox, clock, pace, timing, around)
