"""``/v1/settings``: reads and changes settings, except the broker's URL and secrets."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from clipperd.errors import InvalidInput, SettingFixed
from clipperd.settings.stored import SettingsView
from clipperd.storage.text import decode_json
from clipperd.web.keys import SETTINGS
from clipperd.web.routes import Route, answer


class SettingsPatch(msgspec.Struct):
    """New values by the names of the settings; ``web/openapi.py`` lists them."""


async def _get_settings(request: web.Request) -> web.Response:
    return answer(await request.app[SETTINGS].view())


async def _change_settings(request: web.Request) -> web.Response:
    try:
        patch = decode_json(await request.read() or b"{}", dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("The body is not a JSON object.") from error
    return answer(await request.app[SETTINGS].change(patch))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/settings",
        _get_settings,
        "read",
        "The current settings, and those that change at the next start",
        answers={200: SettingsView},
    ),
    Route(
        "PATCH",
        "/v1/settings",
        _change_settings,
        "admin",
        "Change settings by name, all or none; null restores the default",
        body=SettingsPatch,
        answers={200: SettingsView},
        errors=(InvalidInput, SettingFixed),
    ),
)
