"""Parses the settings: built-in defaults < config.toml < CLIPPERD_… environment < flags.

``load`` is pure. Each value keeps its origin for ``clipperd config show``. Nothing else in the
daemon reads the environment. docs/daemon-settings.md explains every setting; a test compares it
with this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from clipperd.settings.errors import ConfigInvalid
from clipperd.settings.proxy import NONE, is_loopback, parse_proxy

PREFIX = "CLIPPERD_"
Origin = Literal["default", "config.toml", "environment", "flag"]
Parse = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """A setting's parser, default and documentation."""

    parse: Parse
    default: Any
    doc: str
    secret: bool
    in_file: bool


def _number(low: float, high: float, kind: type[int] | type[float] = float) -> Parse:
    noun = "a whole number" if kind is int else "a number"
    accepted = (int, str) if kind is int else (int, float, str)

    def parse(value: Any) -> float:
        try:
            if isinstance(value, bool) or not isinstance(value, accepted):
                raise ValueError
            number = kind(value)
        except ValueError:
            raise ValueError(f"must be {noun} from {low:g} to {high:g}") from None
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
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https, because http would send the session unencrypted")
    return value.rstrip("/")  # type: ignore[no-any-return]  # _text has checked that it is a str


def _proxy(value: Any) -> str:
    text = _text(value)
    if text.lower() == NONE:
        return NONE
    parse_proxy(text)
    return text


def _origins(value: Any) -> tuple[str, ...]:
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError("must be a list of origins such as http://localhost:5173")
    for item in items:
        url = urlsplit(item) if isinstance(item, str) else None
        if url is None or not url.scheme or not url.netloc or url.path or url.query:
            raise ValueError("must be exact origins such as http://localhost:5173 (no path, no *)")
    return tuple(item for item in items if item)


def _setting(
    default: Any, parse: Parse, doc: str, *, secret: bool = False, in_file: bool = True
) -> Any:
    info = SettingInfo(parse, default, doc, secret, in_file)
    return field(default=default, repr=not secret, metadata={"info": info})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, validated; the only place of its default. Names in ``_s`` are seconds.

    The settle times follow Notion's behavior: a 503 of a committed write arrives after some
    55 s, so Notion may apply a write without an answer within 65 s.
    """

    home: Path | None = _setting(  # noqa: RUF009 (returns a field)
        None, _path, "Folder for everything; default: the system's usual places.", in_file=False
    )
    broker_url: str | None = _setting(
        None, _broker_url, "The broker's address: https, or http on this machine."
    )
    proxy: str | None = _setting(
        None,
        _proxy,
        "HTTP proxy to the broker; none: no proxy; default: the environment's.",
        secret=True,
    )
    ca_file: Path | None = _setting(  # noqa: RUF009 (returns a field)
        None, _path, "Certificates of a private CA to trust, besides the system's."
    )
    port: int = _setting(
        0,
        _number(0, 65535, int),
        "Loopback port of the API; 0: last used, else the system's choice.",
    )
    secrets: Literal["keyring", "memory", "file"] = _setting(
        "keyring", _one_of("keyring", "memory", "file"), "Storage of the session's secrets."
    )
    secrets_passphrase: str | None = _setting(
        None, _text, "Passphrase of the secrets file.", secret=True, in_file=False
    )
    secrets_key_file: Path | None = _setting(  # noqa: RUF009 (returns a field)
        None, _path, "Key file of the secrets file, instead of a passphrase."
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info",
        _one_of("debug", "info", "warning", "error"),
        "Least severe level that the log records.",
    )
    allowed_origins: tuple[str, ...] = _setting(
        (), _origins, "Browser origins that may call the API, besides the dashboard's."
    )
    device: str | None = _setting(
        None, _text, "This machine's name in the list of sessions; default: host name."
    )
    settle_unknown_s: float = _setting(
        65.0, _number(0, 3600), "Wait after a write with no answer, before a resend."
    )
    settle_answered_s: float = _setting(10.0, _number(0, 3600), "The same after an answered 5xx.")
    anchor_trust_s: float = _setting(
        5.0, _number(0, 600), "Time after our own write to trust a section's end."
    )
    retry_base_s: float = _setting(1.0, _number(0.001, 3600), "First retry delay; it doubles.")
    retry_cap_s: float = _setting(300.0, _number(0.001, 86400), "Longest retry delay.")
    max_parallel_pages: int = _setting(4, _number(1, 32, int), "Pages written to at the same time.")
    content_days: float = _setting(
        7.0, _number(0, 3650), "Days that a delivered clip's content is kept."
    )
    refresh_s: float = _setting(300.0, _number(1, 86400), "Time between page list refreshes.")
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False, repr=False)

    def origin(self, name: str) -> Origin:
        """Return the source of the setting's value."""
        return self.origins.get(name, "default")


DEFAULTS = Settings()
_INFO: Mapping[str, SettingInfo] = {
    f.name: f.metadata["info"] for f in fields(Settings) if "info" in f.metadata
}


def names() -> tuple[str, ...]:
    """Return every setting's name, in the order of the documentation."""
    return tuple(_INFO)


def describe(name: str) -> SettingInfo:
    """Return the info of the setting ``name``. Raises KeyError."""
    return _INFO[name]


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
    info = _INFO.get(key)
    if info is None:
        import difflib

        near = difflib.get_close_matches(key, names(), n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        faults.append(f"{shown} ({origin}) is not a setting.{meant}")
        return None
    if origin == "config.toml" and not info.in_file:
        faults.append(f"{key} cannot be set in config.toml; use {PREFIX}{key.upper()}.")
        return None
    try:
        return info.parse(raw)
    except ValueError as error:
        faults.append(f"{shown} ({origin}) {error}.")
        return None
