"""Wires what knows accounts, sessions and connections: for the broker, and for its commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloud_broker.audit import Audit
from cloud_broker.clock import Clock
from cloud_broker.crypto.keyproof import prove
from cloud_broker.crypto.pepper import Pepper
from cloud_broker.crypto.sealing import KeyRing
from cloud_broker.crypto.signing import Signer
from cloud_broker.identity.accounts import Accounts, Eraser, Part
from cloud_broker.identity.connections import Tokens
from cloud_broker.identity.oauth import CALLBACK_PATH, NotionOAuth
from cloud_broker.identity.revocations import Revocations
from cloud_broker.identity.sessions import Sessions
from cloud_broker.identity.signin import SignIn
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.randomness import Randomness
from cloud_broker.settings.config import Settings
from cloud_broker.settings.parsers import raw_keys
from cloud_broker.storage import accounts as account_rows
from cloud_broker.storage import audit as audit_rows
from cloud_broker.storage import billing as billing_rows
from cloud_broker.storage import connections as connection_rows
from cloud_broker.storage import idempotency
from cloud_broker.storage import push as push_rows
from cloud_broker.storage import sessions as session_rows
from cloud_broker.storage.database import Database
from cloud_broker.tariff import Tariff
from cloud_broker.transport import Transport

EXPORTS: Mapping[str, Part] = {
    "billing": billing_rows.of_user,
    "claims": account_rows.claims_of,
    "workspaces": connection_rows.of_user,
    "sessions": session_rows.of_user,
    "refresh_tokens": session_rows.refresh_tokens_of,
    "sign_ins": session_rows.handoffs_of,
    "writes": idempotency.of_user,
    "audit": audit_rows.of_user,
}
"""Everything that is kept about a user, by its name in an export; a test finds what is missing."""

ERASERS: tuple[Eraser, ...] = (billing_rows.erase, idempotency.erase, push_rows.erase)
"""What does not go with the profile's row."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the broker knows accounts with, built and wired but not started."""

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
        """Prove the keys and load the pepper. Raises KeysRefused; DatabaseFailed."""
        await self.pepper.load(database, clock=clock, randomness=random)
        await prove(self.ring, database, clock=clock)


def assemble(
    settings: Settings,
    database: Database,
    transport: Transport,
    clock: Clock,
    random: Randomness,
    metrics: Metrics,
) -> Parts:
    """Wire the parts. Does no I/O; ``Parts.open`` is to be called before they are used."""
    ring = KeyRing(raw_keys(settings.encryption_keys))
    signer = Signer(raw_keys(settings.signing_keys), issuer=settings.public_url, clock=clock)
    oauth, pepper = _oauth(settings, transport), Pepper(ring)
    audit = Audit(database, clock, random, living=account_rows.existing, opened=metrics.opened)
    tariff = Tariff(settings.billing_tiers or {}, settings.billing_grace_days * 86_400)
    sessions = _sessions(settings, database, signer, audit, tariff, clock, random)
    revocations = Revocations(database, ring, oauth, clock=clock, randomness=random, audit=audit)
    tokens = _tokens(database, ring, oauth, audit, revocations, clock, random)
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
    return Parts(
        ring=ring,
        audit=audit,
        signer=signer,
        pepper=pepper,
        sessions=sessions,
        revocations=revocations,
        tokens=tokens,
        accounts=accounts,
        sign_in=sign_in,
        tariff=tariff,
    )


def _tokens(
    database: Database,
    ring: KeyRing,
    oauth: NotionOAuth,
    audit: Audit,
    revocations: Revocations,
    clock: Clock,
    random: Randomness,
) -> Tokens:
    return Tokens(
        database,
        ring,
        oauth,
        clock=clock,
        randomness=random,
        witness=audit,
        revocations=revocations,
    )


def _sessions(
    settings: Settings,
    database: Database,
    signer: Signer,
    audit: Audit,
    tariff: Tariff,
    clock: Clock,
    random: Randomness,
) -> Sessions:
    return Sessions(
        database,
        signer,
        clock=clock,
        randomness=random,
        access_token_s=settings.access_token_s,
        audit=audit,
        tariff=tariff,
    )


def _oauth(settings: Settings, transport: Transport) -> NotionOAuth:
    return NotionOAuth(
        transport,
        api_url=settings.notion_api_url,
        version=settings.notion_version,
        client_id=settings.notion_client_id,
        client_secret=settings.notion_client_secret,
        callback_url=settings.public_url + CALLBACK_PATH,
    )
