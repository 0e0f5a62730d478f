"""Parses the text of settings.

Each parser raises ValueError with a sentence that never quotes the text, which may be secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from cloud_broker.secret import Secret
from cloud_broker.settings.postgres_url import FORM, SCHEMES, parse_postgres_url
from cloud_broker.tariff import TIERS, Tier, is_tier

Keys = tuple[tuple[str, Secret], ...]  # (kid, base64 of 32 bytes), the first one is in use
VERSIONS = ("2026-03-11", "2025-09-03")  # of Notion's API that the proxy can send
KEY_BYTES = 32  # AES-256 and Ed25519 seeds alike
_KID = re.compile(r"\A[A-Za-z0-9_.-]{1,32}\Z")
_PRICE = re.compile(r"\A[A-Za-z0-9_.-]{1,100}\Z")
_TIERS = ", ".join(TIERS)
_SCHEME = re.compile(r"\A[a-z][a-z0-9+.-]*\Z")
_WEB_SCHEMES = frozenset({"http", "https", "javascript", "data", "file", "vbscript", "blob"})


def text(text: str) -> str:
    """Return the text unchanged."""
    return text


def secret(text: str) -> Secret:
    """Return the text as a Secret."""
    return Secret(text)


def secrets(text: str) -> tuple[Secret, ...]:
    """Parse secrets, comma-separated, each of at least 16 characters."""
    found = tuple(Secret(part.strip()) for part in text.split(","))
    if any(len(secret.reveal()) < 16 for secret in found):
        raise ValueError("must be secrets of at least 16 characters, comma-separated")
    return found


def prices(text: str) -> dict[str, Tier]:
    """Parse ``price_…:PRO,prod_…:TEAM``: ids of prices or products with their tiers."""
    found: dict[str, Tier] = {}
    for number, item in enumerate(text.split(","), 1):
        name, _, tier = item.strip().rpartition(":")
        if not _PRICE.match(name) or not is_tier(tier):
            raise ValueError(f"entry {number} must have the form price_…:TIER, one of {_TIERS}")
        if name in found:
            raise ValueError(f"entry {number} names {name} again")
        found[name] = tier
    return found


def factors(text: str) -> dict[str, float]:
    """Parse ``FREE:1,PRO:2,TEAM:4``: every tier once, with its factor of the limits."""
    parse = number(0.001, 1e6)
    found: dict[str, float] = {}
    for item in text.split(","):
        tier, _, factor = item.strip().partition(":")
        if tier not in TIERS or tier in found:
            raise ValueError(f"must name each of {_TIERS} once, as in FREE:1,PRO:2,TEAM:4")
        found[tier] = parse(factor)
    if len(found) < len(TIERS):
        raise ValueError(f"must name each of {_TIERS} once, as in FREE:1,PRO:2,TEAM:4")
    return found


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of numbers from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"must be a number from {low:g} to {high:g}") from None
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def origin(text: str) -> str:
    """Parse an http(s) origin, with at most a slash after the port."""
    parts = urlsplit(text)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.path not in {"", "/"}
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ValueError("must be an origin such as https://broker.example, without a path")
    return f"{parts.scheme}://{parts.netloc}"


def database(text: str) -> Secret:
    """Parse the address of a database, which may hold a password."""
    if text.startswith(SCHEMES):
        parse_postgres_url(text)
    elif not text.startswith("sqlite:///") or text == "sqlite:///":
        raise ValueError(f"must be sqlite:///PATH, {FORM}")
    return Secret(text)


def redis(text: str) -> Secret:
    """Parse the address of a Redis server, which may hold a password."""
    form = "redis://HOST:PORT/0, rediss://… or unix:///PATH"
    if text.startswith("unix://") and urlsplit(text).path.strip("/"):  # perhaps USER:PASSWORD@
        return Secret(text)
    return _address(text, {"redis", "rediss"}, form)


def _address(text: str, schemes: set[str], form: str) -> Secret:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(f"must be {form}") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"must be {form}")
    return Secret(text)


def keys(text: str) -> Keys:
    """Parse ``kid:base64,…``: keys of 32 bytes, each id once. Errors name a key by its number."""
    found: list[tuple[str, Secret]] = []
    for number, item in enumerate(text.split(","), 1):
        kid, colon, encoded = item.strip().partition(":")
        if not colon or not _KID.match(kid):
            raise ValueError(f"key {number} must have the form kid:base64")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"key {number} is not base64") from None
        if len(raw) != KEY_BYTES:
            raise ValueError(f"key {number} has {len(raw)} bytes; it needs {KEY_BYTES}")
        if kid in {k for k, _ in found}:
            raise ValueError(f"the id of key {number} appears twice")
        found.append((kid, Secret(encoded)))
    return tuple(found)


def return_uris(text: str) -> tuple[str, ...]:
    """Parse deep links with an app's own scheme, comma-separated."""
    uris = tuple(part.strip() for part in text.split(",") if part.strip())
    for uri in uris:
        parts = urlsplit(uri)
        if not _SCHEME.match(parts.scheme) or parts.scheme in _WEB_SCHEMES:
            raise ValueError("each must be an app's own scheme, such as notion-clipper://auth")
        if parts.query or parts.fragment or not parts.netloc:
            raise ValueError("each must have the form scheme://host[/path], without a query")
    if not uris:
        raise ValueError("must name at least one address")
    return uris


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse CIDR networks, comma-separated, or ``none``."""
    try:
        return () if text == "none" else tuple(ip_network(p.strip()) for p in text.split(","))
    except ValueError:
        raise ValueError("must be networks such as 10.0.0.0/8, comma-separated, or none") from None


def level(text: str) -> str:
    """Parse a level of Python's logging."""
    if text.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return text.upper()


def version(text: str) -> str:
    """Parse a version of Notion's API that the proxy supports."""
    if text not in VERSIONS:
        raise ValueError(f"must be {' or '.join(VERSIONS)}")
    return text


def raw_keys(ring: Keys) -> list[tuple[str, bytes]]:
    """Return each key id with the key's 32 bytes."""
    return [(kid, base64.b64decode(key.reveal())) for kid, key in ring]
