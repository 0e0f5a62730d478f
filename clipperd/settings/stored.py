"""Settings for the local API: shows the current values, changes config.toml."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from clipperd.errors import InvalidInput, SettingFixed
from clipperd.settings import config
from clipperd.settings import file as config_file
from clipperd.settings.errors import ConfigInvalid
from clipperd.settings.private_file import write_private

FIXED = frozenset({"broker_url", "ca_file", "home"})
"""Hidden from the API, besides the secrets: a client that sets the broker's address or a CA could
redirect the session."""


class SettingsView(msgspec.Struct):
    """``settings``: the current values. ``restart_required``: names whose value in config.toml
    takes effect at the next start."""

    settings: dict[str, Any]
    restart_required: list[str]


class StoredSettings:
    """The settings of a running daemon, and config.toml for the next start."""

    def __init__(
        self,
        current: config.Settings,
        env: Mapping[str, str],
        flags: Mapping[str, Any],
        file: Path,
    ) -> None:
        """``env`` and ``flags`` of this daemon's start take precedence over the file."""
        self._current = current
        self._env = dict(env)
        self._flags = dict(flags)
        self._file = file
        self._lock = asyncio.Lock()

    async def view(self) -> SettingsView:
        """Return the current settings. Raises ConfigInvalid when config.toml is malformed now."""
        return self._compare(await asyncio.to_thread(self._read))

    async def change(self, patch: Mapping[str, Any]) -> SettingsView:
        """Write all of ``patch`` or nothing; null resets a setting to its default.

        Raises SettingFixed, and InvalidInput for an unknown name or malformed value.
        """
        for name in patch:
            self._check(name)
        async with self._lock:
            text = await asyncio.to_thread(self._read)
            for name, value in patch.items():
                text = _edit(text, name, value)
            await asyncio.to_thread(write_private, self._file, text)
        return self._compare(text)

    def _check(self, name: str) -> None:
        errors = [{"pointer": f"/{name[:80]}", "code": "unknown"}]
        if name not in config.names():
            raise InvalidInput("There is no such setting.", errors=errors)
        if not is_open(name):
            raise SettingFixed(
                "That setting cannot be changed over the API.",
                hint="Set it in config.toml or the environment, and restart the daemon.",
                params={"setting": name},
            )
        if self._current.origin(name) in ("environment", "flag"):
            raise SettingFixed(
                f"{name} comes from the {self._current.origin(name)}, which overrides config.toml.",
                params={"setting": name},
            )

    def _read(self) -> str:
        return self._file.read_text("utf-8") if self._file.exists() else ""

    def _compare(self, text: str) -> SettingsView:
        stored = config.load(self._env, self._flags, text)
        shown = [name for name in config.names() if is_open(name)]
        return SettingsView(
            settings={name: _plain(getattr(self._current, name)) for name in shown},
            restart_required=[
                name for name in shown if getattr(stored, name) != getattr(self._current, name)
            ],
        )


def is_open(name: str) -> bool:
    """Return whether the API shows and changes the setting."""
    info = config.describe(name)
    return name not in FIXED and not info.secret and info.in_file


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _edit(text: str, name: str, value: Any) -> str:
    errors = [{"pointer": f"/{name}", "code": "invalid"}]
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, (dict, list, bool)) for item in items):
        raise InvalidInput("A setting is a text, a number or a list of texts.", errors=errors)
    typed = "" if value is None else ",".join(str(item) for item in items)
    if value is not None and not typed and not isinstance(value, list):
        raise InvalidInput(f"{name} must not be empty.", errors=errors)
    try:
        return config_file.edit(text, name, typed)
    except ConfigInvalid as error:
        raise InvalidInput(error.detail, errors=errors) from error
