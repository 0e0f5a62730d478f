"""The broker's settings: read once from a mapping, all faults reported together, frozen after.

Every setting is one row of ``SETTINGS``: environment name ``BROKER_…``, key of the TOML file in
lower case without the prefix, default, parser and one line of help. ``docs/broker-settings.md``
lists the same rows (a test compares).
"""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cloud_broker.errors import ConfigurationInvalid
from cloud_broker.secret import Secret

Keys = tuple[tuple[str, Secret], ...]  # (kid, base64 of 32 bytes), the first one is in use

KEY_BYTES = 32  # AES-256 and Ed25519 seeds alike
_KID = re.compile(r"\A[A-Za-z0-9_.-]{1,32}\Z")
_SCHEME = re.compile(r"\A[a-z][a-z0-9+.-]*\Z")
_WEB_SCHEMES = frozenset({"http", "https", "javascript", "data", "file", "vbscript", "blob"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be chosen from outside. Secrets are masked in the repr."""

    host: str
    port: int
    public_url: str
    database_url: str
    notion_api_url: str
    notion_version: str
    notion_client_id: str
    notion_client_secret: Secret
    encryption_keys: Keys
    signing_keys: Keys
    app_return_uris: tuple[str, ...]
    access_token_s: int
    limit_scale: float
    notion_rate: float
    notion_burst: int
    request_max_bytes: int
    response_max_bytes: int
    answer_within_s: float
    upstream_write_s: float
    drain_s: float
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    log_level: str
    redis_url: str | None
    webhook_token: Secret | None
    webhook_pending: int
    push_poll_s: float

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, file: Mapping[str, Any] | None = None) -> Settings:
        """Read BROKER_… from ``env``, else from ``file`` (a decoded TOML), else the defaults.

        Raises ConfigurationInvalid with one sentence for each fault, never with a value that
        may be secret.
        """
        faults: list[str] = []
        values: dict[str, Any] = {}
        for setting in SETTINGS:
            text, origin = _find(setting, env, file or {})
            try:
                values[setting.field] = setting.parse(text) if text is not None else None
            except ValueError as error:
                faults.append(f"{origin}: {error}")
                continue
            if text is None and setting.required:
                faults.append(f"{setting.name} is not set: {setting.help}")
        known = {setting.name for setting in SETTINGS}
        faults += [
            f"{name} is not a setting" for name in env if _is_ours(name) and name not in known
        ]
        keys = {setting.key for setting in SETTINGS}
        faults += [f"{key} is not a setting of the file" for key in file or {} if key not in keys]
        if faults:
            raise ConfigurationInvalid(faults)
        return cls(**values)

    @property
    def database_file(self) -> Path:
        """The SQLite file of ``database_url``."""
        return Path(self.database_url.removeprefix("sqlite:///"))

    @property
    def is_https(self) -> bool:
        """True when browsers reach this broker over TLS, so that cookies can demand it."""
        return self.public_url.startswith("https://")


def read_file(path: Path) -> dict[str, Any]:
    """Decode a TOML settings file. Raises ConfigurationInvalid."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationInvalid([f"{path} cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid([f"{path} is not valid TOML"]) from error


def key_bytes(key: Secret) -> bytes:
    """The 32 bytes of a key that ``from_env`` accepted."""
    return base64.b64decode(key.reveal())


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, with all that reading and documenting it need."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    help: str
    required: bool = False
    secret: bool = False

    @property
    def key(self) -> str:
        """The key in the TOML file."""
        return self.name.removeprefix("BROKER_").lower()

    @property
    def field(self) -> str:
        """The attribute of Settings."""
        return self.key


def _is_ours(name: str) -> bool:
    return name.startswith("BROKER_")


def _find(
    setting: Setting, env: Mapping[str, str], file: Mapping[str, Any]
) -> tuple[str | None, str]:
    if env.get(setting.name):
        return env[setting.name], setting.name
    if setting.key in file:
        value = file[setting.key]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        return text, f"{setting.key} in the file"
    return setting.default, setting.name


# --- parsers: text in, value out, ValueError with a sentence that never quotes the text ------


def _text(text: str) -> str:
    return text


def _secret(text: str) -> Secret:
    return Secret(text)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"must be a number from {low:g} to {high:g}") from None
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def _origin(text: str) -> str:
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


def _database(text: str) -> str:
    if text.startswith(("postgresql://", "postgres://")):
        raise ValueError("PostgreSQL is not in this build; use sqlite:///PATH")
    if not text.startswith("sqlite:///") or text == "sqlite:///":
        raise ValueError("must be sqlite:///PATH")
    return text


def _absent(what: str) -> Callable[[str], None]:
    def parse(_: str) -> None:
        raise ValueError(f"{what} not in this build; leave this setting out")

    return parse


def _keys(text: str) -> Keys:
    found: list[tuple[str, Secret]] = []
    for number, item in enumerate(text.split(","), 1):
        kid, colon, encoded = item.strip().partition(":")
        if not colon or not _KID.match(kid):
            raise ValueError(f"key {number} must have the form kid:base64")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"key {number} ({kid}) is not base64") from None
        if len(raw) != KEY_BYTES:
            raise ValueError(f"key {number} ({kid}) has {len(raw)} bytes; it needs {KEY_BYTES}")
        if kid in {k for k, _ in found}:
            raise ValueError(f"key id {kid} is there twice")
        found.append((kid, Secret(encoded)))
    return tuple(found)


def _return_uris(text: str) -> tuple[str, ...]:
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


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return () if text == "none" else tuple(ip_network(p.strip()) for p in text.split(","))
    except ValueError:
        raise ValueError("must be networks such as 10.0.0.0/8, comma-separated, or none") from None


def _level(text: str) -> str:
    if text.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return text.upper()


def _version(text: str) -> str:
    if not re.match(r"\A\d{4}-\d{2}-\d{2}\Z", text):
        raise ValueError("must be a date such as 2026-03-11")
    return text


SETTINGS: tuple[Setting, ...] = (
    Setting("BROKER_HOST", _text, "127.0.0.1", "Address to listen on."),
    Setting(
        "BROKER_PORT", _whole(0, 65535), "8787", "Port to listen on; 0 lets the system choose."
    ),
    Setting(
        "BROKER_PUBLIC_URL",
        _origin,
        None,
        "Origin at which browsers and daemons reach this broker, for example"
        " https://broker.example. Notion must know PUBLIC_URL/api/auth/notion/callback.",
        required=True,
    ),
    Setting(
        "BROKER_DATABASE_URL",
        _database,
        "sqlite:///broker.db",
        "Where rows are kept: sqlite:///relative.db or sqlite:////absolute/path.db.",
    ),
    Setting(
        "BROKER_REDIS_URL", _absent("Redis is"), None, "Not in this build: limits are in-process."
    ),
    Setting("BROKER_NOTION_API_URL", _origin, "https://api.notion.com", "Origin of Notion's API."),
    Setting("BROKER_NOTION_VERSION", _version, "2026-03-11", "The Notion-Version sent upstream."),
    Setting(
        "BROKER_NOTION_CLIENT_ID",
        _text,
        None,
        "OAuth client id of the Notion connection.",
        required=True,
    ),
    Setting(
        "BROKER_NOTION_CLIENT_SECRET",
        _secret,
        None,
        "OAuth client secret of the Notion connection.",
        required=True,
        secret=True,
    ),
    Setting(
        "BROKER_ENCRYPTION_KEYS",
        _keys,
        None,
        "Keys that seal Notion's tokens, kid:base64 of 32 bytes, comma-separated; the first one"
        " encrypts, all open. Make one with: cloud-broker keys new.",
        required=True,
        secret=True,
    ),
    Setting(
        "BROKER_SIGNING_KEYS",
        _keys,
        None,
        "Ed25519 seeds that sign session tokens, same form; the first one signs, all verify.",
        required=True,
        secret=True,
    ),
    Setting(
        "BROKER_APP_RETURN_URIS",
        _return_uris,
        "notion-clipper://auth,notion-clipper://auth/callback",
        "Deep links to which a sign-in may return, comma-separated; the first is the default.",
    ),
    Setting(
        "BROKER_ACCESS_TOKEN_S", _whole(1, 600), "600", "Life of an access token, seconds (≤ 600)."
    ),
    Setting(
        "BROKER_LIMIT_SCALE",
        _number(0.001, 1e6),
        "1",
        "Multiplies every limit per user and endpoint, for load tests.",
    ),
    Setting(
        "BROKER_NOTION_RATE",
        _number(0.01, 1e6),
        "2.5",
        "Requests per second and connection towards Notion, on average.",
    ),
    Setting(
        "BROKER_NOTION_BURST",
        _whole(1, 1_000_000),
        "6",
        "Requests that one connection may send to Notion at once.",
    ),
    Setting(
        "BROKER_REQUEST_MAX_BYTES",
        _whole(1_000, 10_000_000),
        "512000",
        "Largest request body towards Notion; Notion's own limit is 500 KB.",
    ),
    Setting(
        "BROKER_RESPONSE_MAX_BYTES",
        _whole(1_000, 100_000_000),
        "5242880",
        "Largest answer taken from Notion, decoded bytes.",
    ),
    Setting(
        "BROKER_ANSWER_WITHIN_S",
        _number(0.1, 300),
        "30",
        "Seconds within which a caller is answered, waits and retries included.",
    ),
    Setting(
        "BROKER_UPSTREAM_WRITE_S",
        _number(0.1, 300),
        "65",
        "Seconds for which the answer to a write is awaited from Notion.",
    ),
    Setting(
        "BROKER_DRAIN_S",
        _number(0, 300),
        "70",
        "Seconds that a stopping broker gives to requests under way.",
    ),
    Setting(
        "BROKER_TRUSTED_PROXIES",
        _networks,
        "127.0.0.0/8,::1/128",
        "Networks whose X-Forwarded-For is believed, or none; name your reverse proxy's.",
    ),
    Setting("BROKER_LOG_LEVEL", _level, "INFO", "DEBUG, INFO, WARNING or ERROR."),
    Setting("BROKER_WEBHOOK_TOKEN", _secret, None, "Notion's verification token.", secret=True),
    Setting("BROKER_WEBHOOK_PENDING", _whole(0, 1), "0", "1: take Notion's webhook handshake."),
    Setting("BROKER_PUSH_POLL_S", _number(0, 4), "0", "Seconds between looks for others' events."),
)
