"""Reads the broker's settings once from a mapping and reports all faults together.

Every setting is one row of ``SETTINGS``: environment name ``BROKER_…``, key of the TOML file in
lower case without the prefix, default, parser and one line of help. ``docs/broker-settings.md``
lists the same rows (a test compares).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from cloud_broker.errors import ConfigurationInvalid
from cloud_broker.secret import Secret
from cloud_broker.settings.parsers import Keys
from cloud_broker.settings.table import SETTINGS, Setting
from cloud_broker.tariff import Tier

_SERVICE = re.compile(
    r"\ABROKER(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?"
    r"|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)\Z"
)
SHARED_POLL_S = 2.0  # between checks for events of other brokers


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a broker. The repr masks secrets."""

    host: str
    port: int
    public_url: str
    database_url: Secret
    database_connections: int
    notion_api_url: str
    notion_version: str
    notion_client_id: str
    notion_client_secret: Secret
    encryption_keys: Keys
    signing_keys: Keys
    app_return_uris: tuple[str, ...]
    access_token_s: int
    limit_scale: float
    tiers: Mapping[str, float]
    notion_rate: float
    notion_burst: int
    request_max_bytes: int
    response_max_bytes: int
    answer_within_s: float
    upstream_write_s: float
    drain_s: float
    announce_s: float
    connections_per_address: int
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    log_level: str
    redis_url: Secret | None
    redis_budget_ms: int
    webhook_token: Secret | None
    webhook_pending: int
    push_poll_s: float
    billing_secrets: tuple[Secret, ...] | None
    billing_tiers: Mapping[str, Tier] | None
    billing_grace_days: float

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, file: Mapping[str, Any] | None = None) -> Settings:
        """Read BROKER_… from ``env``, else from ``file`` (a decoded TOML), else the defaults.

        Raises ConfigurationInvalid with one sentence for each fault, never with a value that
        may be secret.
        """
        ignored = service_variables(env)
        env = {name: text for name, text in env.items() if name not in ignored}
        faults: list[str] = []
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for setting in SETTINGS:
            text, origin = _find(setting, env, file or {})
            if text is None:
                continue
            if setting.field in origins:
                faults.append(
                    f"{origin}: {origins[setting.field]} is set too. Set only one of them"
                )
            origins[setting.field] = origin
            try:
                values[setting.field] = setting.parse(text)
            except ValueError as error:
                faults.append(f"{origin}: {error}")
        for setting in SETTINGS:
            values.setdefault(setting.field, None)
            if setting.required and setting.field not in origins:
                faults.append(f"{setting.name} is not set: {setting.help}")
        known = {setting.name for setting in SETTINGS}
        faults += [
            f"{name} is not a setting. Check its spelling"
            for name in env
            if _is_ours(name) and name not in known
        ]
        keys = {setting.key for setting in SETTINGS}
        faults += [f"{key} is not a setting of the file" for key in file or {} if key not in keys]
        if values.get("billing_secrets") and values.get("billing_tiers", ()) is None:
            faults.append("BROKER_BILLING_TIERS is not set, so no price would buy a tier. Set it.")
        if faults:
            raise ConfigurationInvalid(faults)
        return cls(**values)

    @property
    def effective_push_poll_s(self) -> float:
        """Seconds between checks for other brokers' events; 0: never (an unshared database)."""
        is_shared = self.database_url.reveal().startswith("postgresql://")
        return self.push_poll_s or (SHARED_POLL_S if is_shared else 0.0)

    @property
    def is_https(self) -> bool:
        """Whether browsers reach this broker over TLS, so that cookies can be secure."""
        return self.public_url.startswith("https://")


def read_file(path: Path) -> dict[str, Any]:
    """Decode a TOML settings file. Raises ConfigurationInvalid."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationInvalid([f"{path} cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid([f"{path} is not valid TOML"]) from error


def service_variables(env: Mapping[str, str]) -> list[str]:
    """Return the variables that Kubernetes sets for Services named ``broker…``; none is a setting.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    return sorted(
        name
        for name, text in env.items()
        if _SERVICE.match(name)
        or (
            _is_ours(name)
            and name.endswith("_PORT")
            and text.startswith(("tcp://", "udp://", "sctp://"))
        )
    )


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
