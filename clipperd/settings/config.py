"""Parses the settings: built-in defaults < config.toml < CLIPPERD_… environment < flags.

``load`` is pure. Each value keeps its origin for ``clipperd config show``. Nothing else in the
daemon reads the environment. docs/daemon-settings.md explains every setting; a test compares it
with this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from clipperd.settings.errors import ConfigInvalid

PREFIX = "CLIPPERD_"
Origin = Literal["default", "config.toml", "environment", "flag"]
Parse = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Rule:
    parse: Parse
    doc: str
    secret: bool = False
    in_file: bool = True


def _whole(low: int, high: int) -> Parse:
    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError(f"must be a whole number from {low} to {high}")
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"must be a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return parse


def _number(low: float, high: float) -> Parse:
    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"must be a number from {low:g} to {high:g}") from None
        if not low <= number <= high:
            raise ValueError(f"must be from {low:g} to {high:g}")
        return number

    return parse


def _one_of(*choices: str) -> Parse:
    def parse(value: Any) -> str:
        text = value.lower() if isinstance(value, str) else value
        if text not in choices:
            raise ValueError("must be one of " + ", ".join(choices))
        return str(text)

    return parse


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a non-empty text")
    return value


def _path(value: Any) -> Path:
    return Path(_text(str(value) if isinstance(value, Path) else value)).expanduser().absolute()


def _broker_url(value: Any) -> str:
    url = urlsplit(_text(value))
    host = url.hostname or ""
    credentials = url.username or url.password
    if url.scheme not in ("http", "https") or not host or credentials or url.query or url.fragment:
        raise ValueError("must be an address such as https://broker.example.org")
    if url.scheme == "http" and not _is_loopback(host):
        raise ValueError("must be https, because http would send the session unencrypted")
    return value.rstrip("/")  # type: ignore[no-any-return]  # _text has checked that it is a str


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _origins(value: Any) -> tuple[str, ...]:
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError("must be a list of origins such as http://localhost:5173")
    for item in items:
        url = urlsplit(item) if isinstance(item, str) else None
        if url is None or not url.scheme or not url.netloc or url.path or url.query:
            raise ValueError("must be exact origins such as http://localhost:5173 (no path, no *)")
    return tuple(item for item in items if item)


def _rule(
    parse: Parse, doc: str, *, secret: bool = False, in_file: bool = True
) -> Mapping[str, Any]:
    return {"rule": _Rule(parse, doc, secret, in_file)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, validated; the only place of its default. Names in ``_s`` are seconds.

    The settle times follow Notion's behavior: a 503 of a committed write arrives after some
    55 s, so Notion may apply a write without an answer within 65 s.
    """

    home: Path | None = field(
        default=None,
        metadata=_rule(
            _path, "Folder for everything; default: the system's usual places.", in_file=False
        ),
    )
    broker_url: str = field(
        default="https://broker.notionclipper.app",
        metadata=_rule(_broker_url, "The broker's address: https, or http on this machine."),
    )
    port: int = field(
        default=0,
        metadata=_rule(
            _whole(0, 65535), "Loopback port of the API; 0: last used, else the system's choice."
        ),
    )
    secrets: Literal["keyring", "memory", "file"] = field(
        default="keyring",
        metadata=_rule(_one_of("keyring", "memory", "file"), "Storage of the session's secrets."),
    )
    secrets_passphrase: str | None = field(
        default=None,
        repr=False,
        metadata=_rule(_text, "Passphrase of the secrets file.", secret=True, in_file=False),
    )
    secrets_key_file: Path | None = field(
        default=None,
        metadata=_rule(_path, "Key file of the secrets file, instead of a passphrase."),
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info",
        metadata=_rule(
            _one_of("debug", "info", "warning", "error"), "Least severe level that the log records."
        ),
    )
    allowed_origins: tuple[str, ...] = field(
        default=(),
        metadata=_rule(_origins, "Browser origins that may call the API, besides the dashboard's."),
    )
    device: str | None = field(
        default=None,
        metadata=_rule(_text, "This machine's name in the list of sessions; default: host name."),
    )
    settle_unknown_s: float = field(
        default=65.0,
        metadata=_rule(_number(0, 3600), "Wait after a write with no answer, before a resend."),
    )
    settle_answered_s: float = field(
        default=10.0, metadata=_rule(_number(0, 3600), "The same after an answered 5xx.")
    )
    anchor_trust_s: float = field(
        default=5.0,
        metadata=_rule(_number(0, 600), "Time after our own write to trust a section's end."),
    )
    retry_base_s: float = field(
        default=1.0, metadata=_rule(_number(0.001, 3600), "First retry delay; it doubles.")
    )
    retry_cap_s: float = field(
        default=300.0, metadata=_rule(_number(0.001, 86400), "Longest retry delay.")
    )
    max_parallel_pages: int = field(
        default=4, metadata=_rule(_whole(1, 32), "Pages written to at the same time.")
    )
    content_days: float = field(
        default=7.0,
        metadata=_rule(_number(0, 3650), "Days that a delivered clip's content is kept."),
    )
    refresh_s: float = field(
        default=300.0, metadata=_rule(_number(1, 86400), "Time between page list refreshes.")
    )
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False, repr=False)

    def origin(self, name: str) -> Origin:
        """Return the source of the setting's value."""
        return self.origins.get(name, "default")


DEFAULTS = Settings()


def names() -> tuple[str, ...]:
    """Return every setting's name, in the order of the documentation."""
    return tuple(f.name for f in fields(Settings) if "rule" in f.metadata)


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """A setting's default and documentation."""

    default: Any
    doc: str
    secret: bool
    in_file: bool


def describe(name: str) -> SettingInfo:
    """Return the info of the setting ``name``. Raises KeyError."""
    found = _by_name()[name]
    rule: _Rule = found.metadata["rule"]
    return SettingInfo(found.default, rule.doc, rule.secret, rule.in_file)


def load(env: Mapping[str, str], flags: Mapping[str, Any], file_text: str) -> Settings:
    """Merge the four sources. A flag of None counts as not given.

    Raises ConfigInvalid, which lists every unknown key and malformed value with its source.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for origin, given in (
        ("config.toml", _from_file(file_text, faults)),
        ("environment", _from_env(env)),
        ("flag", {k: v for k, v in flags.items() if v is not None}),
    ):
        for key, raw in given.items():
            parsed = _parse_one(key, raw, origin, faults)
            if parsed is not None:
                values[key], origins[key] = parsed, origin  # type: ignore[assignment]  # of Origin
    if faults:
        raise ConfigInvalid(" ".join(faults), hint="docs/daemon-settings.md lists every setting.")
    return Settings(**values, origins=origins)


def _by_name() -> dict[str, Field[Any]]:
    return {f.name: f for f in fields(Settings) if "rule" in f.metadata}


def _from_file(text: str, faults: list[str]) -> dict[str, Any]:
    if not text:
        return {}
    import tomllib  # most homes have no config.toml, and every command runs this

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's message names line and column, never a value.
        faults.append(f"config.toml is not valid TOML: {error}.")
        return {}


def _from_env(env: Mapping[str, str]) -> dict[str, str]:
    # An empty variable counts as unset: shells and unit files switch a variable off like that.
    return {k[len(PREFIX) :].lower(): v for k, v in env.items() if k.startswith(PREFIX) and v}


def _parse_one(key: str, raw: Any, origin: str, faults: list[str]) -> Any:
    shown = PREFIX + key.upper() if origin == "environment" else key
    found = _by_name().get(key)
    if found is None:
        import difflib

        near = difflib.get_close_matches(key, names(), n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        faults.append(f"{shown} ({origin}) is not a setting.{meant}")
        return None
    rule: _Rule = found.metadata["rule"]
    if origin == "config.toml" and not rule.in_file:
        faults.append(f"{key} cannot be set in config.toml; use {PREFIX}{key.upper()}.")
        return None
    try:
        return rule.parse(raw)
    except ValueError as error:
        faults.append(f"{shown} ({origin}) {error}.")
        return None
