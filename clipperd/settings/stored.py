"""Settings as the local API sees them: read from those in force, changed in config.toml."""

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

FIXED = frozenset({"broker_url", "home"})
"""Never shown or changed over the API, beside the secrets: who may set the broker's address
decides where the session goes."""


class SettingsView(msgspec.Struct):
    """``settings``: values in force, by name. ``restart_required``: those that config.toml now
    says otherwise, until the next start."""

    settings: dict[str, Any]
    restart_required: list[str]


class StoredSettings:
    """The settings of a running daemon and the file that the next start will read."""

    def __init__(
        self,
        in_force: config.Settings,
        env: Mapping[str, str],
        flags: Mapping[str, Any],
        file: Path,
    ) -> None:
        """``env`` and ``flags``: what this daemon was started with; they win over the file."""
        self._in_force = in_force
        self._env = dict(env)
        self._flags = dict(flags)
        self._file = file
        self._turn = asyncio.Lock()

    async def view(self) -> SettingsView:
        """The settings in force. Raises ConfigInvalid when config.toml has become malformed."""
        return self._compare(await asyncio.to_thread(self._read))

    async def change(self, patch: Mapping[str, Any]) -> SettingsView:
        """Write all of ``patch`` or nothing; null takes a setting back to its default.

        Raises InvalidInput (unknown name, malformed value; ``errors`` names it), SettingFixed.
        """
        for name in patch:
            self._check(name)
        async with self._turn:
            text = await asyncio.to_thread(self._read)
            for name, value in patch.items():
                text = _edit(text, name, value)
            await asyncio.to_thread(write_private, self._file, text)
        return self._compare(text)

    def _check(self, name: str) -> None:
        place = [{"pointer": f"/{name[:80]}", "code": "unknown"}]
        if name not in config.names():
            raise InvalidInput("There is no such setting.", errors=place)
        if not _is_open(name):
            raise SettingFixed(
                "That setting cannot be changed over the API.",
                hint="Use config.toml or the environment, and restart.",
                params={"setting": name},
            )
        if self._in_force.origin(name) in ("environment", "flag"):
            raise SettingFixed(
                f"{name} comes from the {self._in_force.origin(name)}, which wins over the file.",
                params={"setting": name},
            )

    def _read(self) -> str:
        return self._file.read_text("utf-8") if self._file.exists() else ""

    def _compare(self, text: str) -> SettingsView:
        coming = config.load(self._env, self._flags, text)
        shown = [name for name in config.names() if _is_open(name)]
        return SettingsView(
            settings={name: _plain(getattr(self._in_force, name)) for name in shown},
            restart_required=[
                name for name in shown if getattr(coming, name) != getattr(self._in_force, name)
            ],
        )


def _is_open(name: str) -> bool:
    known = config.describe(name)
    return name not in FIXED and not known.secret and known.in_file


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _edit(text: str, name: str, value: Any) -> str:
    place = [{"pointer": f"/{name}", "code": "invalid"}]
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, (dict, list, bool)) for item in items):
        raise InvalidInput("A setting is a text, a number or a list of texts.", errors=place)
    typed = "" if value is None else ",".join(str(item) for item in items)
    if value is not None and not typed and not isinstance(value, list):
        raise InvalidInput(f"{name} must not be empty.", errors=place)
    try:
        return config_file.edit(text, name, typed)
    except ConfigInvalid as error:
        raise InvalidInput(error.detail, errors=place) from error
