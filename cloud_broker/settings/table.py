"""Lists every setting as one row; a test compares them with ``docs/broker-settings.md``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloud_broker.settings.keysource import SOURCES
from cloud_broker.settings.parsers import (
    database,
    factors,
    level,
    networks,
    number,
    origin,
    prices,
    redis,
    return_uris,
    secret,
    secrets,
    text,
    version,
    whole,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: how to read it and how to document it."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    help: str
    required: bool = False
    secret: bool = False
    fills: str | None = None

    @property
    def key(self) -> str:
        """Return the key in the TOML file."""
        return self.name.removeprefix("BROKER_").lower()

    @property
    def field(self) -> str:
        """Return the attribute of Settings; only one of the settings that fill it may be set."""
        return self.fills or self.key


def _ring(name: str, what: str) -> tuple[Setting, ...]:
    """Return a setting for each source of a key ring."""
    own = Setting(name, SOURCES[0].read, None, what, required=True, secret=True)
    others = [
        Setting(name + source.suffix, source.read, None, source.help, fills=own.field)
        for source in SOURCES[1:]
    ]
    return (own, *others)


SETTINGS: tuple[Setting, ...] = (
    Setting("BROKER_HOST", text, "127.0.0.1", "Address to listen on."),
    Setting("BROKER_PORT", whole(0, 65535), "8787", "Port to listen on; 0 lets the system choose."),
    Setting(
        "BROKER_PUBLIC_URL",
        origin,
        None,
        "Public origin of this broker, for example https://broker.example. Register"
        " PUBLIC_URL/api/auth/notion/callback at Notion.",
        required=True,
    ),
    Setting(
        "BROKER_DATABASE_URL",
        database,
        "sqlite:///broker.db",
        "Database: sqlite:///relative.db, sqlite:////absolute/path.db or any URL that libpq takes,"
        " such as postgresql://USER:PASSWORD@HOST/NAME or postgresql:///NAME?host=/SOCKET/FOLDER.",
        secret=True,
    ),
    Setting(
        "BROKER_DATABASE_CONNECTIONS",
        whole(2, 1000),
        "10",
        "Largest number of PostgreSQL connections of this broker.",
    ),
    Setting(
        "BROKER_REDIS_URL",
        redis,
        None,
        "Redis that shares limits, pauses and wake-ups between brokers: redis://HOST:PORT/0,"
        " rediss://… or unix:///PATH. Without it, each broker has its own.",
        secret=True,
    ),
    Setting(
        "BROKER_REDIS_BUDGET_MS",
        whole(5, 5_000),
        "50",
        "Milliseconds within which Redis must answer; after three failures in a row, the brokers"
        " divide the limits among themselves for a while.",
    ),
    Setting("BROKER_NOTION_API_URL", origin, "https://api.notion.com", "Origin of Notion's API."),
    Setting(
        "BROKER_NOTION_VERSION",
        version,
        "2026-03-11",
        "The Notion-Version sent upstream: 2026-03-11 or 2025-09-03.",
    ),
    Setting(
        "BROKER_NOTION_CLIENT_ID",
        text,
        None,
        "OAuth client id of the Notion connection.",
        required=True,
    ),
    Setting(
        "BROKER_NOTION_CLIENT_SECRET",
        secret,
        None,
        "OAuth client secret of the Notion connection.",
        required=True,
        secret=True,
    ),
    *_ring(
        "BROKER_ENCRYPTION_KEYS",
        "Keys that seal Notion's tokens, kid:base64 of 32 bytes, comma-separated; the first"
        " encrypts, all decrypt. Make one with: cloud-broker keys new.",
    ),
    *_ring(
        "BROKER_SIGNING_KEYS",
        "Ed25519 seeds that sign session tokens, same form; the first one signs, all verify.",
    ),
    Setting(
        "BROKER_APP_RETURN_URIS",
        return_uris,
        "notion-clipper://auth,notion-clipper://auth/callback",
        "Deep links that a sign-in may return to, comma-separated; the first is the default.",
    ),
    Setting(
        "BROKER_ACCESS_TOKEN_S", whole(1, 600), "600", "Life of an access token, seconds (≤ 600)."
    ),
    Setting(
        "BROKER_LIMIT_SCALE",
        number(0.001, 1e6),
        "1",
        "Multiplies every limit per user and endpoint, for load tests.",
    ),
    Setting(
        "BROKER_TIERS",
        factors,
        "FREE:1,PRO:2,TEAM:4",
        "Factor of each tier on the limits per user and endpoint.",
    ),
    Setting(
        "BROKER_NOTION_RATE",
        number(0.01, 1e6),
        "2.5",
        "Requests per second and connection towards Notion, on average.",
    ),
    Setting(
        "BROKER_NOTION_BURST",
        whole(1, 1_000_000),
        "6",
        "Largest burst of one connection towards Notion, requests.",
    ),
    Setting(
        "BROKER_REQUEST_MAX_BYTES",
        whole(1_000, 10_000_000),
        "512000",
        "Largest request body towards Notion; Notion's own limit is 500 KB.",
    ),
    Setting(
        "BROKER_RESPONSE_MAX_BYTES",
        whole(1_000, 100_000_000),
        "5242880",
        "Largest answer accepted from Notion, decoded bytes.",
    ),
    Setting(
        "BROKER_ANSWER_WITHIN_S",
        number(0.1, 300),
        "30",
        "Seconds until a caller gets an answer, waits and retries included.",
    ),
    Setting(
        "BROKER_UPSTREAM_WRITE_S",
        number(0.1, 300),
        "65",
        "Timeout for Notion's answer to a write, seconds.",
    ),
    Setting(
        "BROKER_DRAIN_S",
        number(0, 300),
        "70",
        "Seconds that a stopping broker gives open requests to finish.",
    ),
    Setting(
        "BROKER_ANNOUNCE_S",
        number(0, 300),
        "0",
        "Seconds for which a stopping broker still accepts requests while /readyz answers 503;"
        " set it longer than your load balancer takes to notice.",
    ),
    Setting(
        "BROKER_CONNECTIONS_PER_ADDRESS",
        whole(1, 1_000_000),
        "256",
        "Most connections per address (IPv6: a /64); trusted proxies are exempt.",
    ),
    Setting(
        "BROKER_TRUSTED_PROXIES",
        networks,
        "127.0.0.0/8,::1/128",
        "Networks trusted to set X-Forwarded-For, or none; add your reverse proxy's network.",
    ),
    Setting("BROKER_LOG_LEVEL", level, "INFO", "DEBUG, INFO, WARNING or ERROR."),
    Setting(
        "BROKER_WEBHOOK_TOKEN",
        secret,
        None,
        "Notion's verification token, the key of webhook signatures. Without it, the broker uses"
        " the token of the handshake.",
        secret=True,
    ),
    Setting(
        "BROKER_WEBHOOK_PENDING",
        whole(0, 1),
        "0",
        "Set 1 while you set up a webhook subscription: the broker accepts Notion's handshake and"
        " stores its token sealed.",
    ),
    Setting(
        "BROKER_PUSH_POLL_S",
        number(0, 4),
        "0",
        "Seconds between database polls for events received by other brokers, at most 4; 0: two"
        " seconds with PostgreSQL, never with SQLite.",
    ),
    Setting(
        "BROKER_BILLING_SECRETS",
        secrets,
        None,
        "Signing secrets of Stripe's webhook endpoint, comma-separated; list both while you"
        " replace one. Without them, the broker accepts no billing event.",
        secret=True,
    ),
    Setting(
        "BROKER_BILLING_TIERS",
        prices,
        None,
        "Stripe's prices or products, each with its tier: price_…:PRO,prod_…:TEAM. Required with"
        " the secrets.",
    ),
    Setting(
        "BROKER_BILLING_GRACE_DAYS",
        number(0, 365),
        "14",
        "Days that a tier stays in force after a failed payment.",
    ),
)
