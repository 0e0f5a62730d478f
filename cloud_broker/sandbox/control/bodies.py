"""Defines and parses the request bodies of the ``/_sandbox`` routes."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from cloud_broker.sandbox.errors import ControlError
from cloud_broker.sandbox.faults import RuleBody
from cloud_broker.sandbox.model import ALL_CAPABILITIES

S = TypeVar("S", bound=msgspec.Struct)


class RulesBody(msgspec.Struct, forbid_unknown_fields=True):
    """Several rules; ``seed`` restarts the random numbers, ``replace`` removes old rules."""

    rules: list[RuleBody] = []
    seed: int | None = None
    replace: bool = False


class ClockBody(msgspec.Struct, forbid_unknown_fields=True):
    """One or more changes of the clock: offset, time, step forward, stop."""

    offset_s: float | None = None
    now: str | float | None = None
    advance_s: float | None = None
    stopped: bool | None = None


class PageBody(msgspec.Struct, forbid_unknown_fields=True):
    """A page that a user creates; its outline as lines (see ``outline.py``)."""

    title: str = "Untitled"
    outline: str | list[str] = ""
    parent_id: str | None = None
    data_source_id: str | None = None
    workspace_id: str | None = None
    user_id: str | None = None
    icon: str | None = None
    id: str | None = None


class EditBody(msgspec.Struct, forbid_unknown_fields=True):
    """A user's edit: insert, delete, restore, update, move a block; rename or trash a page."""

    op: str
    page_id: str | None = None
    block_id: str | None = None
    parent_id: str | None = None
    after: str | None = None
    position: str = "end"
    text: str | None = None
    user_id: str | None = None


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """A token without the OAuth flow."""

    workspace_id: str | None = None
    user_id: str | None = None
    client_id: str | None = None
    capabilities: tuple[str, ...] = tuple(sorted(ALL_CAPABILITIES))


class IntegrationBody(msgspec.Struct, forbid_unknown_fields=True):
    """An integration to register; missing fields get generated values."""

    client_id: str | None = None
    client_secret: str | None = None
    name: str = "Another integration"


class ShareBody(msgspec.Struct, forbid_unknown_fields=True):
    """Share a page or database (with its subtree) with the connection, or stop sharing."""

    page_id: str
    shared: bool = True
    bot_id: str | None = None


class RevokeBody(msgspec.Struct, forbid_unknown_fields=True):
    """End all tokens of a connection, as removing it in the app does."""

    bot_id: str


class ConfigBody(msgspec.Struct, forbid_unknown_fields=True):
    """The settings to change; missing fields stay. null removes a limit."""

    rate_per_token: int | msgspec.UnsetType | None = msgspec.UNSET
    rate_per_integration: int | msgspec.UnsetType | None = msgspec.UNSET
    rate_per_workspace: int | msgspec.UnsetType | None = msgspec.UNSET
    window_s: float | msgspec.UnsetType = msgspec.UNSET
    burst: int | msgspec.UnsetType | None = msgspec.UNSET
    refresh_tokens: bool | msgspec.UnsetType = msgspec.UNSET
    refresh_rotation: bool | msgspec.UnsetType = msgspec.UNSET
    old_pair_grace_s: float | msgspec.UnsetType = msgspec.UNSET
    token_ttl_s: float | msgspec.UnsetType | None = msgspec.UNSET
    search_lag_s: float | msgspec.UnsetType = msgspec.UNSET
    oauth_error_shape: str | msgspec.UnsetType = msgspec.UNSET
    normalize_text: bool | msgspec.UnsetType = msgspec.UNSET
    block_limit: int | msgspec.UnsetType | None = msgspec.UNSET
    webhook_attempts: int | msgspec.UnsetType = msgspec.UNSET
    webhook_backoff_s: float | msgspec.UnsetType = msgspec.UNSET


class WebhookBody(msgspec.Struct, forbid_unknown_fields=True):
    """A webhook subscription, as created in Notion's portal."""

    url: str
    events: tuple[str, ...] = ("*",)
    aggregation_ms: int = 1000
    api_version: str = "2026-03-11"
    verify: bool = False


class VerifyBody(msgspec.Struct, forbid_unknown_fields=True):
    """The verification token of the handshake."""

    verification_token: str


async def read(request: web.Request, shape: type[S]) -> S:
    """Parse the JSON body. Raises ControlError naming the faulty field."""
    raw = await request.read() or b"{}"
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ControlError(str(error)) from error


def answer(value: Any, status: int = 200) -> web.Response:
    """Render JSON."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )
