"""``/v1/settings``: what a client may read and change; never the broker's URL or a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from clipperd.errors import InvalidInput, SettingFixed
from clipperd.web.routes import Route, answer

_HIDDEN = ("broker_url", "token", "secret", "passphrase", "password", "key_file")


class SettingsPort(Protocol):
    """Where settings live."""

    async def view(self) -> Mapping[str, Any]:
        """Every setting by name, JSON values, as in force."""

    async def change(self, patch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store ``patch`` and return the settings then in force.

        Raises InvalidInput with ``errors`` naming each fault; then nothing was stored.
        """


SETTINGS: web.AppKey[SettingsPort] = web.AppKey("settings")


def is_hidden(name: str) -> bool:
    """Say whether a setting of this name stays out of the API, whatever the port shows."""
    return any(part in name.lower() for part in _HIDDEN)


async def _show(request: web.Request) -> web.Response:
    return answer(_shown(await request.app[SETTINGS].view()))


async def _change(request: web.Request) -> web.Response:
    try:
        patch = msgspec.json.decode(await request.read() or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("The body is not a JSON object.") from error
    fixed = sorted(name for name in patch if is_hidden(name))
    if fixed:
        raise SettingFixed(
            "The broker's address and secrets cannot be read or changed here.",
            hint="Use the configuration file or the environment, and restart.",
            errors=[{"pointer": f"/{name[:80]}", "code": "setting_fixed"} for name in fixed],
        )
    return answer(_shown(await request.app[SETTINGS].change(patch)))


def _shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not is_hidden(name)}


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/settings",
        _show,
        "admin",
        "The settings in force",
        answers={200: dict[str, Any]},
    ),
    Route(
        "PATCH",
        "/v1/settings",
        _change,
        "admin",
        "Change some settings; all or none",
        answers={200: dict[str, Any]},
        errors=(InvalidInput, SettingFixed),
    ),
)
